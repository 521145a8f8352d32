"""The interpreter: sizes, control flow, errors with their places, arguments left alone."""

from typing import Any

import numpy as np
import pytest
from ingot import ir

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def _run(text: str, *arguments: Any, **options: Any) -> list[Any]:
    return ir.run(ir.parse(text), arguments, check=True, **options)


COUNT = """graph @f(%x: f32[n, 3], %k: int) -> (f32[n, 3], int) {
  %t: bool = constant() {value=True}
  %0: int<0> = constant() {value=0}
  %1: f32[n, 3], %2: int = loop(%k, %t, %x, %0) (%i: int, %a: f32[n, 3], %s: int) {
    %3: f32[n, 3] = add(%a, %i)
    yield(%t, %3, %i)
  }
  return(%1, %2)
}"""


@pytest.mark.parametrize(("count", "added", "last"), [(0, 0, 0), (1, 0, 0), (4, 6, 3), (-2, 0, 0)])
def test_loops_count(count: int, added: int, last: int) -> None:
    result, index = _run(COUNT, X, count)
    np.testing.assert_array_equal(result, X + added)
    assert index == last


def test_a_loop_ends_when_its_condition_does() -> None:
    text = """graph @f(%x: f32[], %c: bool) -> (f32[], bool) {
      %n: bool = constant() {value=False}
      %1: f32[], %2: bool = loop(_, %c, %x, %c) (%i: int, %a: f32[], %d: bool) {
        %3: f32[] = add(%a, %a) yield(%n, %3, %n) }
      return(%1, %2) }"""
    assert _run(text, np.float32(3).reshape(()), True) == [6.0, False]
    assert _run(text, np.float32(3).reshape(()), False) == [3.0, False]


@pytest.mark.parametrize("condition", [True, False])
def test_branches(condition: bool) -> None:
    text = """graph @f(%x: f32[n, 3], %c: bool) -> (f32[n, 3]) {
      %1: f32[n, 3] = if(%c) { %a: f32[n, 3] = exp(%x) yield(%a) } else { %b: f32[n, 3] = neg(%x) yield(%b) }
      return(%1) }"""
    np.testing.assert_allclose(_run(text, X, condition)[0], np.exp(X) if condition else -X, rtol=1e-6)


def test_sizes_have_their_values_at_run_time() -> None:
    text = """graph @f(%x: f32[n, m], %k: int) -> (int<n*m + 1>, int<d>, f32[d, 2]) {
      %1: int<n*m + 1> = dim() {expression=dim<n*m + 1>}
      %2: int<d> = bind_dim(%k) {symbol="d"}
      %3: int<2> = constant() {value=2} %4: float = constant() {value=1.5}
      %5: f32[d, 2] = full(%2, %3, %4) {dtype=f32}
      return(%1, %2, %5) }"""
    one, two, three = _run(text, X, 5)
    assert (one, two, three.shape) == (7, 5, (5, 2))
    with pytest.raises(RuntimeError, match="must not be negative, given -1"):
        _run(text, X, -1)


