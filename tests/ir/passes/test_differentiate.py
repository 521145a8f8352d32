"""Derivatives of graphs compared with central differences, all in float64."""

from typing import Any

import numpy as np
import pytest
from ingot import ir
from ingot.ir.passes import DifferentiationError, differentiate, simplify

STRAIGHT = """graph @f(%x: f64[n, 3], %w: f64[4, 3], %b: f64[4], %k: i64[n]) -> (f64[n, 4], i64[n], f64[]) {
  %1: f64[n, 4] = linear(%x, %w, %b)
  %2: f64[n, 4] = tanh(%1)
  %3: float = constant() {value=0.5}
  %4: f64[n, 4] = mul(%2, %3)
  %5: f64[n, 4] = add(%4, %2)
  %6: i64[n] = add(%k, %k)
  %7: f64[] = sum(%5)
  return(%5, %6, %7)
}"""
BRANCH = """graph @f(%x: f64[n, 3], %w: f64[3], %c: bool) -> (f64[n, 3]) {
  %1: f64[n, 3] = exp(%x)
  %2: f64[n, 3], %3: int = if(%c) {
    %4: f64[n, 3] = mul(%1, %w)
    %5: f64[n, 3] = tanh(%4)
    %6: f64[n, 3] = mul(%5, %5)
    %7: int<1> = constant() {value=1}
    yield(%6, %7)
  } else {
    %8: int<2> = constant() {value=2}
    yield(%1, %8)
  }
  %9: f64[n, 3] = mul(%2, %x)
  return(%9)
}"""
LOOP = """graph @f(%x: f64[n, 3], %w: f64[3, 3], %k: int) -> (f64[n, 3]) {
  %t: bool = constant() {value=True}
  %1: f64[n, 3] = loop(%k, %t, %x) (%i: int, %h: f64[n, 3]) {
    %2: f64[n, 3] = matmul(%h, %w)
    %3: f64[n, 3] = tanh(%2)
    %4: f64[n, 3] = mul(%3, %i)
    %5: f64[n, 3] = add(%4, %x)
    yield(%t, %5)
  }
  return(%1)
}"""
WHILE = """graph @f(%x: f64[n], %c: bool) -> (f64[n]) {
  %no: bool = constant() {value=False}
  %1: f64[n], %2: bool, %3: f64[n] = loop(_, %c, %x, %c, %x) (%i: int, %a: f64[n], %more: bool, %b: f64[n]) {
    %4: f64[n] = sin(%a)
    %5: f64[n] = mul(%4, %b)
    yield(%more, %5, %no, %4)
  }
  %6: f64[n] = mul(%1, %3)
  return(%6)
}"""
NESTED = """graph @f(%x: f64[n], %w: f64[n], %k: int, %c: bool) -> (f64[n]) {
  %t: bool = constant() {value=True}
  %1: f64[n] = loop(%k, %t, %x) (%i: int, %a: f64[n]) {
    %2: f64[n] = loop(%i, %t, %a) (%j: int, %b: f64[n]) {
      %3: f64[n] = if(%c) {
        %4: f64[n] = mul(%b, %w)
        %5: f64[n] = sin(%4)
        yield(%5)
      } else {
        %6: f64[n] = add(%b, %j)
        yield(%6)
      }
      yield(%t, %3)
    }
    %7: f64[n] = mul(%2, %a)
    yield(%t, %7)
  }
  return(%1)
}"""
LINEAR_LOOP = """graph @f(%x: f64[n], %k: int) -> (f64[n]) {
  %t: bool = constant() {value=True}
  %two: float = constant() {value=2.0}
  %1: f64[n] = loop(%k, %t, %x) (%i: int, %a: f64[n]) {
    %2: f64[n] = mul(%a, %two)
    yield(%t, %2)
  }
  return(%1)
}"""
DATA_SIZES = """graph @f(%x: f64[n], %k: int, %c: bool) -> (f64[d, n]) {
  %d: int<d> = bind_dim(%k) {symbol="d"}
  %1: int<n> = dim() {expression=dim<n>}
  %2: f64[d, n] = expand(%x, %d, %1)
  %3: f64[d, n] = if(%c) {
    %4: f64[d, n] = exp(%2)
    yield(%4)
  } else {
    yield(%2)
  }
  %5: f64[d, n] = mul(%3, %2)
  return(%5)
}"""
LISTS = """graph @f(%x: f64[n], %w: f64[n], %k: int) -> (f64[d, n], f64[n], f64[e]) {
  %t: bool = constant() {value=True}
  %l: List[f64[n]] = list.make(%x, %w) {element=type<f64[n]>}
  %1: f64[n] = loop(%k, %t, %x) (%i: int, %h: f64[n]) {
    %2: f64[n] = mul(%h, %w)
    %3: f64[n] = sin(%2)
    list.append(%l, %3)
    %one: int<1> = constant() {value=1}
    %4: f64[n] = list.get(%l, %one)
    %5: f64[n] = add(%3, %4)
    yield(%t, %5)
  }
  %s: f64[d, n] = list.stack(%l) {dim=0, symbol="d"}
  list.append(%l, %1)
  %c: f64[e] = list.cat(%l) {dim=0, symbol="e"}
  %6: f64[n] = exp(%1)
  return(%s, %6, %c)
}"""
LISTS_IN_REGIONS = """graph @f(%x: f64[n], %k: int, %c: bool) -> (f64[n]) {
  %t: bool = constant() {value=True}
  %1: f64[n] = loop(%k, %t, %x) (%i: int, %h: f64[n]) {
    %l: List[f64[n]] = list.make(%h) {element=type<f64[n]>}
    if(%c) {
      %2: f64[n] = sin(%h)
      list.append(%l, %2)
      yield()
    } else {
      yield()
    }
    list.append(%l, %h)
    %s: f64[n, d] = list.stack(%l) {dim=1, symbol="d"}
    %3: f64[n, d] = exp(%s)
    %4: f64[n] = sum(%3) {dim=(1,)}
    %5: f64[n] = log(%4)
    yield(%t, %5)
  }
  return(%1)
}"""
LIST_INDEX = """graph @f(%x: f64[n], %w: f64[n], %k: int) -> (f64[n]) {
  %l: List[f64[n]] = list.make(%x, %w) {element=type<f64[n]>}
  %1: f64[n] = list.get(%l, %k)
  %2: f64[n] = sin(%1)
  list.append(%l, %2)
  list.append(%l, %x)
  %3: f64[n] = list.get(%l, %k)
  %4: f64[n] = mul(%3, %1)
  return(%4)
}"""
CHECKED_SIZES = """graph @f(%x: f64[n], %y: f64[m], %k: int) -> (f64[n]) {
  %1: int<n> = dim() {expression=dim<n>}
  %2: int<m> = dim() {expression=dim<m>}
  require_equal(%1, %2) {message="x and y differ"}
  %3: f64[n] = mul(%x, %y)
  %4: f64[m] = exp(%y)
  %5: f64[n] = mul(%3, %4)
  %6: int<d> = bind_dim(%k) {symbol="d"}
  %7: int<3> = constant() {value=3}
  require_equal(%6, %7) {message="k is not 3"}
  return(%5)
}"""
X, W, V = (np.random.default_rng(i).random(s) for i, s in enumerate([(2, 3), (3, 3), 3]))


