"""Complex tensors in compiled programs: operations on their parts."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import Tensor, jit


def z(*shape: int, seed: int = 0) -> Tensor:
    random = np.random.default_rng(seed)
    return ingot.tensor((random.standard_normal(shape) + 1j * random.standard_normal(shape)).astype(np.complex64))


def r(*shape: int) -> Tensor:
    return ingot.tensor(np.random.default_rng(9).standard_normal(shape).astype(np.float32))


def parts_of_views(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    whole = ingot.cat([a[1:, ::2] * 2, a[:1, 1::2].conj()], 0)
    return whole.T.reshape(-1), ingot.stack([a, b], 1), ingot.where(a.real > 0, a, b), whole.sum(0) + whole.mean()


def arithmetic(a: Tensor, b: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    y = (a * b + x) * (1 - 2j) - 3
    return y, 2 - x * a, y / b, x / a, (y / 2).exp(), -y * 1j, y.angle(), y.abs() ** 2 + y.imag


def rotary(x: Tensor, frequencies: Tensor) -> Tensor:
    pairs = ingot.view_as_complex(x.reshape(2, 6, 4, 2))
    return ingot.view_as_real(pairs * ingot.polar(ingot.ones(6, 4), frequencies)).flatten(2)


def products(a: Tensor, b: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    return a @ b, ingot.einsum("ij,jk->ki", a, b).abs(), a.to(ingot.complex128) @ x.to(ingot.complex128)


def filtered(x: Tensor, w: Tensor) -> Tensor:
    return ingot.fft.irfft(ingot.fft.rfft(x, n=16) * w, n=16)


def names_of_memory(x: Tensor) -> tuple[Tensor, ...]:
    c = ingot.view_as_complex(x * 2)
    return c, ingot.view_as_real(c) + 1, c.real


def loops(a: Tensor, n: int) -> Tensor:
    for _ in range(n):
        a = a * a.conj() * 0.5 + 1j
    return a


PROGRAMS: list[Any] = [
    (parts_of_views, (z(3, 4), z(3, 4, seed=1))),
    (arithmetic, (z(3, 4), z(4, seed=1), r(3, 1))),
    (rotary, (r(2, 6, 8), r(6, 4))),
    (products, (z(3, 4), z(4, 5, seed=1), r(4, 2))),
    (filtered, (r(3, 16), z(9))),
    (names_of_memory, (r(3, 2),)),
]


def compare(found: Any, expected: Any) -> None:
    found, expected = (x if isinstance(x, tuple) else (x,) for x in (found, expected))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype is b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("executor", ["python", "native"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program[0].__name__)
def test_programs_of_complex_tensors(program: Any, executor: str) -> None:
    function, arguments = program
    traced = jit.trace(function, arguments)
    with jit.executor(executor):
        compare(traced(*arguments), function(*arguments))
        assert executor == "python" or "by numpy" not in traced.explain()


def test_loops_carry_them() -> None:
    scripted = jit.script(loops)
    for n in (0, 1, 5):
        compare(scripted(z(3), n), loops(z(3), n))


def test_what_is_not_finite_is_numpys() -> None:
    values = np.array([0, 1, -2.5, np.inf, -np.inf], np.float32)
    whole = (values[:, None] + 1j * np.array([0, 1.5, -3], np.float32)).astype(np.complex64).reshape(-1)
    a = ingot.tensor(whole)
    traced = jit.trace(lambda a: (a.exp(), a.abs(), a * 2, a / 2, (a + 1) / (a[1] + 4), a / a[0]), a)
    for found, expected in zip(traced(a), traced.python_callable()(a), strict=True):
        finite = np.isfinite(expected.numpy())
        np.testing.assert_array_equal(np.isfinite(found.numpy()), finite)
        np.testing.assert_allclose(found.numpy()[finite], expected.numpy()[finite], rtol=1e-6)


def test_gradients_through_spectra() -> None:
    x, w = r(3, 16), z(9)
    traced = jit.trace(filtered, (x, w))
    gradients = []
    for function in (traced, filtered):
        leaf = x.clone().requires_grad_()
        (function(leaf, w) ** 2).sum().backward()
        gradients.append(leaf.grad)
    assert ingot.allclose(gradients[0], gradients[1], atol=1e-4)
