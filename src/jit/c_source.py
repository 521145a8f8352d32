"""C source for a native program: a header, and the function that checks sizes, plans memory and calls the driver.

What Python does around a driver (see `program`) is here as C99 without dependencies but the C library.
"""

import ast
import json
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

from ..ir.core import Guard
from ..ir.dims import Dim, DimExpr
from ..ir.types import BoolType, FloatType, IntType, TensorType, Type
from .c_templates import HEADER, HELPERS, SOURCE, stream
from .codegen.module import ArgumentSpec, ResultSpec
from .errors import Unsupported
from .layout import Layout

__all__ = ["CProgram"]

_C_TYPES = {
    "bool": "uint8_t", "u8": "uint8_t", "i8": "int8_t", "i16": "int16_t", "i32": "int32_t", "i64": "int64_t",
    "f16": "uint16_t", "f32": "float", "f64": "double", "c64": "float", "c128": "double",
}  # fmt: skip
# Words of C and C++, names of the headers that are included, and those of the generated function itself.
_KEYWORDS = frozenset(
    [
        "alignas", "alignof", "and", "and_eq", "asm", "atomic_cancel", "auto", "bitand", "bitor", "bool", "break",
        "case", "catch", "char", "char16_t", "char32_t", "char8_t", "class", "co_await", "co_return", "co_yield",
        "compl", "concept", "const", "const_cast", "consteval", "constexpr", "constinit", "continue", "decltype",
        "default", "delete", "do", "double", "dynamic_cast", "else", "enum", "explicit", "export", "extern", "false",
        "float", "for", "friend", "goto", "if", "inline", "int", "long", "mutable", "namespace", "new", "noexcept",
        "not", "not_eq", "nullptr", "operator", "or", "or_eq", "private", "protected", "public", "register",
        "reinterpret_cast", "requires", "restrict", "return", "short", "signed", "sizeof", "static", "static_assert",
        "static_cast", "struct", "switch", "synchronized", "template", "this", "thread_local", "throw", "true", "try",
        "typedef", "typeid", "typename", "union", "unsigned", "using", "virtual", "void", "volatile", "wchar_t",
        "while", "xor", "xor_eq", "NULL", "FILE", "EOF", "BUFSIZ", "RAND_MAX", "stdin", "stdout", "stderr", "errno",
        "assert", "abs", "div", "exit", "free", "malloc", "calloc", "realloc", "memcpy", "memmove", "memcmp", "memset",
        "fopen", "fread", "fclose", "linux", "unix", "i", "j", "arena", "bcast", "bytes", "end", "file", "first",
        "floor_div", "floor_mod", "frame", "free_blocks", "float_bits", "generator", "helpers", "larger", "last",
        "memory", "mixed", "model", "moved", "need", "offsets", "plan", "size", "sizes", "smaller", "start", "status",
        "total", "workspace", "align64",
    ]
)  # fmt: skip

# Sizes, results and arguments without a name of their own, and what is reserved in C.
_OWN_NAMES = re.compile(r"size_|result\d|argument\d|_|U?INT\d")


