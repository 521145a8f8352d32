"""Runs a program in Python and as a compiled graph in the interpreter, and compares results, writes and errors."""

import copy
import math
from collections.abc import Callable
from typing import Any

import ingot
import pytest
from ingot import jit
from ingot.ir.text import parse
from ingot.ir.verify import verify
from ingot.jit.script import script


def same(a: Any, b: Any) -> bool:
    """Whether two results are equal: types, dtypes, shapes and elements, NaN equal to itself."""
    if isinstance(a, ingot.Tensor) or isinstance(b, ingot.Tensor):
        if not (isinstance(a, ingot.Tensor) and isinstance(b, ingot.Tensor)):
            return False
        if a.dtype is not b.dtype or a.shape != b.shape:
            return False
        return all(same(x, y) for x, y in zip(a.reshape(-1).tolist(), b.reshape(-1).tolist(), strict=True))
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    given = tuple(copy.deepcopy(a) for a in arguments)
    try:
        return function(*given), given
    except jit.ScriptError:
        raise
    except Exception as error:
        return error, given


def compare(function: Callable[..., Any], *calls: tuple[Any, ...], scripted: Any = None) -> Any:
    """Each call has the same outcome in Python and in the compiled program; gives the compiled callable."""
    scripted = script(function) if scripted is None else scripted
    for arguments in calls:
        expected, after = _outcome(function, arguments)
        with jit.executor("interpreter"):
            got, written = _outcome(scripted, arguments)
        shown = f"{getattr(function, '__name__', function)}{arguments}: expected {expected!r}, got {got!r}"
        if isinstance(expected, Exception) or isinstance(got, Exception):
            if isinstance(got, Exception) and not isinstance(expected, Exception):
                raise AssertionError(shown) from got
            assert type(expected) is type(got), shown
            if not isinstance(got, (IndexError, RuntimeError)):  # those of ops name axes and sizes in other words
                assert str(expected) == str(got), shown
        else:
            assert same(expected, got), f"{shown}\n{scripted.graph}"
            assert same(list(after), list(written)), f"{shown}: arguments are {written}, expected {after}"
    for specialisation in scripted.specialisations:
        verify(specialisation.graph)
        assert parse(str(specialisation.graph)) == specialisation.graph
    return scripted


@pytest.fixture(name="compare")
def _compare() -> Callable[..., Any]:
    return compare


@pytest.fixture(name="refuse")
def _refuse() -> Callable[..., jit.ScriptError]:
    """Calls a scripted function that must be refused; gives the error."""

    def refuse(function: Callable[..., Any], *arguments: Any) -> jit.ScriptError:
        with pytest.raises(jit.ScriptError) as caught, jit.executor("interpreter"):
            script(function)(*arguments)
        return caught.value

    return refuse
