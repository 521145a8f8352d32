"""The pipeline: every pass is idempotent, passes can be moved and added, prefixes run, and each result can be seen."""

from pathlib import Path

import ingot
import numpy as np
import pytest
from ingot import ir, jit
from ingot.ir import passes
from ingot.ir.pipeline import DEFAULT, Pipeline, run_pipeline, use_pipeline

GRAPH = """graph @f(%x: f32[n, 4], %c: bool) -> (f32[n, 4]) {
  %1: float = constant() {value=1.0}
  %2: f32[n, 4] = mul(%x, %1)
  %3: int<3> = constant() {value=3}
  %4: bool = constant() {value=True}
  %5: f32[n, 4] = loop(%3, %4, %2) (%i: int, %y: f32[n, 4]) {
    %6: f32[n, 4] = exp(%x)
    %7: f32[n, 4] = add(%y, %6)
    yield(%4, %7)
  }
  %8: f32[n, 4] = if(%c) {
    %9: f32[n, 4] = neg(%5)
    yield(%9)
  } else {
    yield(%5)
  }
  return(%8)
}
"""


def corpus() -> list[ir.Graph]:
    """The graphs of all cases of all passes."""
    found = [ir.parse(GRAPH)]
    for path in sorted(Path(__file__).parent.glob("*.ir")):
        for text in path.read_text().split("# case: ")[1:]:
            found.append(ir.parse(text.partition("\n")[2].partition("# becomes\n")[0]))
    return found


CORPUS = corpus()


@pytest.mark.parametrize(("name", "function"), DEFAULT, ids=DEFAULT.names)
def test_every_pass_is_idempotent_on_all_cases(name: str, function: object) -> None:
    for graph in CORPUS:
        once = function(graph)  # type: ignore[operator]
        assert function(once) == once, graph.name  # type: ignore[operator]


def test_the_whole_pipeline_verifies_and_changes_nothing_that_is_computed() -> None:
    graph = ir.parse(GRAPH)
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    for flag in (True, False):
        (expected,) = ir.run(graph, [x, flag])
        (found,) = ir.run(run_pipeline(graph, verify=True), [x, flag])
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert [i.op.name for i in run_pipeline(graph).walk() if i.regions] == []


def test_prefixes_by_name_and_a_look_at_each_result() -> None:
    graph = ir.parse(GRAPH)
    seen: list[str] = []
    result = run_pipeline(graph, "unroll", on_pass=lambda name, g: seen.append(name))
    assert seen == DEFAULT.names[: DEFAULT.position("unroll") + 1]
    assert not any(i.op.name == "loop" for i in result.walk())
    assert any(i.op.name == "if" for i in result.walk())
    with pytest.raises(ValueError, match="there is no pass 'nothing'"):
        run_pipeline(graph, "nothing")


def test_passes_are_inserted_removed_and_moved() -> None:
    mine = DEFAULT.copy()
    mine.remove("unroll")
    mine.insert_before("cse", "mine", passes.simplify)
    mine.insert_after("mine", "second", passes.simplify)
    mine.move("dce", before="canonicalise")
    mine.move("fold", after="second")
    assert mine.names[:3] == ["inline", "dce", "canonicalise"]
    start = mine.position("mine")
    assert mine.names[start : start + 3] == ["mine", "second", "fold"]
    assert "unroll" not in mine.names and "unroll" in DEFAULT.names
    for change in (
        lambda: mine.remove("unroll"),
        lambda: mine.insert_after("fold", "mine", passes.simplify),
        lambda: mine.move("fold"),
    ):
        with pytest.raises(ValueError):
            change()
    assert any(i.op.name == "loop" for i in run_pipeline(ir.parse(GRAPH), passes=mine).walk())


def test_compiled_callables_go_through_the_passes_in_use() -> None:
    seen: list[str] = []

    def watch(graph: ir.Graph) -> ir.Graph:
        seen.append(graph.name)
        return graph

    mine = Pipeline([*DEFAULT, ("watch", watch)])
    with use_pipeline(mine):
        watched = jit.trace(lambda x: x * 3, ingot.ones(2), check_trace=False)
        assert watched(ingot.ones(3)).tolist() == [3, 3, 3]
    assert len(seen) == 1
    jit.trace(lambda x: x * 3, ingot.ones(2), check_trace=False)(ingot.ones(3))
    assert len(seen) == 1


def test_the_log_shows_each_graph(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("INGOT_LOG", "passes")
    run_pipeline(ir.parse(GRAPH))
    text = capsys.readouterr().err
    assert "ingot: f: unroll: " in text and "nothing changed" in text
    assert text.count("graph @f(") >= 3


def test_memory_falls_to_a_budget_by_computing_again() -> None:
    text = Path(__file__).with_name("rematerialise.ir").read_text()
    graph = ir.parse(text.split("# case: ")[1].partition("\n")[2].partition("# becomes\n")[0])
    before = passes.peak_memory(graph)
    assert passes.peak_memory(passes.rematerialise(graph, 0)) < before
    assert passes.rematerialise(graph, before) == graph