def _check(graph: ir.Graph, arguments: list[Any]) -> None:
    """Compare with central differences, for a random weighting of all floating-point results."""
    text = str(graph)
    derivative = differentiate(graph)
    assert str(graph) == text
    ir.verify(derivative.forward)
    ir.verify(derivative.backward)
    for part in (derivative.forward, derivative.backward):
        assert ir.parse(str(part)) == part
    expected = ir.run(graph, arguments)
    results = ir.run(derivative.forward, arguments, check=True)
    residuals = results[len(expected) :]
    assert len(residuals) == derivative.residuals
    for a, b in zip(expected, results, strict=False):
        np.testing.assert_array_equal(a, b)
    generator = np.random.default_rng(5)
    seeds = [generator.random(expected[i].shape) for i in derivative.outputs]
    gradients = ir.run(derivative.backward, [*residuals, *seeds], check=True)
    again = ir.run(derivative.backward, [*residuals, *seeds], check=True)
    for index, gradient, repeated in zip(derivative.inputs, gradients, again, strict=True):
        np.testing.assert_array_equal(gradient, repeated)
        np.testing.assert_allclose(
            gradient, _differences(graph, arguments, index, derivative.outputs, seeds), rtol=1e-5, atol=1e-7
        )


def _differences(graph: ir.Graph, arguments: list[Any], index: int, outputs: tuple[int, ...], seeds: list[Any]) -> Any:
    def total(value: Any) -> float:
        results = ir.run(graph, [*arguments[:index], value, *arguments[index + 1 :]])
        return sum(float((results[i] * s).sum()) for i, s in zip(outputs, seeds, strict=True))

    point, step = arguments[index], 1e-6
    gradient = np.zeros_like(point)
    for position in np.ndindex(point.shape):
        change = np.zeros_like(point)
        change[position] = step
        gradient[position] = (total(point + change) - total(point - change)) / (2 * step)
    return gradient


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        pytest.param(STRAIGHT, [X, W[[0, 1, 2, 0]] - 0.5, np.arange(4.0), np.array([1, 2])], id="straight"),
        pytest.param(BRANCH, [X, V, True], id="branch taken"),
        pytest.param(BRANCH, [X, V, False], id="branch not taken"),
        pytest.param(LOOP, [X, W, 0], id="no iteration"),
        pytest.param(LOOP, [X, W, 1], id="one iteration"),
        pytest.param(LOOP, [X, W, 4], id="four iterations"),
        pytest.param(WHILE, [V, True], id="while"),
        pytest.param(WHILE, [V, False], id="while that never runs"),
        pytest.param(NESTED, [V, V + 0.5, 3, True], id="nested"),
        pytest.param(NESTED, [V, V + 0.5, 4, False], id="nested, other branch"),
        pytest.param(LINEAR_LOOP, [V, 3], id="loop that keeps nothing"),
        pytest.param(LISTS, [V, V + 0.5, 3], id="lists"),
        pytest.param(LISTS, [V, V + 0.5, 0], id="lists, no iteration"),
        pytest.param(LISTS_IN_REGIONS, [V, 3, True], id="lists made in a loop"),
        pytest.param(LISTS_IN_REGIONS, [V, 2, False], id="lists made in a loop, other branch"),
        pytest.param(CHECKED_SIZES, [V, V + 0.5, 3], id="sizes that are checked"),
        pytest.param(LIST_INDEX, [V, V + 0.5, 1], id="list index"),
        pytest.param(LIST_INDEX, [V, V + 0.5, -1], id="negative list index"),
        pytest.param(LIST_INDEX, [V, V + 0.5, -2], id="negative list index, other element"),
        pytest.param(DATA_SIZES, [V, 2, True], id="sizes from data"),
        pytest.param(DATA_SIZES, [V, 0, False], id="a size of 0 from data"),
    ],
)
def test_against_differences(text: str, arguments: list[Any]) -> None:
    _check(ir.parse(text), arguments)


