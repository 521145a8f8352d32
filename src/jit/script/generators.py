"""Generator expressions in `any`, `all` and `next`, which take only as many items as they need.

Each becomes a function defined where it stands, a loop that returns early. Elsewhere a generator's items are all made
first, as those of a list.
"""

import ast
import functools
from typing import Any

from .context import Context
from .values import Abstract, Closure, Constant

__all__ = ["early_generator"]

_TARGETS = (any, all, next)


def early_generator(context: Context, node: ast.Call, function: Abstract) -> Abstract | None:
    """A call of `any`, `all` or `next` of a generator expression; None for other calls."""
    if not (isinstance(function, Constant) and any(function.value is t for t in _TARGETS)):
        return None
    generator = _generator(node.args[0]) if node.args and not node.keywords else None
    if generator is None or len(node.args) > (2 if function.value is next else 1):
        return None
    iterable = context.evaluate(generator.generators[0].iter)
    arguments = [iterable, *(context.evaluate(a) for a in node.args[1:])]
    made = _function(generator, function.value, len(arguments))
    closure = Closure(context.frame.source.nested(made), context.frame, (), {})
    return context.call(closure, arguments, {})


@functools.lru_cache(maxsize=1024)
def _generator(node: ast.expr) -> ast.GeneratorExp | None:
    """A generator expression, or the one that `iter(...)` stands for."""
    if isinstance(node, ast.GeneratorExp):
        return node
    match node:
        case ast.Call(func=ast.Name(id="iter"), args=[items], keywords=[]):
            clause = ast.comprehension(ast.Name("$item", ast.Store()), items, [], 0)
            return ast.copy_location(ast.GeneratorExp(ast.Name("$item", ast.Load()), [clause]), node)
    return None


def _object(value: Any) -> ast.expr:
    """An object as an expression of the compiler's own trees."""
    return ast.Constant(value)


@functools.lru_cache(maxsize=1024)
def _function(node: ast.GeneratorExp, target: Any, count: int) -> ast.FunctionDef:
    element = node.elt
    end: ast.stmt
    if target is next:
        inner: list[ast.stmt] = [ast.Return(element)]
        stop = ast.Raise(ast.Call(_object(StopIteration), [], []), None)
        end = ast.Return(ast.Name("$default", ast.Load())) if count == 2 else stop
    else:
        found = target is any
        test = element if found else ast.UnaryOp(ast.Not(), element)
        inner = [ast.If(test, [ast.Return(ast.Constant(found))], [])]
        end = ast.Return(ast.Constant(not found))
    for position, generator in reversed(list(enumerate(node.generators))):
        for condition in reversed(generator.ifs):
            inner = [ast.If(condition, inner, [])]
        source = generator.iter if position else ast.Name("$items", ast.Load())
        inner = [ast.For(generator.target, source, inner, [])]
    names = [ast.arg("$items"), ast.arg("$default")][:count]
    arguments = ast.arguments([], names, None, [], [], None, [])
    made = ast.FunctionDef("<genexpr>", arguments, [*inner, end], [])
    for child in ast.walk(made):
        if isinstance(child, (ast.expr, ast.stmt, ast.arg)) and not hasattr(child, "lineno"):
            ast.copy_location(child, node)
    return made
