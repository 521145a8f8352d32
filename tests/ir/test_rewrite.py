"""Rewriting: uses, effects, tables of rules, copies; and the pipeline that runs passes."""

import numpy as np
import pytest
from ingot import ir
from ingot.ir import passes
from ingot.ir.pipeline import DEFAULT, run_pipeline
from ingot.ir.rewrite import (
    Rewriter,
    clone,
    erase,
    has_effect,
    replace_all_uses,
    rewrite,
    rule,
    symbol_definitions,
    uses,
)

TEXT = """graph @f(%x: f32[n], %c: bool, %k: int) -> (f32[n]) where (n*2 == 6) example (n = 3) outputs 1 {
  %0: f32[n] = exp(%x)
  %1: f32[n] = if(%c) {
    %2: f32[n] = tanh(%0)
    yield(%2)
  } else {
    yield(%0)
  }
  if(%c) {
    %s: str = constant() {value="no"}
    raise(%s) {exception="ValueError"}
    yield()
  } else {
    yield()
  }
  %3: int<d> = bind_dim(%k) {symbol="d"}
  %4: f32[n] = add(%1, %3)
  return(%4)
}"""


def test_uses() -> None:
    graph = ir.parse(TEXT)
    one = graph.block.instructions[0].result
    assert [(i.op.name, index) for i, index in uses(graph)[one]] == [("tanh", 0), ("yield", 0)]
    assert graph.block.instructions[-1] in [i for i, _ in uses(graph)[graph.block.instructions[-2].result]]


def test_effects_are_seen_inside_regions() -> None:
    graph = ir.parse(TEXT)
    assert [has_effect(i) for i in graph.block.instructions] == [False, False, True, True, False, False]


def test_symbol_definitions() -> None:
    graph = ir.parse(TEXT)
    assert symbol_definitions(graph) == {"n": graph.arguments[0], "d": graph.block.instructions[3].result}


def test_clone_is_equal_and_shares_nothing() -> None:
    graph = ir.parse(TEXT)
    place = ir.Location("m.py", 3, source="x")
    graph.block.instructions[0].location = place
    copy = clone(graph)
    ir.verify(copy)
    assert ir.print_graph(copy, locations=True) == ir.print_graph(graph, locations=True)
    assert set(copy.walk()).isdisjoint(graph.walk())
    copy.block.instructions[0].attributes["x"] = 1
    copy.guards.clear()
    assert str(graph) == TEXT


def test_replace_and_erase() -> None:
    graph = ir.parse(TEXT)
    first = graph.block.instructions[0]
    replace_all_uses(graph, first.result, graph.arguments[0])
    erase(first)
    ir.verify(graph)
    assert first.result not in uses(graph)


@rule("exp -> tanh", "exp")
def _exp_to_tanh(instruction: ir.Instruction, rewriter: Rewriter) -> ir.Value:
    return rewriter.emit("tanh", instruction.operands[0])


@rule("tanh -> sin(sin)", "tanh")
def _tanh_to_sin(instruction: ir.Instruction, rewriter: Rewriter) -> ir.Value:
    return rewriter.emit("sin", rewriter.emit("sin", instruction.operands[0]))


def test_rules_compose_and_carry_locations() -> None:
    graph = ir.parse("graph @f(%x: f32[n]) -> (f32[n]) { %1: f32[n] = exp(%x) return(%1) }")
    graph.block.instructions[0].location = ir.Location("m.py", 7)
    result = rewrite(graph, _exp_to_tanh + _tanh_to_sin)
    assert [i.op.name for i in result.walk()] == ["sin", "sin", "return"]
    assert {i.location for i in result.block.body} == {ir.Location("m.py", 7)}
    assert [i.op.name for i in graph.walk()] == ["exp", "return"]


def test_rules_that_never_end_are_stopped() -> None:
    @rule("sin -> cos", "sin")
    def there(instruction: ir.Instruction, rewriter: Rewriter) -> ir.Value:
        return rewriter.emit("cos", instruction.operands[0])

    @rule("cos -> sin", "cos")
    def back(instruction: ir.Instruction, rewriter: Rewriter) -> ir.Value:
        return rewriter.emit("sin", instruction.operands[0])

    graph = ir.parse("graph @f(%x: f32[n]) -> (f32[n]) { %1: f32[n] = sin(%x) return(%1) }")
    with pytest.raises(RuntimeError, match=r"cos' of|sin' of"):
        rewrite(graph, there + back)