@dataclass(frozen=True)
class CProgram:
    """What C source is made from. `offsets` are places in the weights: of the layout's constants, and of parameters."""

    name: str
    cpu: str
    layout: Layout
    parameters: tuple[str, ...]
    outputs: int
    writes: tuple[tuple[int, int], ...]
    constant_offsets: tuple[int, ...]
    parameter_offsets: tuple[int, ...]
    weights: bytes

    def header(self) -> str:
        """The header file."""
        shapes = "".join(f"{declaration};\n" for declaration, _ in self._shape_functions())
        if shapes:
            shapes = f"/* The sizes of results, by the sizes that `{self.name}_run` is given. */\n{shapes}\n"
        return Template(HEADER).substitute(
            name=self.name,
            name_open=f"{self.name}_open",
            name_run=f"{self.name}_run",
            guard=self.name.upper(),
            title=_comment(self.layout.name),
            cpu=self.cpu,
            shapes=shapes,
            signature=_comment(self._signature()),
            parameters=self._parameters(),
        )

    def source(self) -> str:
        """The source file."""
        buffers = self.layout.buffers
        constants = [f"(int64_t)(intptr_t)(model->weights + {offset})" for offset in self.constant_offsets]
        plan = [*map(self._dim, self.layout.sizes), *["0"] * len(buffers), *constants]
        messages = [
            f"    case {index + 1}: return {_string(f'{site.exception}: {site.message}')};"
            for index, site in enumerate(self.layout.errors)
        ]
        messages += [f"    case {code}: return {_string(text)};" for code, _, text in self._conditions()]
        checks = [f"    if (!({condition}))\n        return {code};" for code, condition, _ in self._conditions()]
        text = Template(SOURCE).safe_substitute(
            **stream(),
            name=self.name,
            title=_comment(self.layout.name),
            driver=self.layout.driver,
            parameters=self._parameters(),
            start=", ".join(map(str, self.weights[: _start_length(self.weights)])),
            weights_size=len(self.weights),
            shape_functions="\n".join(f"{declaration} {body}\n" for declaration, body in self._shape_functions()),
            checks="\n".join(checks),
            plan=", ".join(plan) or "0",
            buffer_sizes=", ".join(self._dim(b.nbytes) for b in buffers) or "0",
            first=", ".join(str(b.first) for b in buffers) or "0",
            last=", ".join(str(b.last) for b in buffers) or "0",
            most_buffers=max(len(buffers), 1),
            buffers=len(buffers),
            n_sizes=len(self.layout.sizes),
            scratch=max(self.layout.scratch_slots, 1),
            frame=", ".join(self._frame()) or "0",
            after="\n".join(self._after()),
            messages="\n".join(messages),
            release="    free_blocks(arena);\n" if self.layout.uses_arena else "",
        )
        helpers = ""
        for name, definition in reversed(HELPERS.items()):
            if f"{name}(" in text or f"{name}(" in helpers:
                helpers = definition + helpers
        return Template(text).safe_substitute(helpers=helpers)

    # -- names --------------------------------------------------------------------------------------------------------

    def _symbols(self) -> list[str]:
        """The sizes that calls choose, in order of appearance."""
        seen: dict[str, None] = {}
        for spec in self._arguments():
            if isinstance(spec.type, TensorType):
                dims: Sequence[Dim] = spec.type.shape
            else:
                dims = [spec.type.value] if isinstance(spec.type, IntType) and spec.type.value is not None else []
            for dim in dims:
                if isinstance(dim, DimExpr):
                    seen |= dict.fromkeys(sorted(dim.symbols()))
        return list(seen)

    def _arguments(self) -> Sequence[ArgumentSpec]:
        return self.layout.arguments[: len(self.layout.arguments) - len(self.parameters)]

    def _argument(self, index: int) -> str:
        name = self.layout.arguments[index].name
        good = name.isascii() and name.isidentifier() and name not in _KEYWORDS
        return name if good and not _OWN_NAMES.match(name) else f"argument{index}"

    def _dim(self, dim: Dim) -> str:
        return str(dim) if isinstance(dim, int) else _expression(str(dim))

    def _parameters(self) -> str:
        items = [f"const {self.name}_model *model", *(f"int64_t {_size(s)}" for s in self._symbols())]
        for index, spec in enumerate(self._arguments()):
            items.append(f"{_passed(spec.type, spec.written or self._is_written(index))}{self._argument(index)}")
        for index, result in enumerate(self.layout.results):
            if result.kind in ("output", "constant"):
                items.append(f"{_c_type(result.type)} *result{index}")
            elif result.kind == "runtime":
                assert isinstance(result.type, TensorType)
                items += [f"{_c_type(result.type)} **result{index}", f"int64_t *result{index}_shape"]
            elif result.kind == "scalar":
                items.append(f"{_passed(result.type, False).strip()} *result{index}")
            elif result.kind != "argument":
                raise Unsupported(f"a result that is a {result.type} has no form in C")
        return ", ".join(items)

    def _is_written(self, argument: int) -> bool:
        return any(argument == written for written, _ in self.writes)

    def _signature(self) -> str:
        arguments = ", ".join(f"{self._argument(i)}: {spec.type}" for i, spec in enumerate(self._arguments()))
        results = ", ".join(str(result.type) for result in self.layout.results)
        runtime = any(result.kind == "runtime" for result in self.layout.results)
        note = " Results whose size is not known before are allocated with malloc; free them." if runtime else ""
        return f"({arguments}) -> ({results}).{note}"

    # -- parts --------------------------------------------------------------------------------------------------------

    def _shape_functions(self) -> list[tuple[str, str]]:
        functions = []
        sizes = ", ".join(f"int64_t {_size(s)}" for s in self._symbols())
        for index, result in enumerate(self.layout.results):
            if result.kind != "output":
                continue
            assert isinstance(result.type, TensorType)
            parameters = f"{sizes}, int64_t shape[{max(result.type.rank, 1)}]".lstrip(", ")
            unused = [f"    (void){_size(s)};" for s in self._symbols()] + ["    (void)shape;"]
            lines = [f"    shape[{axis}] = {self._dim(dim)};" for axis, dim in enumerate(result.type.shape)]
            declaration = f"void {self.name}_result{index}_shape({parameters})"
            functions.append((declaration, "\n".join(["{", *unused, *lines, "}"])))
        return functions

    def _conditions(self) -> list[tuple[int, str, str]]:
        """Codes from -100 down: a C condition that must hold, and what it says where it does not."""
        conditions = [(f"{_size(s)} >= 0", f"the size {s} is negative") for s in self._symbols()]
        for index, spec in enumerate(self._arguments()):
            if isinstance(spec.type, IntType) and spec.type.value is not None:
                text = f"{self._argument(index)} is not {spec.type.value}"
                conditions.append((f"{self._argument(index)} == {self._dim(spec.type.value)}", text))
        conditions += [self._guard(guard) for guard in self.layout.guards]
        return [(-100 - i, condition, text) for i, (condition, text) in enumerate(conditions)]

    def _guard(self, guard: Guard) -> tuple[str, str]:
        reason = f" ({guard.reason})" if guard.reason else ""
        return f"{self._dim(guard.left)} == {self._dim(guard.right)}", f"{guard} does not hold{reason}"

    def _frame(self) -> list[str]:
        slots = []
        for index, spec in enumerate(self._arguments()):
            name = self._argument(index)
            if isinstance(spec.type, TensorType):
                slots.append(f"(int64_t)(intptr_t){name}")
            else:
                slots.append(f"float_bits({name})" if isinstance(spec.type, FloatType) else f"(int64_t){name}")
        slots += [f"(int64_t)(intptr_t)(model->weights + {offset})" for offset in self.parameter_offsets]
        for index, result in enumerate(self.layout.results):
            slots += [f"(int64_t)(intptr_t)result{index}"] if result.kind == "output" else ["0"] * _slots(result)
        return slots

    def _after(self) -> list[str]:
        """Statements that hand over what the driver wrote into the frame, and write back."""
        lines = ["        (void)model;"]
        if any(result.kind == "runtime" for result in self.layout.results):
            lines.append("        int64_t bytes;")
        position = 8 + len(self.layout.arguments)
        for index, result in enumerate(self.layout.results):
            name, at = f"result{index}", f"frame[{position}]"
            if result.kind == "runtime":
                lines += _hand_over(result, name, position)
            elif result.kind == "scalar" and isinstance(result.type, FloatType):
                lines.append(f"        memcpy({name}, &{at}, 8);")
            elif result.kind == "scalar":
                lines.append(f"        *{name} = {at};")
            elif result.kind == "constant":
                offset = self.constant_offsets[result.index]
                size = self.layout.constants[result.index].nbytes
                lines.append(f"        memcpy({name}, model->weights + {offset}, {size});")
            position += _slots(result)
        for argument, index in self.writes:
            result = self.layout.results[index]
            if result.kind == "argument" and result.index == argument:
                continue
            if result.kind != "output" or argument >= len(self._arguments()):
                raise Unsupported("a write to an argument or parameter that C has no form for")
            assert isinstance(result.type, TensorType)
            nbytes = " * ".join([str(result.type.dtype.itemsize), *(f"({self._dim(d)})" for d in result.type.shape)])
            lines.append(f"        memmove({self._argument(argument)}, result{index}, (size_t)({nbytes}));")
        return lines


