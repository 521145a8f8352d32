"""Operations without kernels in a driver: one call back each, in which Python evaluates the op's record on the arrays.

What Python is asked is the text of a graph with the one instruction, a constant of the program: so it means the same in
the process that compiled it, in a later one that found the program in the cache, and in one that loaded it from a file.
"""

from collections.abc import Sequence

from ...ir.core import Array, Graph, Instruction, Value
from ...ir.dims import symbols
from ...ir.ops._op import Trait, get_op
from ...ir.printer import print_graph
from ...ir.types import BoolType, ComplexType, FloatType, IntType, StrType, TensorType, Type
from ..memory_form import width
from ..runtime import host
from .driver import Driver
from .forms import adopt, kinds, parts
from .host import ask
from .python_calls import caught_exceptions

__all__ = ["can_evaluate", "run_on_host"]

_VALUES = (TensorType, BoolType, IntType, FloatType, ComplexType, StrType)


def can_evaluate(instruction: Instruction) -> bool:
    """Whether Python can evaluate an instruction for a driver: an op of tensors without effects, but for draws."""
    op = instruction.op
    if op.evaluate is None or instruction.regions or op.name in ("constant", "undefined"):
        return False
    if not op.is_pure and Trait.RANDOM not in op.traits:
        return False
    types = [v.type for v in (*instruction.inputs, *instruction.results)]
    if not all(isinstance(t, _VALUES) for t in types) or not any(isinstance(t, TensorType) for t in types):
        return False
    if any(isinstance(t, TensorType) and t.device != "cpu" for t in types):
        return False
    return not any(isinstance(v, Array) for v in instruction.attributes.values())


def run_on_host(driver: Driver, instruction: Instruction, note: str = "") -> None:
    """Have Python evaluate an instruction: its operands' slots lie in the scratch table, and its results' after them.

    A tensor whose size is known here is written to its memory; others come with an address in the arena. `note` is what
    the report says.
    """
    where = f" ({instruction.location})" if instruction.location is not None else ""
    note = note or "is computed by numpy, in a call back: it has no kernel"
    driver.report.append(f"{instruction.op.name} {note}{where}")
    driver.calls_back |= not instruction.op.is_pure  # a draw must not be done again
    known = set(driver.argument_symbols)
    for value in instruction.inputs:
        if isinstance(value.type, TensorType):
            known.update(*map(symbols, value.type.shape))
    place = host.OPERANDS
    for value in instruction.inputs:
        place = _write(driver, place, value.type, _operand(driver, value))
    pending: list[tuple[Value, int]] = []
    texts: Sequence[str]
    for result in instruction.results:
        if isinstance(result.type, TensorType) and all(symbols(d) <= known for d in result.type.shape):
            texts = [driver.store(result).address, *map(driver.size, result.type.shape)]
        else:
            pending.append((result, place))
            texts = ["0"] * width(result.type)
            if isinstance(result.type, TensorType):
                texts = ["0", *["-1"] * result.type.rank]
        kind = "i" * len(texts) if not isinstance(result.type, (FloatType, ComplexType)) else None
        place = _write(driver, place, result.type, texts, kind)
    caught = caught_exceptions(driver)
    text = driver.literal_text(_text(instruction))
    for slot, number in enumerate((*text, "0", *driver.literal_text("\n".join(caught)))):
        driver.set_slot(slot, "i64", number)
    needs_arena = any(isinstance(value.type, (TensorType, StrType)) for value, _ in pending)
    ask(driver, host.EVALUATE, instruction, "BaseException", *caught, listed=caught, arena=needs_arena)
    for value, first in pending:
        letters = kinds(value.type)
        adopt(driver, value, [f"slot_{'f64' if k == 'f' else 'i64'}(p, {i})" for i, k in enumerate(letters, first)])


def _write(driver: Driver, place: int, type: Type, texts: Sequence[str], letters: str | None = None) -> int:
    """Put texts into slots from `place` on; the place after them."""
    for kind, text in zip(letters or kinds(type), texts, strict=True):
        driver.set_slot(place, "f64" if kind == "f" else "i64", text)
        place += 1
    return place


def _operand(driver: Driver, value: Value) -> list[str]:
    if isinstance(value.type, TensorType):
        return [driver.address(value), *(driver.size(size) for size in value.type.shape)]
    return parts(driver, value)


def _text(instruction: Instruction) -> str:
    """A graph with a copy of the instruction, whose operands are the graph's arguments."""
    graph = Graph("evaluate")
    operands = [None if v is None else graph.block.add_argument(v.type) for v in instruction.operands]
    types = tuple(result.type for result in instruction.results)
    copy = graph.block.append(Instruction(instruction.op, operands, instruction.attributes, types))
    graph.block.append(Instruction(get_op("return"), list(copy.results), {}, ()))
    return print_graph(graph)
