"""Deeply nested programs, as long chains of elif make them, go through everything without exhausting the stack."""

import numpy as np
import pytest
from ingot import ir
from ingot.ir.passes import differentiate

DEPTH = 100


def _nested(depth: int) -> str:
    lines = ["graph @f(%x: f64[n], %c: bool) -> (f64[n]) {"]
    for i in range(depth):
        lines.append(f"%r{i}: f64[n] = if(%c) {{ %a{i}: f64[n] = sin(%x) yield(%a{i}) }} else {{")
    lines.append("%last: f64[n] = exp(%x) yield(%last) }")
    lines += [f"yield(%r{i}) }}" for i in range(depth - 1, 0, -1)]
    return "\n".join([*lines, "return(%r0)", "}"])


def test_chains_of_branches() -> None:
    graph = ir.parse(_nested(DEPTH))
    assert ir.parse(str(graph)) == graph
    x = np.array([0.5, 1.0])
    optimised = ir.run_pipeline(graph, verify=True)
    for condition, expected in ((True, np.sin(x)), (False, np.exp(x))):
        for g in (graph, optimised):
            np.testing.assert_allclose(ir.run(g, [x, condition])[0], expected)
    derivative = differentiate(graph)
    ir.verify(derivative.backward)
    results = ir.run(derivative.forward, [x, False])
    gradients = ir.run(derivative.backward, [*results[1:], np.ones(2)])
    np.testing.assert_allclose(gradients[0], np.exp(x))


def test_deeper_ones_are_refused_by_the_reader() -> None:
    with pytest.raises(ir.ParseError, match="nested deeper than 100"):
        ir.parse(_nested(DEPTH + 1))
