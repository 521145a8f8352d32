"""Writes what follows from the op records, docs/ops.md and the stub of Tensor's methods; and docs/language.md.

    python docs/generate.py

docs/language.md follows from the conformance suite of scripts. A test compares the files with what this would write.
"""

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ingot
from ingot.eager import namespaces
from ingot.ir.ops._op import Custom, Decompose, Op, all_ops
from ingot.ir.ops.schema import Parameter, Role

ROOT = Path(__file__).resolve().parents[1]
OPS = ROOT / "docs" / "ops.md"
STUB = ROOT / "src" / "eager" / "tensor_methods.pyi"
COMMAND = "python docs/generate.py"

# -- docs/ops.md -------------------------------------------------------------------------------------------------------

_PREFIX = {"": "ingot", "method": "Tensor", "functional": "ingot.nn.functional"}


def _family(op: Op) -> str:
    code = op.infer if hasattr(op.infer, "__code__") else op.evaluate
    return Path(code.__code__.co_filename).stem if code is not None else "control"


def _families() -> dict[str, list[Op]]:
    """Ops by the module that defines them, internal ones left out."""
    from ingot.ir import ops

    found: dict[str, list[Op]] = {name: [] for name in ops.__all__}
    seen: set[str] = set()
    for name in ops.__all__:
        module = importlib.import_module(f"ingot.ir.ops.{name}")
        for value in vars(module).values():
            if isinstance(value, Op) and value.namespaces and value.name not in seen:
                seen.add(value.name)
                found[name].append(value)
    rest = [op for op in all_ops() if op.namespaces and op.name not in seen]
    for op in rest:
        found.setdefault(_family(op), []).append(op)
    return {name: found[name] for name in found if found[name]}


# The tests hold code generation to this list: every other op has a native form.
_ON_HOST = frozenset((ROOT / "tests" / "jit" / "codegen" / "host_evaluated_ops.txt").read_text().split())


def _native(op: Op) -> str:
    if op.name in _ON_HOST:
        return "called back"
    if isinstance(op.lower, Custom):
        return "kernel"
    return "made of ops" if isinstance(op.lower, Decompose) else "generated"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def ops_document() -> str:
    """The text of docs/ops.md."""
    lines = [
        "# Operations",
        "",
        f"Written by `{COMMAND}` from the op records in `src/ir/ops`: change those, then run it again.",
        "",
        "*Where*: the namespaces that have it; `Tensor` are methods, and `name_` is there too where *in place* says "
        "yes. *Gradient*: whether the record has a derivative rule. *Compiled*: generated code, a kernel of its own, a "
        "decomposition into other ops, or no native form, so that a program calls numpy back for it.",
        "",
    ]
    for family, ops in _families().items():
        doc = importlib.import_module(f"ingot.ir.ops.{family}").__doc__ or ""
        lines += [f"## {family}", "", doc.strip().splitlines()[0], ""]
        lines += ["| Operation | Where | Gradient | In place | Compiled |", "|---|---|---|---|---|"]
        for op in ops:
            where = ", ".join(_PREFIX.get(n, f"ingot.{n}") for n in sorted(op.namespaces))
            also = f" (also {', '.join(op.aliases)})" if op.aliases else ""
            marks = ["yes" if op.vjp is not None else "-", "yes" if op.inplace else "-", _native(op)]
            lines.append(f"| `{_escaped(op.schema.text)}`{also} | {where} | {' | '.join(marks)} |")
        lines.append("")
    lines += [
        "## Functions made of these",
        "",
        "They have no record of their own; gradients are those of their parts.",
        "",
    ]
    for title, names in _composed().items():
        lines += [f"`{title}`: {', '.join(names)}.", ""]
    return "\n".join(lines)


def _composed() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    functional = [n for n, v in vars(ingot.nn.functional).items() if v.__class__ is not type and _is_ours(v)]
    for title, module, public in (
        ("ingot", namespaces[""], list(namespaces[""])),
        ("ingot.nn.functional", vars(ingot.nn.functional), functional),
        *((f"ingot.{m.__name__[6:]}", vars(m), m.__all__) for m in (ingot.linalg, ingot.fft, ingot.special)),
    ):
        found[title] = sorted(
            name
            for name in public
            if not name.startswith("_")
            and inspect.isfunction(module[name])
            and not hasattr(module[name], "__ingot_op__")
        )
    return found


def _is_ours(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).startswith("ingot.nn.")


# -- the stub of Tensor's methods --------------------------------------------------------------------------------------

# Methods named int, float and bool hide the types inside the class.
_BUILTIN = re.compile(r"(?<=[ \[])(int|float|bool|tuple|str)\b(?! *\()")

_ROLES = {
    Role.TENSOR: "Tensor", Role.OPTIONAL_TENSOR: "Tensor | None", Role.TENSORS: "Sequence[Tensor]",
    Role.OPERAND: "Tensor | Number", Role.SCALAR: "Number", Role.INT: "int | Tensor", Role.SIZE: "int | Sequence[int]",
}  # fmt: skip
_KINDS = {"int": "int", "ints": "int | Sequence[int]", "float": "float", "bool": "bool", "str": "str", "dtype": "Any",
          "number": "Number", "any": "Any"}  # fmt: skip


