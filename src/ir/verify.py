"""Checks a graph: its structure, and that inferring every type again gives the declared ones."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from .budget import spend
from .core import Block, Graph, Guard, Instruction, Value
from .dims import Dim, DimExpr, dim_hint, symbol, symbols
from .dtypes import DType
from .location import LocatedError
from .matching import binding_symbols, match_types, required_symbols
from .open_sizes import has_open_sizes
from .ops.schema import Parameter, Role
from .printer import SYMBOL, graph_dims, same_attribute
from .sizes import Sizes
from .types import BoolType, IntType, OptionalType, TensorType, Type, substitute_type

__all__ = ["VerifyError", "graph_symbols", "verify"]


class VerifyError(LocatedError):
    """The graph breaks a rule of the language; `instruction` is where (None: the graph as a whole)."""

    instruction: Instruction | None = None


def verify(graph: Graph, *, after: str | None = None) -> None:
    """Check a graph; VerifyError says what is wrong, where, and after which pass if `after` names one.

    Values are defined once and before use, in scope through regions; blocks end in their terminator; operands,
    attributes and regions fit the op's schema; declared types are what `infer` gives; every dimension symbol has a
    value where it is used; conditions on sizes that inference found are stated by a guard or a `require_equal`. Each
    function is checked like a graph, and each call against its function.
    """
    for name, function in graph.functions.items():
        _Verifier(function, after, graph.functions).run_function(name)
    _Verifier(graph, after, graph.functions).run()


_KINDS: dict[str, Callable[[Any], bool]] = {
    "int": lambda v: isinstance(v, int),
    "ints": lambda v: isinstance(v, tuple) and all(isinstance(i, int) for i in v),
    "float": lambda v: isinstance(v, (int, float)),
    "bool": lambda v: isinstance(v, bool),
    "str": lambda v: isinstance(v, str),
    "dtype": lambda v: isinstance(v, DType),
    "number": lambda v: isinstance(v, (int, float, complex)),
    "any": lambda v: True,
}


class _Verifier:
    def __init__(self, graph: Graph, after: str | None, functions: Mapping[str, Graph]) -> None:
        self.graph = graph
        self.functions = functions
        self.after = after
        self.values: set[Value] = set()  # in scope
        self.tries: dict[str, list[Type]] = {}  # the values of each `try` around
        self.trail: list[Value] = []  # the same in order of definition, so that a scope can be left
        self.defined: set[Value] = set()
        self.seen: set[Instruction] = set()
        self.bound: set[str] = set()  # symbols in scope
        known = graph_symbols(graph)
        self.sizes = Sizes(graph.examples, known, graph.guards)
        self.signatures: dict[str, tuple[list[Type], list[Type]]] = {}  # types of functions that are called
        self.unused = "_" * (1 + max((len(n) - len(n.lstrip("_")) for n in known), default=0))  # no symbol begins so
        self.current: Instruction | None = None

    def fail(self, message: str, hint: str | None = None) -> VerifyError:
        if self.current is not None:
            message = f"{self.current.op.name}: {message}"
        prefix = f"after pass {self.after}: " if self.after else ""
        location = self.current.location if self.current is not None else None
        error = VerifyError(f"{prefix}graph {self.graph.name}: {message}", location, hint=hint)
        error.instruction = self.current
        return error

    def run_function(self, name: str) -> None:
        """Check a function of a graph, known there under a name."""
        graph = self.graph
        if graph.name != name:
            raise self.fail(f"it is known as the function @{name}")
        if graph.guards or graph.examples or graph.writes or graph.parameters or graph.functions:
            raise self.fail("a function has no guards, writes, parameters or functions")
        if graph.outputs is not None:
            raise self.fail("a function returns all its results")
        self.run()

    def run(self) -> None:
        graph = self.graph
        if graph.block.parent is not None:
            raise self.fail("the graph's block is a region of an instruction")
        self.arguments(graph.block)
        for guard in graph.guards:
            if missing := (symbols(guard.left) | symbols(guard.right)) - self.bound:
                raise self.fail(f"the guard {guard} has the size {min(missing)}, which no argument has")
        for guard in graph.guards if graph.examples else ():
            left, right = dim_hint(guard.left, graph.examples), dim_hint(guard.right, graph.examples)
            if left is None or left != right:
                raise self.fail(f"the example sizes do not fulfil the guard {guard}")
        self.block(graph.block, "return")
        results = graph.results
        if graph.outputs is not None and not 0 <= graph.outputs <= len(results):
            raise self.fail(f"it says {graph.outputs} outputs and returns {len(results)} values")
        if len(graph.parameters) > len(graph.arguments):
            raise self.fail(f"it names {len(graph.parameters)} parameters and has {len(graph.arguments)} arguments")
        for argument, result in graph.writes:
            if not (0 <= argument < len(graph.arguments) and 0 <= result < len(results)):
                raise self.fail(f"a write of result {result} to argument {argument}: there is no such pair")
            declared, given = graph.arguments[argument].type, results[result].type
            if not self.fits(declared, given, {}):
                raise self.fail(f"result {result}, a {given}, is written to argument {argument}, a {declared}")

    def fits(self, declared: Type, actual: Type, bindings: dict[str, Dim], *, widen: bool = False) -> bool:
        return match_types(declared, actual, self.bound, bindings, same=self.sizes.are_known_equal, widen=widen)

    # -- structure ---------------------------------------------------------------------------------------------------

    def arguments(self, block: Block) -> None:
        for index, argument in enumerate(block.arguments):
            if argument.block is not block or argument.index != index or argument.instruction is not None:
                raise self.fail(f"argument {index} is not linked to its block")
            self.define(argument)
        for argument in block.arguments:
            self.bound |= binding_symbols(argument.type).keys()
        for argument in block.arguments:
            self.require_bound(argument.type)

    def define(self, value: Value) -> None:
        if value in self.defined:
            raise self.fail(f"{value!r} is defined twice")
        self.check_sizes(value.type)
        self.defined.add(value)
        self.values.add(value)
        self.trail.append(value)

    def check_sizes(self, type: Type) -> None:
        if has_open_sizes(type):
            raise self.fail(f"the type {type} has an open size: only elements of containers have")
        if isinstance(type, TensorType):
            for dim in type.shape:
                if isinstance(dim, int) and dim < 0:
                    raise self.fail(f"the type {type} has a negative size")

    def require_bound(self, type: Type) -> None:
        if missing := required_symbols(type) - self.bound:
            raise self.fail(
                f"the size {min(missing)} in {type} has no value here",
                "an argument's size, bind_dim or a result that has it alone gives a symbol its value",
            )

    def block(self, block: Block, terminator: str) -> None:
        if not block.instructions or block.instructions[-1].op.name != terminator:
            self.current = block.instructions[-1] if block.instructions else self.current
            raise self.fail(f"a block must end in {terminator}")
        for position, instruction in enumerate(block.instructions):
            self.current = instruction
            if instruction in self.seen:
                raise self.fail("the instruction occurs twice")
            self.seen.add(instruction)
            if instruction.block is not block:
                raise self.fail("the instruction is not linked to its block")
            if instruction.op.name in ("return", "yield") and position != len(block.instructions) - 1:
                raise self.fail("a terminator must be the last of its block")
            self.instruction(instruction)

    def instruction(self, instruction: Instruction) -> None:
        spend()
        for operand in instruction.inputs:
            if operand not in self.values:
                known = "is out of scope" if operand in self.defined else "is not defined before"
                raise self.fail(f"the operand {operand!r} {known}")
        for index, result in enumerate(instruction.results):
            if result.instruction is not instruction or result.index != index or result.block is not None:
                raise self.fail(f"result {index} is not linked to its instruction")
        operands = self.operands(instruction)
        self.attributes(instruction)
        if instruction.op.name in ("if", "loop", "try"):
            self.regions(instruction)
        elif instruction.regions:
            raise self.fail("only if, loop and try have regions")
        elif instruction.op.name == "call":
            self.check_call(instruction)
        else:
            self.infer(instruction, operands)
        if instruction.op.name == "save":
            self.check_save(instruction)
        for result in instruction.results:
            self.define(result)
            self.bound |= binding_symbols(result.type).keys()
        for result in instruction.results:
            self.require_bound(result.type)
        if instruction.op.name == "require_equal":
            left, right = (v.type.value for v in instruction.inputs if isinstance(v.type, IntType))
            if left is not None and right is not None:
                self.sizes.known.add(frozenset((left, right)))

    def operands(self, instruction: Instruction) -> tuple[Any, ...]:
        types = [None if v is None else v.type for v in instruction.operands]
        try:
            grouped = instruction.op.schema.unflatten(types)
        except ValueError as error:
            raise self.fail(str(error)) from None
        for parameter, type in zip(instruction.op.schema.operands, grouped, strict=True):
            # An absent int (a slice without a stop, a loop without a bound) is for `infer` to accept or refuse.
            optional = not parameter.required or parameter.role in (Role.OPTIONAL_TENSOR, Role.INT)
            if (type is None and not optional) or (parameter.role.is_group and None in type):
                raise self.fail(f"the operand {parameter.name!r} may not be absent")
        return grouped

    def attributes(self, instruction: Instruction) -> None:
        parameters = {p.name: p for p in instruction.op.schema.attributes}
        for name in instruction.attributes:
            if name not in parameters:
                expected = ", ".join(parameters) or "none"
                raise self.fail(f"there is no attribute {name!r}: expected {expected}")
        for name, parameter in parameters.items():
            if name not in instruction.attributes:
                raise self.fail(f"the attribute {name!r} is missing")
            value = instruction.attributes[name]
            if not _fits_kind(parameter, value):
                raise self.fail(f"the attribute {name!r} must be {parameter.kind}, given {value!r}")
            if name == SYMBOL and value in self.bound:
                raise self.fail(f"the dimension symbol {value} has a value already")
            if isinstance(value, DimExpr) and (missing := value.symbols() - self.bound):
                raise self.fail(f"the size {min(missing)} in attribute {name!r} has no value here")

    # -- types -------------------------------------------------------------------------------------------------------

    def infer(self, instruction: Instruction, operands: tuple[Any, ...]) -> None:
        since = len(self.sizes.unvalued)
        try:
            inferred = instruction.op.infer_types(self.sizes, operands, instruction.attributes)
        except Exception as error:  # whatever a rule raises on operands that do not fit is the graph's fault
            raise self.fail(str(error) if type(error) in _EXPECTED else f"{type(error).__name__}: {error}") from error
        declared = tuple(r.type for r in instruction.results)
        bindings: dict[str, Dim] = {}
        if len(declared) != len(inferred) or not all(
            self.fits(d, i, bindings) for d, i in zip(declared, inferred, strict=True)
        ):
            raise self.fail(f"declared {_show(declared)}, inferred {_show(inferred)}")
        for requirement in self.sizes.take_requirements(since):
            self.check_requirement(requirement)

    def check_requirement(self, requirement: Guard) -> None:
        if not self.sizes.are_known_equal(requirement.left, requirement.right):
            raise self.fail(
                f"{requirement.reason} (the sizes {requirement.left} and {requirement.right} must be equal)",
                "a guard (`where`) or a require_equal before this must say so",
            )

    def regions(self, instruction: Instruction) -> None:
        if instruction.op.name == "if":
            self.check_if(instruction)
        elif instruction.op.name == "try":
            self.check_try(instruction)
        else:
            self.check_loop(instruction)

    def check_call(self, instruction: Instruction) -> None:
        name = instruction.attributes["function"]
        function = self.functions.get(name)
        if function is None:
            near = difflib.get_close_matches(name, list(self.functions), 3)
            raise self.fail(
                f"there is no function @{name} in the graph",
                f"did you mean {', '.join(f'@{n}' for n in near)}?" if near else None,
            )
        if name not in self.signatures:
            # The function's symbols are its own, even where they have the names of symbols here.
            own: dict[str, Dim] = {n: symbol(self.unused + n) for n in graph_symbols(function)}
            self.signatures[name] = (
                [substitute_type(a.type, own) for a in function.arguments],
                [substitute_type(r.type, own) for r in function.results],
            )
        declared, returns = self.signatures[name]
        given = [v.type for v in instruction.inputs]
        bindings: dict[str, Dim] = {}
        if len(declared) != len(given) or not all(
            self.passes(d, g, bindings) for d, g in zip(declared, given, strict=True)
        ):
            expected = [a.type for a in function.arguments]
            raise self.fail(f"@{name} takes {_show(expected)}, given {_show(given)}")
        # Sizes that the function finds at run time have no name here: a result must have a new symbol for them.
        returned = [substitute_type(t, bindings) for t in returns]
        results = [r.type for r in instruction.results]
        found: dict[str, Dim] = {}
        if len(results) != len(returned) or not all(
            _is_optional(r) == _is_optional(t) and self.fits(r, t, found, widen=True)
            for r, t in zip(results, returned, strict=True)
        ):
            raise self.fail(f"declared {_show(results)}, @{name} returns {_show(returned)}")

    def passes(self, declared: Type, given: Type, bindings: dict[str, Dim]) -> bool:
        """Whether a value may be an argument of a function; its sizes go into `bindings`."""
        fits = match_types(declared, given, (), bindings, same=self.sizes.are_known_equal, widen=True)
        is_size = all(d != symbol(n) for n, d in bindings.items())  # a plain int is none: it may be negative
        return fits and is_size and _is_optional(declared) == _is_optional(given)

    def check_if(self, instruction: Instruction) -> None:
        (condition,) = instruction.operands
        if condition is None or not isinstance(condition.type, BoolType):
            raise self.fail(f"expected a bool condition, given {condition and condition.type}")
        if len(instruction.regions) != 2:
            raise self.fail(f"expected 2 regions, given {len(instruction.regions)}")
        for region, branch in zip(instruction.regions, ("true", "false"), strict=True):
            if region.arguments:
                raise self.fail("its regions take no arguments")
            yielded = self.region(instruction, region)
            self.match_all(instruction, [r.type for r in instruction.results], yielded, f"the {branch} branch yields")

    def check_try(self, instruction: Instruction) -> None:
        if len(instruction.regions) != 1 or instruction.regions[0].arguments:
            raise self.fail("expected 1 region without arguments")
        found = [r.type for r in instruction.results]
        if len(found) < 2 or not all(isinstance(t, IntType) for t in found[:2]):
            raise self.fail("its first results must be two ints, the handler and the error")
        self.match_all(instruction, found[2:], [v.type for v in instruction.inputs], "the try starts with")
        self.tries[instruction.attributes["name"]] = found[2:]
        yielded = self.region(instruction, instruction.regions[0])
        del self.tries[instruction.attributes["name"]]
        self.match_all(instruction, found[2:], yielded, "its region yields")

    def check_save(self, instruction: Instruction) -> None:
        name = instruction.attributes["name"]
        if name not in self.tries:
            raise self.fail(f"there is no try named {name!r} around")
        self.match_all(instruction, self.tries[name], [v.type for v in instruction.inputs], "it saves")

    def check_loop(self, instruction: Instruction) -> None:
        trip_count, condition, *carried = instruction.operands
        if trip_count is not None and not isinstance(trip_count.type, IntType):
            raise self.fail(f"expected an int trip count, given {trip_count.type}")
        if condition is None or not isinstance(condition.type, BoolType):
            raise self.fail(f"expected a bool condition, given {condition and condition.type}")
        if len(instruction.regions) != 1:
            raise self.fail(f"expected 1 region, given {len(instruction.regions)}")
        (region,) = instruction.regions
        arguments = [a.type for a in region.arguments]
        if not arguments or not isinstance(arguments[0], IntType):
            raise self.fail("its region must take the iteration number, an int, first")
        self.match_all(instruction, arguments[1:], [v.type for v in carried if v is not None], "the loop starts with")
        yielded = self.region(instruction, region)
        if not yielded or not isinstance(yielded[0], BoolType):
            raise self.fail("its region must yield the next condition, a bool, first")
        self.match_all(instruction, arguments[1:], yielded[1:], "its region yields")
        self.match_all(instruction, [r.type for r in instruction.results], arguments[1:], "the loop carries")

    def match_all(self, instruction: Instruction, declared: list[Type], actual: list[Type], what: str) -> None:
        bindings: dict[str, Dim] = {}
        if len(declared) != len(actual) or not all(
            self.fits(d, a, bindings, widen=True) for d, a in zip(declared, actual, strict=True)
        ):
            self.current = instruction
            raise self.fail(f"{what} {_show(actual)}, expected {_show(declared)}")

    def region(self, instruction: Instruction, region: Block) -> list[Type]:
        """Check a region in its own scope; the types that it yields."""
        if region.parent is not instruction:
            raise self.fail("a region is not linked to its instruction")
        mark, bound, known = len(self.trail), set(self.bound), set(self.sizes.known)
        self.arguments(region)
        self.block(region, "yield")
        self.current = instruction
        self.values.difference_update(self.trail[mark:])
        del self.trail[mark:]
        self.bound, self.sizes.known = bound, known
        return [v.type for v in region.terminator.inputs]


_EXPECTED = (RuntimeError, TypeError, ValueError, IndexError, VerifyError)


def _fits_kind(parameter: Parameter, value: Any) -> bool:
    if not parameter.required and same_attribute(parameter.normalised, value):
        return True
    kind = parameter.kind.removesuffix(" | None")
    return (value is None and kind != parameter.kind) or _KINDS[kind](value)


def _is_optional(type: Type) -> bool:
    return isinstance(type, OptionalType)


def _show(types: "list[Type] | tuple[Type, ...]") -> str:
    return str(types[0]) if len(types) == 1 else f"({', '.join(map(str, types))})"


def graph_symbols(graph: Graph) -> set[str]:
    """Every dimension symbol that occurs in a graph."""
    return set().union(*(dim.symbols() for dim in graph_dims(graph)))
