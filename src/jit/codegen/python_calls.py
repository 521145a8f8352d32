"""Calls back into Python in a driver, and calls of functions that Numba compiled, which are linked into it."""

from typing import Any

from ...ir.callbacks import callback
from ...ir.core import Instruction, Value
from ...ir.types import DictType, ListType, SetType, TensorType, Type, contained_types
from ..errors import Unsupported
from ..runtime import host
from .driver import Driver
from .forms import adopt, kinds, parts, read_slots, width
from .host import ask

__all__ = ["PYTHON_CALLS", "caught_exceptions"]


def _has_object(type: Type) -> bool:
    return isinstance(type, (ListType, DictType, SetType)) or any(map(_has_object, contained_types(type)))


def _call(driver: Driver, instruction: Instruction) -> None:
    name = instruction.attributes["function"]
    try:
        title = callback(name).title
    except RuntimeError as error:
        raise Unsupported(str(error), instruction.location) from None
    for value in (*instruction.inputs, *instruction.results):
        kinds(value.type, instruction.location)
        if _has_object(value.type):
            raise Unsupported(f"it calls back the Python function {title} with a {value.type}", instruction.location)
    caught = caught_exceptions(driver)
    if len(driver.tries) > 1 and any("." in exception for exception in caught):
        # Which of two handlers catches a class of the user's is for Python to say.
        raise Unsupported(f"it calls back the Python function {title} in a `try` in another", instruction.location)
    native = callback(name).native
    if native is not None:
        if not native.missing:
            _call_compiled(driver, instruction, name, native)
            return
        shown = ", ".join(native.missing[:3])
        driver.report.append(f"{title} runs in Python: its machine code needs {shown}, which programs have not")
    driver.calls_back = True
    driver.report.append(f"{title} is called back in Python")
    ask_python(driver, instruction, name)
    answer = driver.fresh("m")
    driver.line(f"{answer} = slot_i64(p, {host.ANSWER})")
    first = 0
    for result in instruction.results:
        adopt(driver, result, read_slots(answer, result.type, first))
        first += width(result.type)


def _call_compiled(driver: Driver, instruction: Instruction, name: str, native: Any) -> None:
    """Call the code that Numba made; where it raised, Python calls the function again, which raises."""
    title = callback(name).title
    driver.report.append(f"{title} is machine code of Numba's, linked in")
    driver.calls_back = True
    function = f"numba_{native.fingerprint}"
    imports = "from ingot.jit.codegen.numba_functions import known_function"
    driver.functions.setdefault(function, f"{imports}\n\n{function} = known_function({name!r}, {native.fingerprint!r})")
    failed = driver.fresh("s")
    numbers = [driver.fresh("s") for _ in native.result_kinds]
    arguments = ", ".join(driver.scalar(v) for v in instruction.inputs)
    driver.line(f"{', '.join([failed, *numbers])}{',' if not numbers else ''} = {function}({arguments})")
    with driver.block(f"if {failed} != 0:"):
        ask_python(driver, instruction, name)
    for result, number in zip(instruction.results, numbers, strict=True):
        driver.locals[result] = number


def ask_python(driver: Driver, instruction: Instruction, name: str) -> None:
    """Have Python call the function: its arguments lie in the arena, and the address of what it gives is the answer."""
    texts = [
        (kind, text) for v in instruction.inputs for kind, text in zip(kinds(v.type), _slots(driver, v), strict=True)
    ]
    block = driver.fresh("m")
    driver.allocate(block, str(8 * max(len(texts), 1)))
    for index, (kind, text) in enumerate(texts):
        driver.line(f"set_cell{'_f64' if kind == 'f' else ''}({block}, {index}, {text})")
    caught = caught_exceptions(driver)
    for slot, text in enumerate((*driver.literal_text(name), block, *driver.literal_text("\n".join(caught)))):
        driver.set_slot(slot, "i64", text)
    # An exception counts as the class of those that the handlers around list to which it is nearest.
    ask(driver, host.CALL, instruction, "BaseException", *caught, listed=caught)


def caught_exceptions(driver: Driver) -> list[str]:
    """The exceptions that handlers around list."""
    return list(dict.fromkeys(name for frame in driver.tries for name, _ in frame.catches))


def _slots(driver: Driver, value: Value) -> list[str]:
    if isinstance(value.type, TensorType):  # Python copies it
        return [driver.address(value), *(driver.size(size) for size in value.type.shape)]
    return parts(driver, value)


PYTHON_CALLS = {"python.call": _call}