def _start_length(weights: bytes) -> int:
    """The bytes by which a weights file is known: its header, up to a bound."""
    (length,) = struct.unpack_from("<Q", weights)
    return min(8 + int(length), 4096)


def _slots(result: ResultSpec) -> int:
    if result.kind == "runtime":
        assert isinstance(result.type, TensorType)
        return 1 + result.type.rank
    return 1


def _hand_over(result: ResultSpec, name: str, position: int) -> list[str]:
    """Copy a result out of the driver's arena into memory of the caller's own."""
    assert isinstance(result.type, TensorType)
    lines = [f"        bytes = {result.type.dtype.itemsize};"]
    for axis in range(result.type.rank):
        lines += [
            f"        {name}_shape[{axis}] = frame[{position + 1 + axis}];",
            f"        bytes *= frame[{position + 1 + axis}];",
        ]
    return [
        *lines,
        f"        *{name} = malloc(bytes > 0 ? (size_t)bytes : 1);",
        f"        if (!*{name})",
        "            status = -1;",
        "        else if (bytes > 0)",
        f"            memcpy(*{name}, (void *)(intptr_t)frame[{position}], (size_t)bytes);",
    ]


def _size(symbol: str) -> str:
    return f"size_{symbol}"


def _c_type(kind: Type) -> str:
    assert isinstance(kind, TensorType)
    return _C_TYPES[kind.dtype.short]


