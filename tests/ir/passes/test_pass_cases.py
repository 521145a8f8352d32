"""Runs the cases in *.ir: each is a graph and what the pass of the file's name makes of it.

Both sides are also executed on random arguments, the result is verified, and the pass must leave it as it is.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingot import ir
from ingot.ir import passes
from ingot.ir.dims import substitute

PASSES: dict[str, Callable[[ir.Graph], ir.Graph]] = {
    "canonicalise": passes.canonicalise,
    "cse": passes.common_subexpression_elimination,
    "dce": passes.dead_code_elimination,
    "decompose": passes.decompose,
    "fold": passes.constant_folding,
    "fold_batch_norm": passes.fold_batch_norm,
    "fold_scale": passes.fold_scale,
    "if_to_select": passes.if_to_select,
    "hoist_products": passes.hoist_products,
    "inline": passes.inline_calls,
    "licm": passes.loop_invariant_code_motion,
    "merge_products": passes.merge_products,
    "rematerialise": lambda graph: passes.rematerialise(graph, 0),
    "simplify": passes.simplify,
    "sink_views": passes.sink_views,
    "unroll": passes.unroll_loops,
}


def _cases() -> list[Any]:
    found = []
    for path in sorted(Path(__file__).parent.glob("*.ir")):
        for text in path.read_text().split("# case: ")[1:]:
            name, _, rest = text.partition("\n")
            before, _, after = rest.partition("# becomes\n")
            found.append(pytest.param(PASSES[path.stem], before, after, id=f"{path.stem}: {name}"))
    return found


def test_every_pass_has_cases() -> None:
    assert {p.stem for p in Path(__file__).parent.glob("*.ir")} == set(PASSES)


@pytest.mark.parametrize(("function", "before", "after"), _cases())
def test_case(function: Callable[[ir.Graph], ir.Graph], before: str, after: str) -> None:
    graph = ir.parse(before)
    text = str(graph)
    result = function(graph)
    assert str(graph) == text, "the pass changed its argument"
    ir.verify(result)
    expected = ir.parse(after) if after.strip() else graph
    assert ir.print_graph(result, canonical=True) == ir.print_graph(expected, canonical=True)
    assert function(result) == result, "the pass is not idempotent"
    assert ir.parse(str(result)) == result
    for seed in range(4):
        left, right = random_arguments(graph, seed), random_arguments(graph, seed)
        assert_same(outcome(graph, left), outcome(result, right))
        assert_same(left, right)


def random_arguments(graph: ir.Graph, seed: int) -> list[Any]:
    """Arguments of the graph's types, at its example sizes or random ones."""
    generator = np.random.default_rng(seed)
    sizes: dict[str, int] = dict(graph.examples)

    def value(type: ir.Type) -> Any:
        match type:
            case ir.TensorType(dtype=dtype, shape=shape):
                for dim in shape:
                    for name in getattr(dim, "symbols", lambda: ())():
                        sizes.setdefault(name, int(generator.integers(1, 5)))
                concrete = [int(substitute(d, sizes)) for d in shape]
                return (generator.random(concrete) * 6 - 2).astype(dtype.numpy)
            case ir.IntType(value=None):
                return int(generator.integers(0, 4))
            case ir.IntType(value=dim):
                for name in getattr(dim, "symbols", lambda: ())():
                    sizes.setdefault(name, int(generator.integers(1, 5)))
                return int(substitute(dim, sizes))
            case ir.FloatType():
                return float(generator.random())
            case ir.BoolType():
                return bool(seed % 2)
            case ir.ListType(element=element):
                return [value(element) for _ in range(2)]
            case ir.TupleType(elements=elements):
                return tuple(map(value, elements))
        raise AssertionError(f"no random value of {type}")

    return [value(a.type) for a in graph.arguments]


def outcome(graph: ir.Graph, arguments: list[Any]) -> Any:
    """The results, or the exception's type."""
    try:
        return ir.run(graph, arguments, check=True)
    except Exception as error:
        return type(error)


def assert_same(expected: Any, actual: Any) -> None:
    if isinstance(expected, type) or isinstance(actual, type):
        assert expected == actual
        return
    for a, b in zip(expected, actual, strict=True):
        if isinstance(a, (tuple, list)):
            assert_same(a, b)
        elif isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True)
        else:
            assert type(a) is type(b)
            assert a == b
