"""Checks a function's syntax when it is decorated: everything that is not supported is reported at once."""

import ast
from collections.abc import Iterator

from ..errors import ScriptError
from .source import FunctionSource

__all__ = ["check_syntax"]

_UNSUPPORTED: dict[type[ast.AST], tuple[str, str]] = {
    ast.AsyncFunctionDef: ("async functions cannot be compiled", "write a plain `def`"),
    ast.AsyncFor: ("`async for` cannot be compiled", "use a plain `for`"),
    ast.AsyncWith: ("`async with` cannot be compiled", "use plain code"),
    ast.Await: ("`await` cannot be compiled", "use plain calls"),
    ast.Yield: ("generators cannot be compiled", "append to a list and return it"),
    ast.YieldFrom: ("generators cannot be compiled", "append to a list and return it"),
    ast.GeneratorExp: ("", ""),  # allowed where it is consumed; see below
    ast.TryStar: ("`except*` cannot be compiled", "catch the exceptions with a plain `except`"),
    ast.ClassDef: ("classes cannot be defined inside a compiled function", "define the class at module level"),
}


def check_syntax(source: FunctionSource, *, yields: bool = False) -> None:
    """ScriptError with every unsupported construct of the function, in order of place; it may yield if `yields`."""
    everything = [*_findings(source.node, None), *_assigned_globals(source.node)]
    found = [f for f in everything if not (yields and isinstance(f[0], ast.Yield))]
    findings = sorted(found, key=lambda f: (f[0].lineno, f[0].col_offset))
    if not findings:
        return
    errors = [ScriptError(message, source.location(node), hint=hint) for node, message, hint in findings]
    if len(errors) == 1:
        raise errors[0]
    node, message, hint = findings[0]
    rest = "\n".join(str(e) for e in errors[1:])
    raise ScriptError(
        f"{message} (and {len(errors) - 1} more below)",
        source.location(node),
        hint=f"{hint}\n{rest}",
    )


def _declared(root: ast.AST) -> set[str]:
    """Names of variables from outside that a function declares: `global`, or `nonlocal` in the function itself."""
    names = {name for node in ast.walk(root) if isinstance(node, ast.Global) for name in node.names}
    inside: list[ast.AST] = list(ast.iter_child_nodes(root))
    while inside:
        node = inside.pop()
        if isinstance(node, ast.Nonlocal):
            names.update(node.names)
        if not isinstance(node, (ast.FunctionDef, ast.Lambda)):
            inside += ast.iter_child_nodes(node)
    return names


def _assigned_globals(root: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
    """Assignments to variables outside the function: those are constants of a compiled program."""
    names = _declared(root)
    for node in ast.walk(root) if names else ():
        bound: set[str] = set()
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                bound = {name}
            case ast.FunctionDef(name=name) | ast.ExceptHandler(name=str(name)):
                bound = {name} if node is not root else set()
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                bound = {alias.asname or alias.name.partition(".")[0] for alias in aliases}
        if bound & names:
            assert isinstance(node, (ast.expr, ast.stmt, ast.ExceptHandler))
            place: ast.expr | ast.stmt = node if not isinstance(node, ast.ExceptHandler) else node.body[0]
            yield (
                place,
                f"{min(bound & names)!r} is a variable from outside, which is a constant of the program",
                "return the new value, or keep it in a buffer of a Module",
            )


def _findings(node: ast.AST, parent: ast.AST | None) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
    found = _UNSUPPORTED.get(type(node))
    if isinstance(node, (ast.expr, ast.stmt)):
        if isinstance(node, ast.GeneratorExp):
            consumed = isinstance(parent, (ast.Call, ast.keyword, ast.Starred, ast.comprehension, ast.Compare))
            unpacked = isinstance(parent, ast.Assign) and all(
                isinstance(t, (ast.Tuple, ast.List)) for t in parent.targets
            )
            if not (consumed or unpacked or (isinstance(parent, ast.For) and node is parent.iter)):
                yield node, "a generator can only be compiled where it is consumed", "use a list comprehension"
        elif found is not None:
            yield node, *found
            return
        if isinstance(node, (ast.For, ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.SetComp)):
            generators = [] if isinstance(node, ast.For) else node.generators
            if any(g.is_async for g in generators):
                yield node, "asynchronous comprehensions cannot be compiled", "use a plain comprehension"
    for child in ast.iter_child_nodes(node):
        # Annotations and decorators of the function are Python's business, not the graph's.
        if isinstance(node, ast.FunctionDef) and (child in node.decorator_list or child is node.returns):
            continue
        if isinstance(node, ast.arg):
            continue
        yield from _findings(child, node)
