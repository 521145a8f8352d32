"""`match` statements, as the branches that they stand for.

A pattern is a test on parts of the subject and, where it holds, assignments of parts to names. The statements are
written as syntax trees, so that the rest of the compiler sees `if` and assignments only. What depends on the classes
that patterns name is left to marker functions, which the compiler evaluates.
"""

import ast
from typing import Any

from .context import Context
from .registry import handles
from .values import Abstract, Constant, DictRef, ListRef, Tuple

__all__ = ["desugar"]

_SELF_MATCHING = (bool, bytearray, bytes, dict, float, frozenset, int, list, set, str, tuple)


def match_part(value: Any, cls: Any, position: int) -> Any:
    """The part of a value that a class pattern's argument of this position is compared with."""
    raise NotImplementedError  # the compiler evaluates it


def is_sequence(value: Any) -> bool:
    """Whether sequence patterns match a value."""
    raise NotImplementedError  # the compiler evaluates it


@handles(match_part)
def _match_part(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    from .objects import attribute

    value, cls, position = arguments
    assert isinstance(cls, Constant) and isinstance(position, Constant)
    names = getattr(cls.value, "__match_args__", ())
    if cls.value in _SELF_MATCHING and position.value == 0:
        return value
    if position.value >= len(names):
        many = f"{cls.value.__name__}() accepts {len(names)} positional sub-patterns ({position.value + 1} given)"
        raise context.type_error(many, "name the attributes: `Class(attribute=pattern)`")
    return attribute(context, value, names[position.value])


@handles(is_sequence)
def _is_sequence(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    from .operators import spread

    def one(value: Abstract) -> Abstract:
        known = isinstance(value, (ListRef, Tuple)) and not isinstance(value, DictRef)
        return Constant(known or (isinstance(value, Constant) and isinstance(value.value, (list, tuple, range))))

    return spread(context, one, arguments[0])


class _Desugar(ast.NodeTransformer):
    def visit_Match(self, node: ast.Match) -> Any:
        self.generic_visit(node)
        name = f"$match{node.lineno}_{node.col_offset}"
        subject = ast.copy_location(_store(name, node.subject), node)
        return [subject, *_cases(name, node.cases, node)]


def desugar(node: ast.AST) -> None:
    """Replace the `match` statements below a node."""
    if any(isinstance(n, ast.Match) for n in ast.walk(node)):
        _Desugar().visit(node)
        ast.fix_missing_locations(node)


def _at(new: ast.AST, old: ast.AST) -> Any:
    for inner in ast.walk(new):
        if isinstance(inner, (ast.expr, ast.stmt)) and not hasattr(inner, "lineno"):
            ast.copy_location(inner, old)
    return new


def _load(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _store(name: str, value: ast.expr) -> ast.stmt:
    return _at(ast.Assign([ast.Name(name, ast.Store())], value), value)  # type: ignore[no-any-return]


def _cases(subject: str, cases: list[ast.match_case], node: ast.Match) -> list[ast.stmt]:
    """The statements of the cases, from the first on."""
    if not cases:
        return []
    case, rest = cases[0], cases[1:]
    tests, bindings = _pattern(case.pattern, _load(subject))
    made = [_at(_store(name, value), case.pattern) for name, value in bindings]
    if case.guard is None:
        body = [*made, *case.body]
        if not tests:
            return body
        return [_at(ast.If(_all(tests), body, _cases(subject, rest, node)), case.pattern)]
    hit = f"{subject}_hit{case.pattern.lineno}_{case.pattern.col_offset}"
    inside: list[ast.stmt] = [
        *made,
        _at(ast.If(case.guard, [_store(hit, _true(case.guard)), *case.body], []), case.guard),
    ]
    start = _at(ast.Assign([ast.Name(hit, ast.Store())], ast.Constant(False)), case.pattern)
    statements: list[ast.stmt] = [start]
    statements += [_at(ast.If(_all(tests), inside, []), case.pattern)] if tests else inside
    following = _cases(subject, rest, node)
    if following:
        statements.append(_at(ast.If(ast.UnaryOp(ast.Not(), _load(hit)), following, []), case.pattern))
    return statements


def _true(node: ast.AST) -> ast.expr:
    return ast.copy_location(ast.Constant(True), node)


def _all(tests: list[ast.expr]) -> ast.expr:
    return tests[0] if len(tests) == 1 else _at(ast.BoolOp(ast.And(), tests), tests[0])


def _object(value: Any) -> ast.expr:
    return ast.Constant(value)


def _call(function: Any, *arguments: ast.expr) -> ast.expr:
    return ast.Call(_object(function), list(arguments), [])


Bindings = list[tuple[str, ast.expr]]


def _pattern(pattern: ast.pattern, value: ast.expr) -> tuple[list[ast.expr], Bindings]:
    """The tests that a pattern is, and what it binds."""
    tests, bindings = _parts(pattern, value)
    return [_at(t, pattern) for t in tests], [(n, _at(v, pattern)) for n, v in bindings]


def _parts(pattern: ast.pattern, value: ast.expr) -> tuple[list[ast.expr], Bindings]:
    match pattern:
        case ast.MatchValue(value=wanted):
            return [ast.Compare(value, [ast.Eq()], [wanted])], []
        case ast.MatchSingleton(value=wanted):
            return [ast.Compare(value, [ast.Is()], [ast.Constant(wanted)])], []
        case ast.MatchAs(pattern=inner, name=name):
            tests, bindings = _pattern(inner, value) if inner is not None else ([], [])
            return tests, [*bindings, (name, value)] if name is not None else bindings
        case ast.MatchOr(patterns=patterns):
            return _alternatives(patterns, value)
        case ast.MatchSequence(patterns=patterns):
            return _sequence(patterns, value)
        case ast.MatchMapping():
            return _mapping(pattern, value)
        case ast.MatchClass():
            return _class(pattern, value)
    raise AssertionError(f"unknown pattern {pattern}")


def _alternatives(patterns: list[ast.pattern], value: ast.expr) -> tuple[list[ast.expr], Bindings]:
    found = [_pattern(p, value) for p in patterns]
    choices = [_all(tests) if tests else ast.Constant(True) for tests, _ in found]
    bindings: Bindings = []
    for name, last in found[-1][1]:
        chosen = last
        for test, (_, names) in zip(reversed(choices[:-1]), reversed(found[:-1]), strict=True):
            chosen = ast.IfExp(test, dict(names)[name], chosen)
        bindings.append((name, chosen))
    return [ast.BoolOp(ast.Or(), choices)], bindings


def _sequence(patterns: list[ast.pattern], value: ast.expr) -> tuple[list[ast.expr], Bindings]:
    star = next((i for i, p in enumerate(patterns) if isinstance(p, ast.MatchStar)), None)
    length = _call(len, value)
    least = ast.Constant(len(patterns) - (star is not None))
    operator = ast.Eq() if star is None else ast.GtE()
    tests: list[ast.expr] = [_call(is_sequence, value), ast.Compare(length, [operator], [least])]
    bindings: Bindings = []
    for index, pattern in enumerate(patterns):
        if isinstance(pattern, ast.MatchStar):
            if pattern.name is not None:
                after = len(patterns) - 1 - index
                stop = ast.UnaryOp(ast.USub(), ast.Constant(after)) if after else None
                part = ast.Subscript(value, ast.Slice(ast.Constant(index), stop, None), ast.Load())
                bindings.append((pattern.name, _call(list, part)))
            continue
        place = ast.Constant(index) if star is None or index < star else ast.Constant(index - len(patterns))
        inner_tests, inner = _pattern(pattern, ast.Subscript(value, place, ast.Load()))
        tests += inner_tests
        bindings += inner
    return tests, bindings


def _mapping(pattern: ast.MatchMapping, value: ast.expr) -> tuple[list[ast.expr], Bindings]:
    tests: list[ast.expr] = [_call(isinstance, value, _object(dict))]
    bindings: Bindings = []
    for key, inner in zip(pattern.keys, pattern.patterns, strict=True):
        tests.append(ast.Compare(key, [ast.In()], [value]))
        inner_tests, names = _pattern(inner, ast.Subscript(value, key, ast.Load()))
        tests += inner_tests
        bindings += names
    if pattern.rest is not None:
        name, item = ast.Name("$key", ast.Store()), ast.Name("$value", ast.Store())
        others = ast.Compare(_load("$key"), [ast.NotIn()], [ast.Tuple(list(pattern.keys), ast.Load())])
        items = ast.Call(ast.Attribute(value, "items", ast.Load()), [], [])
        generator = ast.comprehension(ast.Tuple([name, item], ast.Store()), items, [others] if pattern.keys else [], 0)
        bindings.append((pattern.rest, ast.DictComp(_load("$key"), _load("$value"), [generator])))
    return tests, bindings


def _class(pattern: ast.MatchClass, value: ast.expr) -> tuple[list[ast.expr], Bindings]:
    tests: list[ast.expr] = [ast.Call(ast.Name("isinstance", ast.Load()), [value, pattern.cls], [])]
    bindings: Bindings = []
    parts: list[tuple[ast.pattern, ast.expr]] = [
        (inner, _call(match_part, value, pattern.cls, ast.Constant(index)))
        for index, inner in enumerate(pattern.patterns)
    ]
    parts += [
        (inner, ast.Attribute(value, name, ast.Load()))
        for name, inner in zip(pattern.kwd_attrs, pattern.kwd_patterns, strict=True)
    ]
    for inner, part in parts:
        inner_tests, names = _pattern(inner, part)
        tests += inner_tests
        bindings += names
    return tests, bindings