def test_residuals_are_what_the_derivative_reads() -> None:
    derivative = differentiate(ir.parse(STRAIGHT))
    assert derivative.inputs == (0, 1, 2)
    assert derivative.outputs == (0, 2)
    # x, w and tanh's output; neither its input nor the sum
    assert derivative.residuals == 3
    assert derivative.forward.outputs == 3


def test_only_the_inputs_asked_for_that_are_reached() -> None:
    graph = ir.parse("""graph @f(%x: f64[n], %y: f64[n], %z: f64[n]) -> (f64[n]) {
      %1: f64[n] = mul(%x, %y) %2: f64[n] = detach(%z) %3: f64[n] = add(%1, %2) return(%3) }""")
    assert differentiate(graph).inputs == (0, 1)
    derivative = differentiate(graph, [1])
    assert derivative.inputs == (1,)
    _, residual = ir.run(derivative.forward, [V, V + 1, V])
    np.testing.assert_array_equal(ir.run(derivative.backward, [residual, V]), [V * V])
    with pytest.raises(TypeError, match="argument 0 of g is i64"):
        differentiate(ir.parse("graph @g(%x: i64[n]) -> (i64[n]) { return(%x) }"), [0])


def test_composites_without_a_rule_are_decomposed() -> None:
    graph = ir.parse("graph @f(%x: f64[n]) -> (f64[n]) { %1: f64[n] = gelu(%x) return(%1) }")
    _check(graph, [V])