def test_sizes_may_change_from_one_iteration_to_the_next() -> None:
    text = """graph @f(%x: f32[n], %k: int) -> (f32[r], int<r>) {
      %t: bool = constant() {value=True}
      %1: f32[r] = loop(%k, %t, %x) (%i: int, %a: f32[s]) {
        %2: f32[s*2] = cat(%a, %a)
        yield(%t, %2) }
      %3: int<r> = dim() {expression=dim<r>}
      return(%1, %3) }"""
    for count in (0, 1, 3):
        result, size = _run(text, np.ones(3, np.float32), count)
        assert result.shape == (3 * 2**count,)
        assert size == 3 * 2**count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X,), "expected 2 arguments, given 1"),
        ((X.astype(np.float64), 1), r"argument %x must be f32\[n, 3\], given f64\[2, 3\]"),
        ((X[0], 1), r"given f32\[3\]"),
        ((X, 1.0), "argument %k must be int, given float 1.0"),
        ((X, True), "argument %k must be int, given bool True"),
        (([1.0], 1), "given list"),
    ],
)
def test_arguments_of_another_type(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        _run(COUNT, *arguments)


def test_sizes_that_contradict() -> None:
    text = "graph @f(%x: f32[n, 3], %y: f32[n], %k: int<n>) -> (f32[n]) { return(%y) }"
    y = np.ones(2, np.float32)
    assert _run(text, X, y, 2)[0] is y
    with pytest.raises(RuntimeError, match=r"%y must be f32\[n\]: its size n must be 2, given 5"):
        _run(text, X, np.ones(5, np.float32), 2)
    with pytest.raises(RuntimeError, match="its size n must be 2, given 3"):
        _run(text, X, y, 3)
    with pytest.raises(RuntimeError, match="its size 3 must be 3, given 2"):
        _run(text, X[:, :2], y, 2)


def test_guards_say_which_failed() -> None:
    text = 'graph @f(%x: f32[n, m]) -> (f32[n, m]) where (n*3 == m*2 "why not") { return(%x) }'
    assert _run(text, X)[0] is X
    with pytest.raises(RuntimeError, match=r"n\*3 == m\*2 is needed, given 9 and 4: why not"):
        _run(text, np.ones((3, 2), np.float32))


class CustomError(Exception):
    pass


@pytest.mark.parametrize(
    ("name", "expected"),
    [("ValueError", ValueError), ("CustomError", CustomError), ("Unknown", RuntimeError), ("SystemExit", RuntimeError),
     ("print", RuntimeError)],
)  # fmt: skip
def test_raise(name: str, expected: type[Exception]) -> None:
    text = """graph @f() -> () { %1: str = constant() {value="bad luck"} raise(%1) {exception="NAME"} return() }"""
    with pytest.raises(expected, match="bad luck"):
        _run(text.replace("NAME", name), exceptions={"CustomError": CustomError})


def test_errors_have_the_place_as_a_note() -> None:
    text = """graph @f(%x: i64[n], %y: i64[n], %c: bool) -> (i64[n]) {
      %1: i64[n] = if(%c) { %2: i64[n] = floor_divide(%x, %y) loc("m.py":3:4 in g) yield(%2) } else { yield(%x) }
      loc("m.py":2:0)
      return(%1) } source { "m.py":3 = "    x // y" }"""
    with pytest.raises(RuntimeError, match=r"division|divided") as caught:
        _run(text, np.ones(2, np.int64), np.zeros(2, np.int64), True)
    (note,) = caught.value.__notes__
    assert "m.py:3:5" in note
    assert "x // y" in note


def test_arguments_are_not_written_to() -> None:
    x = X.copy()
    x.flags.writeable = False
    results = _run(COUNT, x, 3)
    np.testing.assert_array_equal(x, X)
    assert results[0].shape == X.shape


def test_containers() -> None:
    text = """graph @f(%p: Tuple[f32[n], int], %x: f32[n]) -> (f32[n], int, int) {
      %1: f32[n] = tuple.get(%p) {index=0}
      %2: Tuple[f32[n], Tuple[f32[n], int]] = tuple.make(%x, %p)
      %3: Tuple[f32[n], int] = tuple.get(%2) {index=1}
      %4: int = tuple.get(%3) {index=1}
      %5: List[Tuple[f32[n], int]] = list.make(%3, %p) {element=type<Tuple[f32[n], int]>}
      list.append(%5, %p)
      %6: int = list.length(%5)
      %7: int<-1> = constant() {value=-1}
      %8: Tuple[f32[n], int] = list.get(%5, %7)
      %9: f32[n] = tuple.get(%8) {index=0}
      %10: f32[n] = add(%1, %9)
      return(%10, %4, %6) }"""
    x = np.ones(3, np.float32)
    total, number, length = _run(text, (x, 4), x * 2)
    np.testing.assert_array_equal(total, x * 2)
    assert (number, length) == (4, 3)


def test_what_an_op_gives_is_checked_against_its_type() -> None:
    graph = ir.parse("graph @f(%x: f32[n]) -> (f32[n]) { %1: f32[n] = exp(%x) return(%1) }")
    graph.block.instructions[0].result.type = ir.TensorType(ir.dtypes.float64, (3,))
    with pytest.raises(TypeError, match=r"exp must give f64\[3\], gave f32\[2\]"):
        ir.run(graph, [np.ones(2, np.float32)], check=True)