def test_more_precise_types_reach_later_instructions() -> None:
    graph = ir.parse("""graph @f(%x: f32[n], %y: f32[n]) -> (f32[d, n]) {
      %t: bool = constant() {value=True}
      %1: int = if(%t) { %2: int<4> = constant() {value=4} yield(%2) }
        else { %3: int<5> = constant() {value=5} yield(%3) }
      %4: int<d> = bind_dim(%1) {symbol="d"}
      %5: int<n> = dim() {expression=dim<n>}
      %6: f32[d, n] = expand(%x, %4, %5)
      %7: f32[d, n] = add(%6, %y)
      return(%7) }""")
    result = passes.simplify(graph)
    ir.verify(result)
    assert str(result.results[0].type) == "f32[4, n]"


def test_the_pipeline_runs_in_order_up_to_a_pass() -> None:
    graph = ir.parse(TEXT)
    seen: list[str] = []
    result = run_pipeline(graph, verify=True, on_pass=lambda name, g: seen.append(name))
    assert seen == [name for name, _ in DEFAULT]
    assert str(graph) == TEXT
    seen.clear()
    run_pipeline(graph, "cse", on_pass=lambda name, g: seen.append(name))
    assert seen == [name for name, _ in DEFAULT][: seen.index("cse") + 1]
    x = np.array([0.0, 1.0, 2.0], np.float32)
    np.testing.assert_allclose(ir.run(result, [x, False, 2])[0], np.exp(x) + 2, rtol=1e-6)
    with pytest.raises(ValueError, match="no pass 'polish': expected one of inline, canonicalise, simplify"):
        run_pipeline(graph, "polish")


def test_a_pass_that_breaks_the_graph_is_named() -> None:
    def broken(graph: ir.Graph) -> ir.Graph:
        result = clone(graph)
        result.block.instructions.pop(0)
        return result

    with pytest.raises(ir.VerifyError, match="after pass broken: graph f"):
        run_pipeline(ir.parse(TEXT), passes=[("broken", broken)], verify=True)


def test_the_log_says_what_each_pass_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("INGOT_LOG", "cache,passes")
    run_pipeline(ir.parse(TEXT))
    lines = capsys.readouterr().err.splitlines()
    passes = [line for line in lines if line.startswith("ingot: f: ")]
    assert [line.split(": ")[2] for line in passes] == [name for name, _ in DEFAULT]
    assert all(line.endswith((" instructions", "nothing changed")) for line in passes)
    # The graph is shown after each pass that changed it, and reads as one.
    graphs = "\n".join(line for line in lines if line not in passes).split("\ngraph ")
    assert 1 <= len(graphs) <= len(DEFAULT)
    ir.parse("graph " + graphs[-1].removeprefix("graph "))


def test_thousands_of_instructions() -> None:
    lines = [f"  %y{i + 1}: f32[n] = add(%y{i}, %y{i // 2})" for i in range(3000)]
    graph = ir.parse("\n".join(["graph @f(%y0: f32[n]) -> (f32[n]) {", *lines, "  return(%y3000)", "}"]), check=False)
    result = run_pipeline(graph)
    assert sum(1 for _ in result.walk()) == 3001


def test_decompose_keeps_what_there_is_a_kernel_for() -> None:
    graph = ir.parse("""graph @f(%x: f32[n, 4]) -> (f32[n, 4]) {
      %1: f32[n, 4] = softmax(%x) {dim=1} %2: f32[n, 4] = gelu(%1) return(%2) }""")
    kept = passes.decompose(graph, keep=lambda i: i.op.name == "softmax")
    names = [i.op.name for i in kept.walk()]
    assert "softmax" in names and "gelu" not in names
    everything = [i.op.name for i in passes.decompose(graph).walk()]
    assert "softmax" not in everything and "exp" in everything