def _passed(kind: Type, written: bool) -> str:
    match kind:
        case TensorType():
            return f"{'' if written else 'const '}{_c_type(kind)} *"
        case FloatType():
            return "double "
        case IntType() | BoolType():
            return "int64_t "
    raise Unsupported(f"an argument of type {kind} has no form in C")


def _comment(text: str) -> str:
    return text.replace("*/", "* /").replace("\n", " ").replace("\\", "/").replace("??", "? ?")


def _string(text: str) -> str:
    """A C string literal; `?` is escaped because of trigraphs."""
    plain = text.encode("ascii", "replace").decode().replace("\n", " ")
    return json.dumps(plain).replace("?", "\\?").replace("\\u", "u")


_CALLS = {"max": "larger", "min": "smaller", "bcast": "bcast"}
_OPERATORS: Mapping[type, Callable[[str, str], str]] = {
    ast.Add: lambda a, b: f"({a} + {b})",
    ast.Sub: lambda a, b: f"({a} - {b})",
    ast.Mult: lambda a, b: f"({a} * {b})",
    ast.FloorDiv: lambda a, b: f"floor_div({a}, {b})",
    ast.Mod: lambda a, b: f"floor_mod({a}, {b})",
}


def _expression(text: str) -> str:
    """The C form of a dimension's text."""

    def convert(node: Any) -> str:
        match node:
            case ast.Constant(value=int(value)):
                return f"INT64_C({value})"
            case ast.Name(id=name):
                return _size(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return f"(-{convert(operand)})"
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
                return _OPERATORS[type(operator)](convert(left), convert(right))
            case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int(power))):
                return "(" + " * ".join([convert(left)] * power) + ")"
            case ast.Call(func=ast.Name(id=name), args=[first, *others]) if name in _CALLS:
                result = convert(first)
                for other in others:
                    result = f"{_CALLS[name]}({result}, {convert(other)})"
                return result
        raise Unsupported(f"the size {text} has no form in C")

    return convert(ast.parse(text, mode="eval").body)
