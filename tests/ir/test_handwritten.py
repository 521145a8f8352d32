"""A graph written by hand: parsed, verified, optimised, compiled and run; and what is refused, with its place."""

import numpy as np
import pytest
from ingot import ir
from ingot.ir.lexer import ParseError
from ingot.ir.verify import VerifyError
from ingot.jit.codegen.compile import compile_module
from ingot.jit.codegen.generate import generate
from ingot.jit.program import Layout, NativeProgram

GRAPH = """graph @mean_of_squares(%x: f32[n, 3], %w: f32[2, 3]) -> (f32[n]) {
  %1: f32[n, 2] = linear(%x, %w, _)
  %2: f32[n, 2] = mul(%1, %1)
  %3: float = constant() {value=1.0}
  %4: f32[n, 2] = mul(%2, %3)
  %5: f32[n] = mean(%4) {dim=(1,)}
  return(%5)
}
"""


def test_from_text_to_native_code() -> None:
    graph = ir.parse(GRAPH)
    assert str(graph) == GRAPH.rstrip() or str(graph) == GRAPH or ir.parse(str(graph)) == graph
    ir.verify(graph)
    optimised = ir.run_pipeline(graph, verify=True)
    assert sum(i.op.name == "mul" for i in optimised.walk()) == 1
    module = generate(optimised)
    program = NativeProgram(Layout.of(module), compile_module(module).object)
    random = np.random.default_rng(0)
    for n in (1, 4):
        x, w = (random.standard_normal(s).astype(np.float32) for s in ((n, 3), (2, 3)))
        (expected,) = ir.run(graph, [x, w])
        np.testing.assert_allclose(expected, ((x @ w.T) ** 2).mean(1), rtol=1e-5)
        (found,) = program([x, w])
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("linear(%x, %w, _)", "linaer(%x, %w, _)", r"2:\d+.*linaer"),
        ("%2: f32[n, 2]", "%2: f33[n, 2]", r"3:\d+.*f33"),
        ("mul(%1, %1)", "mul(%1, %9)", r"3:\d+.*%9"),
        ("return(%5)", "", r"\d+:\d+"),
        ("{dim=(1,)}", "{dim=(1,}", r"6:\d+"),
    ],
)
def test_text_with_a_mistake_is_refused_at_its_place(old: str, new: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        ir.parse(GRAPH.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("%5: f32[n] = mean", "%5: f32[n, 2] = mean"),
        ("%2: f32[n, 2] = mul(%1, %1)", "%2: i64[n, 2] = mul(%1, %1)"),
        ("%w: f32[2, 3]", "%w: f32[2, 4]"),
        ("-> (f32[n])", "-> (f32[2])"),
    ],
)
def test_types_that_are_not_those_of_the_operands_are_refused(old: str, new: str) -> None:
    with pytest.raises((VerifyError, ParseError)):
        ir.verify(ir.parse(GRAPH.replace(old, new)))


def test_a_graph_edited_into_an_invalid_state_is_refused() -> None:
    graph = ir.parse(GRAPH)
    graph.block.instructions[1], graph.block.instructions[0] = graph.block.instructions[:2]
    with pytest.raises(VerifyError):
        ir.verify(graph)
    graph = ir.parse(GRAPH)
    graph.block.instructions.pop()
    with pytest.raises(VerifyError):
        ir.verify(graph)
    graph = ir.parse(GRAPH)
    graph.writes = [(0, 7)]
    with pytest.raises(VerifyError):
        ir.verify(graph)