def test_a_derivative_can_be_differentiated() -> None:
    graph = ir.parse(STRAIGHT)
    first = differentiate(graph)
    _check(
        simplify(first.backward),
        [
            *ir.run(first.forward, [X, W[[0, 1, 2, 0]], np.arange(4.0), np.array([1, 2])])[3:],
            np.ones((2, 4)),
            np.ones(()),
        ],
    )


def test_mixed_dtypes_give_gradients_of_the_arguments_own() -> None:
    graph = ir.parse("""graph @f(%x: f32[n], %y: f64[n]) -> (f64[n]) { %1: f64[n] = mul(%x, %y) return(%1) }""")
    derivative = differentiate(graph)
    assert [str(r.type) for r in derivative.backward.results] == ["f32[n]", "f64[n]"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            """graph @f(%x: f64[n], %k: int, %t: bool) -> (f64[r]) {
              %1: f64[r] = loop(%k, %t, %x) (%i: int, %a: f64[s]) { %2: f64[s*2] = cat(%a, %a) yield(%t, %2) }
              return(%1) }""",
            r"changes its type: f64\[n\] and f64\[s\*2\]",
        ),
        (
            """graph @f(%x: f64[n], %c: bool) -> (Optional[f64[n]]) {
              %1: Optional[f64[n]] = if(%c) { yield(%x) } else { %2: None = constant() {value=None} yield(%2) }
              return(%1) }""",
            "Optional",
        ),
        (
            """graph @f(%x: f64[n]) -> (List[f64[n]]) {
              %1: List[f64[n]] = list.make(%x) {element=type<f64[n]>} loc("m.py":3:4)
              return(%1) }""",
            "List",
        ),
        (
            """graph @f(%x: f64[n], %l: List[f64[n]]) -> (f64[n]) {
              list.append(%l, %x) %0: int<0> = constant() {value=0}
              %1: f64[n] = list.get(%l, %0) return(%1) }""",
            r"gradient through a value of type List\[f64\[n\]\]",
        ),
        (
            """graph @f(%x: f64[n]) -> (f64[n]) {
              %l: List[f64[n]] = list.make(%x) {element=type<f64[n]>} %0: int<0> = constant() {value=0}
              list.set(%l, %0, %x)
              %1: f64[n] = list.get(%l, %0) return(%1) }""",
            "list.set: a gradient through a value",
        ),
        (
            """graph @f(%x: f64[n], %y: f64[m]) -> (f64[d]) {
              %l: List[f64[s]] = list.make(%x, %y) {element=type<f64[s]>}
              %1: f64[d] = list.cat(%l) {dim=0, symbol="d"} return(%1) }""",
            "needs tensors of one size",
        ),
    ],
)
def test_what_cannot_be_differentiated_is_refused(text: str, message: str) -> None:
    with pytest.raises(DifferentiationError, match=message):
        differentiate(ir.parse(text))
