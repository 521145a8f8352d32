"""Special functions in kernels, run in the simulator, against the records in float64 over wide ranges."""

from collections.abc import Iterator

import ingot
import numpy as np
import pytest
from device_cases import on_device, optimised
from ingot.ir.ops._op import get_op
from ingot.jit.codegen.cuda.special_functions import FUNCTIONS, looping, special_source

POINTS = np.concatenate([np.linspace(-12, 12, 33), [0.05, -0.05, 1e-3, 31.0, -31.0, 150.0, np.inf, -np.inf, np.nan]])
UNARY = [n for n in FUNCTIONS if len(get_op(n).schema.operands) == 1 and n not in ("polygamma", "signbit")]
POLYNOMIALS = [name for name in FUNCTIONS if "polynomial" in name]


@pytest.fixture(scope="module", autouse=True)
def gpu() -> Iterator[None]:
    with ingot.cuda.simulate():
        yield


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_number(name: str) -> None:
    text = f"graph @f(%x: f64[n]) -> (f64[n]) {{ %r: f64[n] = {name}(%x) return(%r) }}"
    (found,), program = on_device(optimised(text), [POINTS])
    assert program.kernels()
    # Below 0 the power series of the Airy function loses digits.
    tolerance = 1e-9 if name == "airy_ai" else 1e-12
    np.testing.assert_allclose(found, get_op(name).run(np, (POINTS,), {}), rtol=tolerance, atol=tolerance * 0.1)


@pytest.mark.parametrize("name", ["gammainc", "gammaincc", "zeta"])
def test_functions_of_two_numbers(name: str) -> None:
    first = np.array([-1.0, 0.0, 0.3, 1.0, 1.5, 4.0, 30.0, 200.0, np.inf, np.nan])
    second = np.array([-2.5, -1.0, 0.0, 0.2, 3.0, 29.0, 250.0, np.inf, np.nan])
    a, b = (np.ascontiguousarray(v).reshape(-1) for v in np.broadcast_arrays(first[:, None], second))
    text = f"graph @f(%x: f64[n], %y: f64[n]) -> (f64[n]) {{ %r: f64[n] = {name}(%x, %y) return(%r) }}"
    (found,), _ = on_device(optimised(text), [a, b])
    np.testing.assert_allclose(found, get_op(name).run(np, (a, b), {}), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials_of_degrees(name: str) -> None:
    x, n = (v.reshape(-1) for v in np.broadcast_arrays(np.array([[-1.3], [0.0], [0.4], [np.nan]]), np.arange(-1.0, 9)))
    text = f"graph @f(%x: f64[n], %y: f64[n]) -> (f64[n]) {{ %r: f64[n] = {name}(%x, %y) return(%r) }}"
    (found,), _ = on_device(optimised(text), [x.copy(), n.copy()])
    np.testing.assert_allclose(found, get_op(name).run(np, (x, n), {}), rtol=1e-12, atol=1e-12)


def test_the_sign_of_everything() -> None:
    x = np.array([1.0, -1.0, 0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan])
    text = "graph @f(%x: f64[n]) -> (bool[n]) { %r: bool[n] = signbit(%x) return(%r) }"
    np.testing.assert_array_equal(on_device(optimised(text), [x])[0][0], np.signbit(x))


def test_functions_are_text_without_annotations() -> None:
    assert special_source("gcd") == "def gcd(a, b):\n    return greatest_divisor(a, b)"
    assert special_source("nothing") is None
    assert {"zeta", "lcm", "modified_bessel_k0"} <= looping() and not {"erfcx", "signbit"} & looping()
    assert not any("copysign" in (special_source(name) or "") for name in FUNCTIONS)  # which NVVM refuses
