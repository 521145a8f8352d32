"""`f.bisect`: nothing where the executors agree; the instruction, forward or backward, where one goes wrong."""

from collections.abc import Iterator
from typing import Any

import ingot
import pytest
from ingot import jit
from ingot.ir import get_op
from ingot.ir.ops._op import Elementwise
from ingot.jit.codegen import elements


def function(x: Any) -> Any:
    y = (x * 2).exp()
    z = y.tanh()
    return (z + x).sum()


@pytest.fixture
def wrong_tanh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Generated code computes tanh wrongly."""
    plain = elements.expression_of

    def expression_of(instruction: Any) -> Any:
        if instruction.op is get_op("tanh"):
            return Elementwise("{input} * 0.5")
        return plain(instruction)

    monkeypatch.setattr(elements, "expression_of", expression_of)
    yield


def test_executors_that_agree() -> None:
    traced = jit.trace(function, ingot.randn(4))
    found = traced.bisect(ingot.randn(5))
    assert found.agrees and "agree" in str(found)
    assert traced.bisect(ingot.randn(5, requires_grad=True)).agrees


def test_the_first_wrong_instruction_forward(wrong_tanh: None) -> None:
    traced = jit.trace(function, ingot.randn(4))
    found = traced.bisect(ingot.randn(5))
    assert not found.agrees
    assert (found.part, found.executor) == ("forward", "python")
    assert " = tanh(" in found.instruction
    assert found.location is not None and "z = y.tanh()" in str(found)
    assert "differs by" in found.difference


def test_the_first_wrong_instruction_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = elements.expression_of

    def expression_of(instruction: Any) -> Any:
        return Elementwise("{input} * 0.5") if instruction.op is get_op("sign") else plain(instruction)

    monkeypatch.setattr(elements, "expression_of", expression_of)
    traced = jit.trace(lambda x: (x.abs() * 3).sum(), ingot.randn(4))
    assert traced.bisect(ingot.randn(5)).agrees
    found = traced.bisect(ingot.randn(5, requires_grad=True))
    assert not found.agrees and found.part == "backward"
    assert " = sign(" in found.instruction


def test_random_numbers_and_writes_are_compared_from_one_state() -> None:
    def noisy(x: Any) -> Any:
        x.add_(ingot.rand(3))
        return x * 2

    x = ingot.ones(3)
    state = ingot.get_rng_state()
    assert jit.trace(noisy, ingot.ones(3)).bisect(x).agrees
    assert x.tolist() == [1, 1, 1]
    assert bool((ingot.get_rng_state() == state).all())


def test_errors_are_compared_like_results() -> None:
    def pick(x: Any, i: Any) -> Any:
        return x[i]

    traced = jit.trace(pick, (ingot.randn(4), ingot.tensor([0, 1])))
    assert traced.bisect(ingot.randn(4), ingot.tensor([9, 1])).agrees