def _parameter(p: Parameter) -> str:
    kind = p.kind.removesuffix(" | None")
    type = _ROLES[p.role] if p.role.is_operand else _KINDS[kind]
    if not p.required and p.default is None and "None" not in type and type != "Any":
        type += " | None"
    if p.kind.endswith("| None") and "None" not in type and type != "Any":
        type += " | None"
    return f"{p.name}: {type}" if p.required or p.variadic else f"{p.name}: {type} = ..."


def _from_record(op: Op, name: str) -> str:
    parts = ["self"]
    star = False
    for p in op.schema.parameters[1:]:
        if p.keyword_only and not star:
            parts.append("*")
            star = True
        if p.variadic:
            star = True
            parts.append(f"*{_parameter(p)}")
        else:
            parts.append(_parameter(p))
    if not name.endswith("_"):
        parts += ["out: Any = ..."] if star else ["*", "out: Any = ..."]
    result = "Tensor" if op.outputs == 1 else f"tuple[{', '.join(['Tensor'] * op.outputs)}]"
    return f"    def {name}({', '.join(parts)}) -> {result}: ..."


def _annotation(value: Any) -> str:
    if value in (int, bool, str, float):
        return str(value.__name__)
    text = "" if value is inspect.Parameter.empty else str(value)
    if value is ingot.Tensor:
        return "Tensor"
    if text in ("int | None", "float | None", "bool | None", "str | None"):
        return text
    return "Tensor | None" if text == "ingot.eager.tensor.Tensor | None" else "Any"


def _from_function(function: Any, name: str) -> str:
    signature = inspect.signature(function)
    parts, star = ["self"], False
    for p in list(signature.parameters.values())[1:]:
        if p.kind is p.VAR_POSITIONAL:
            parts.append(f"*{p.name}: {_annotation(p.annotation)}")
            star = True
            continue
        if p.kind is p.VAR_KEYWORD:
            parts.append(f"**{p.name}: {_annotation(p.annotation)}")
            continue
        if p.kind is p.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        default = "" if p.default is p.empty else " = ..."
        parts.append(f"{p.name}: {_annotation(p.annotation)}{default}")
    result = _annotation(signature.return_annotation)
    return f"    def {name}({', '.join(parts)}) -> {'Tensor' if name.endswith('_') and name[0] != '_' else result}: ..."


def _written_in_class() -> set[str]:
    """Names that tensor.py itself defines in the class."""
    tree = ast.parse((ROOT / "src" / "eager" / "tensor.py").read_text())
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Tensor").body
    names: set[str] = set()
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.If):
            names |= {n.name for n in node.body if isinstance(n, ast.FunctionDef) and n.name != "__getattr__"}
    return names


def _methods() -> Iterator[tuple[str, str]]:
    skipped = _written_in_class()
    for name in sorted(vars(ingot.Tensor)):
        if name in skipped or (name.startswith("_") and not name.startswith("__")):
            continue
        value = inspect.getattr_static(ingot.Tensor, name)
        if isinstance(value, property):
            result = "bool" if name.startswith("is_") else "int" if name in ("itemsize", "nbytes") else "Tensor"
            yield name, f"    @property\n    def {name}(self) -> {result}: ..."
        elif name.startswith("__"):
            op = getattr(value, "__ingot_op__", None)
            if op is None and name not in ("__getitem__", "__setitem__"):
                continue
            yield name, _operator(name, op)
        elif inspect.isfunction(value):
            base = inspect.getattr_static(ingot.Tensor, name[:-1], None) if name.endswith("_") else None
            if inspect.isfunction(base) and list(inspect.signature(value).parameters)[1:] == ["args", "kwargs"]:
                value = base  # `name_` takes what `name` takes
            op = getattr(value, "__ingot_op__", None)
            generated = type(getattr(value, "__wrapped__", None)).__name__ == "_Signed"
            yield name, _from_record(op, name) if op is not None and generated else _from_function(value, name)


def _operator(name: str, op: Op | None) -> str:
    if name == "__getitem__":
        return "    def __getitem__(self, index: Any) -> Tensor: ..."
    if name == "__setitem__":
        return "    def __setitem__(self, index: Any, value: Any) -> None: ..."
    if op is not None and len(op.schema.operands) == 1:
        return f"    def {name}(self) -> Tensor: ..."
    note = "  # type: ignore[override]" if name in ("__eq__", "__ne__") else ""
    return f"    def {name}(self, other: Any) -> Tensor: ...{note}"


def stub() -> str:
    """The text of src/eager/tensor_methods.pyi."""
    lines = [
        f'"""The methods that Tensor gets from the op records, for editors and type checkers; by `{COMMAND}`."""',
        "",
        "# ruff: noqa",
        "# fmt: off",
        "",
        "import builtins",
        "from collections.abc import Sequence",
        "from typing import Any",
        "",
        "from .tensor import Tensor",
        "",
        "Number = bool | int | float | complex",
        "",
        "class TensorMethods:",
        *(_BUILTIN.sub(r"builtins.\1", text) for _, text in _methods()),
        "",
    ]
    return "\n".join(lines)


def _language() -> Any:
    """The module `language` beside this file."""
    spec = importlib.util.spec_from_file_location("language", ROOT / "docs" / "language.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LANGUAGE = ROOT / "docs" / "language.md"


def language_document() -> str:
    """The text of docs/language.md."""
    text: str = _language().document()
    return text


if __name__ == "__main__":
    LANGUAGE.write_text(language_document())
    OPS.write_text(ops_document())
    STUB.write_text(stub())
