"""`f.profile`: every kernel of a call with its time; and the memory that is planned."""

from typing import Any

import ingot
import pytest
from ingot import jit
from ingot.jit import JitError
from ingot.jit.codegen import generate
from ingot.jit.errors import Unsupported


@pytest.fixture(scope="module")
def function() -> jit.CompiledFunction:
    weight = ingot.randn(8, 8)
    return jit.freeze(jit.trace(lambda x: (x @ weight).relu().sum(0), ingot.randn(5, 8), on_bake="ignore"))


def test_every_kernel_that_ran_has_a_time(function: jit.CompiledFunction) -> None:
    x = ingot.randn(7, 8)
    expected = function(x)
    found = function.profile(x, repeat=2)
    assert found.total_microseconds > 0
    assert len(found.kernels) >= 2
    assert all(k.microseconds > 0 and k.calls >= 1 for k in found.kernels)
    assert any("matmul" in k.title for k in found.kernels)
    assert [k.microseconds for k in found.kernels] == sorted((k.microseconds for k in found.kernels), reverse=True)
    assert "us a call" in str(found) and "<table>" in found._repr_html_()
    assert bool((function(x) == expected).all())


def test_profiling_leaves_written_arguments_as_they_were() -> None:
    def count(x: ingot.Tensor) -> ingot.Tensor:
        x.add_(1)
        return x * 2

    function = jit.trace(count, ingot.zeros(3))
    x = ingot.zeros(4)
    function.profile(x, repeat=3)
    assert x.tolist() == [0, 0, 0, 0]


def test_operations_that_numpy_computes_are_timed() -> None:
    function = jit.trace(lambda x: ingot.linalg.eigvalsh(x) + 1, ingot.eye(3))
    found = function.profile(ingot.eye(3), repeat=2)
    assert [(k.name, k.calls) for k in found.kernels if "numpy" in k.name] == [("eigh, by numpy", 1)]


def test_what_has_no_kernels_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(graph: Any) -> Any:
        raise Unsupported("it is refused")

    monkeypatch.setattr(generate, "generate", refuse)
    function = jit.trace(lambda x: ingot.linalg.det(x), ingot.eye(3))
    with pytest.warns(jit.FallbackWarning), pytest.raises(JitError, match="no kernels to time"):
        function.profile(ingot.eye(3))


def test_planned_memory_is_workspace_and_results(function: jit.CompiledFunction) -> None:
    one, many = (function.planned_bytes(ingot.randn(n, 8)) for n in (1, 1000))
    assert many - one >= 990 * 8 * 4  # the product, which the sum reads
    assert one >= 8 * 4
