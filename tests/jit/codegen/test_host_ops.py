"""Operations that Python evaluates in the middle of a native program."""

import warnings
from pathlib import Path
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.jit.errors import Unsupported
from ingot.jit.export_c import export_c

EXECUTORS = ("python", "native")


@pytest.fixture(autouse=True)
def without_fallbacks() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", jit.FallbackWarning)
        yield


def spd(n: int) -> ingot.Tensor:
    a = ingot.randn(n, n)
    return a @ a.T + n * ingot.eye(n)


def whitened(a: ingot.Tensor, x: ingot.Tensor) -> ingot.Tensor:
    factor = ingot.linalg.cholesky(a * 0.5)
    return ingot.linalg.solve_triangular(factor, x + 1, upper=False).relu() * 2


def filtered(x: ingot.Tensor) -> tuple[ingot.Tensor, ingot.Tensor]:
    spectrum = ingot.fft.rfft(x * 2)
    kept = spectrum * 0.5 + spectrum.conj()
    return ingot.fft.irfft(kept, n=x.shape[-1]) + 1, ingot.view_as_real(kept).sum(0)


def squared(x: ingot.Tensor) -> ingot.Tensor:
    return x * x


def power(x: ingot.Tensor, rounds: int) -> ingot.Tensor:
    for _ in range(rounds):
        x = ingot.fft.fft(x).conj() * 0.5
    return x


def distinct(x: ingot.Tensor) -> tuple[ingot.Tensor, int]:
    total = 0
    y = x
    for i in range(3):
        y = ingot.unique(x // (i + 1)) + i
        total += y.shape[0]
    return y * 2, total


def guarded(x: ingot.Tensor) -> ingot.Tensor:
    try:
        return ingot.linalg.cholesky(x - 1)
    except RuntimeError:
        return x * 0


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_factorisation_between_kernels(executor: str) -> None:
    a, x = spd(5), ingot.randn(5, 3)
    traced = jit.trace(whitened, (a, x))
    with jit.executor(executor):
        for n, columns in ((5, 3), (1, 4), (17, 2)):
            a, x = spd(n), ingot.randn(n, columns)
            assert ingot.allclose(traced(a, x), whitened(a, x), atol=1e-5)
    assert "cholesky is computed by numpy above 256 rows" in traced.explain() or executor == "python"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_complex_tensors_are_stored_and_passed_on(executor: str) -> None:
    scripted = jit.script(filtered)
    with jit.executor(executor):
        for shape in ((3, 16), (1, 7), (2, 1)):
            x = ingot.randn(*shape)
            for found, expected in zip(scripted(x), filtered(x), strict=True):
                assert found.dtype is expected.dtype
                assert ingot.allclose(found, expected, atol=1e-5)
        z = ingot.view_as_complex(ingot.randn(4, 2))
        assert np.allclose(jit.script(squared)(z).numpy(), z.numpy() ** 2)
        assert np.allclose(jit.script(squared)(z[::2]).numpy(), z.numpy()[::2] ** 2)
        assert np.allclose(jit.script(power)(z, 3).numpy(), power(z, 3).numpy())
        assert np.allclose(jit.script(power)(z, 0).numpy(), z.numpy())


@pytest.mark.parametrize("executor", EXECUTORS)
def test_sizes_that_the_data_decide(executor: str) -> None:
    scripted = jit.script(distinct)
    with jit.executor(executor):
        for values in ([5, 3, 5, 9, 1], [2], []):
            x = ingot.tensor(values, dtype=ingot.int64)
            found, expected = scripted(x), distinct(x)
            assert found[0].tolist() == expected[0].tolist() and found[1] == expected[1]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_its_exceptions_are_the_programs(executor: str) -> None:
    traced, scripted = jit.trace(whitened, (spd(3), ingot.ones(3, 2))), jit.script(guarded)
    with jit.executor(executor):
        with pytest.raises(RuntimeError, match="not positive-definite") as caught:
            traced(-ingot.eye(3), ingot.ones(3, 2))
        assert any(entry.name == "whitened" for entry in caught.traceback)
        assert ingot.allclose(traced(ingot.eye(3) * 2, ingot.zeros(3, 2)), 2 * ingot.ones(3, 2))
        assert scripted(ingot.eye(2)).tolist() == [[0, 0], [0, 0]]
        one = ingot.ones(1, 1) * 5
        assert scripted(one).tolist() == [[2]]


def test_expressions_without_a_kernel_function() -> None:
    x = ingot.rand(6) * 4
    traced = jit.trace(lambda x: ingot.special.zeta(x + 1, x + 2) * 2, x)
    assert ingot.allclose(traced(x), ingot.special.zeta(x + 1, x + 2) * 2)
    assert "zeta is computed by numpy" in traced.explain()


def test_files_hold_them_and_c_programs_cannot(tmp_path: Path) -> None:
    a, x = spd(4), ingot.randn(4, 2)
    traced = jit.trace(whitened, (a, x))
    traced(a, x)
    for native in (True, False):
        jit.save(traced, tmp_path / "whitened.ingot", native=native)
        assert ingot.allclose(jit.load(tmp_path / "whitened.ingot")(a, x), whitened(a, x), atol=1e-6)
    with pytest.raises(Unsupported, match="cholesky is computed by numpy"):
        export_c(traced, tmp_path)


def test_its_gradients_are_compiled() -> None:
    a, x = spd(4), ingot.randn(4, 2)
    traced = jit.trace(whitened, (a, x))
    gradients = []
    for function in (traced, whitened):
        p = a.clone().requires_grad_()
        function(p, x).sum().backward()
        gradients.append(p.grad)
    assert ingot.allclose(gradients[0], gradients[1], atol=1e-4)
