"""The examples in the ops' documentation, run as written."""

import doctest

import ingot
import pytest
from ingot.ir.ops._op import Op, all_ops

EXAMPLES = [op for op in all_ops() if ">>>" in op.doc]


@pytest.mark.parametrize("op", EXAMPLES, ids=lambda op: op.name)
def test_example_prints_what_it_says(op: Op) -> None:
    example = doctest.DocTestParser().get_doctest(op.doc, {"ingot": ingot}, op.name, None, 0)
    runner = doctest.DocTestRunner(verbose=False)
    report: list[str] = []
    runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 10


def test_public_ops_show_how_they_are_called() -> None:
    without = [op.name for op in all_ops() if op.namespaces - {"linalg"} and ">>>" not in op.doc]
    assert not without
