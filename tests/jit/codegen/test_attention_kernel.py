"""The attention kernel against the interpreter: sizes around its tiles, masks, shared heads, strides, few queries."""

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.nn import functional as F

random = np.random.default_rng(0)


def normal(*shape: int, dtype: str = "float32") -> ingot.Tensor:
    return ingot.from_numpy(random.standard_normal(shape).astype(dtype))


@pytest.fixture(scope="module")
def attend() -> dict[str, object]:
    """One compiled callable of each kind, which all sizes share."""

    def make(mask: ingot.Tensor | None, **options: object) -> object:
        tensors = (normal(2, 3, 5, 8), normal(2, 3, 7, 8), normal(2, 3, 7, 9))
        if mask is None:
            return jit.trace(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options), tensors)
        return jit.trace(lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m, **options), (*tensors, mask))

    mask = ingot.from_numpy(random.random((2, 3, 5, 7)) > 0.5)
    return {
        "plain": make(None),
        "causal": make(None, is_causal=True),
        "mask": make(mask),
        "added": make(mask.float()),
    }


def check(function: object, tensors: tuple[ingot.Tensor, ...]) -> None:
    result = function(*tensors)  # type: ignore[operator]
    with jit.executor("interpreter"):
        expected = function(*tensors)  # type: ignore[operator]
    np.testing.assert_allclose(result.numpy(), expected.numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("kind", ["plain", "causal"])
@pytest.mark.parametrize("depth", [2, 32, 257])
@pytest.mark.parametrize(("queries", "keys"), [(1 + 1, 300), (13, 17), (70, 129), (200, 128), (3, 2)])
def test_sizes(attend: dict[str, object], kind: str, queries: int, keys: int, depth: int) -> None:
    tensors = (normal(2, 3, queries, depth), normal(2, 3, keys, depth), normal(2, 3, keys, depth + 1))
    check(attend[kind], tensors)


@pytest.mark.parametrize(("queries", "keys"), [(0, 4), (5, 0), (1, 1)])
def test_empty_and_single(queries: int, keys: int) -> None:
    tensors = (normal(2, 3, queries, 4), normal(2, 3, keys, 4), normal(2, 3, keys, 4))
    result = jit.trace(lambda q, k, v: F.scaled_dot_product_attention(q, k, v), tensors, check_trace=False)(*tensors)
    np.testing.assert_allclose(result.numpy(), F.scaled_dot_product_attention(*tensors).numpy(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["mask", "added"])
@pytest.mark.parametrize("keys", [40, 150])
def test_masks(attend: dict[str, object], kind: str, keys: int) -> None:
    chosen = random.random((2, 3, 9, keys)) > 0.5
    chosen[0, 0, 3] = kind == "added"  # a row that may look at nothing: zeros
    mask = ingot.from_numpy(chosen if kind == "mask" else np.where(chosen, 0.5, -np.inf).astype(np.float32))
    check(attend[kind], (normal(2, 3, 9, 8), normal(2, 3, keys, 8), normal(2, 3, keys, 8), mask))


@pytest.mark.parametrize("shape", [(2, 1, 1, 40), (40,), (9, 40), ()])
def test_masks_that_broadcast(shape: tuple[int, ...]) -> None:
    mask = ingot.from_numpy(np.asarray(random.random(shape) > 0.3))
    tensors = (normal(2, 3, 9, 8), normal(2, 3, 40, 8), normal(2, 3, 40, 8), mask)
    function = jit.trace(lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), tensors, check_trace=False)
    check(function, tensors)


def test_nan_and_a_row_without_finite_scores(attend: dict[str, object]) -> None:
    q, k, v = normal(2, 3, 5, 8), normal(2, 3, 7, 8), normal(2, 3, 7, 9)
    q[0, 0, 1, 2] = float("nan")
    check(attend["plain"], (q, k, v))
    mask = ingot.full((2, 3, 5, 7), -float("inf"))
    check(attend["added"], (normal(2, 3, 5, 8), k, v, mask))


def test_shared_heads_double_precision_and_scale() -> None:
    tensors = (normal(2, 4, 33, 16), normal(2, 2, 21, 16), normal(2, 1, 21, 50))
    function = jit.trace(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), tensors, check_trace=False
    )
    check(function, tensors)
    wide = tuple(normal(3, n, 9, dtype="float64") for n in (70, 140, 140))
    function = jit.trace(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.3), wide, check_trace=False)
    check(function, wide)


def test_heads_of_one_product_are_read_and_stored_as_they_lie() -> None:
    x = normal(2, 50, 3 * 32)

    def split(t: ingot.Tensor) -> ingot.Tensor:
        return t.reshape(2, 50, 4, 8).transpose(1, 2)

    def block(x: ingot.Tensor) -> ingot.Tensor:
        q, k, v = (split(t) for t in (x * 2).chunk(3, -1))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(2, 50, 32)

    function = jit.trace(block, x, check_trace=False)
    check(function, (x,))
    with jit.executor("python"):
        np.testing.assert_allclose(function(x).numpy(), block(x).numpy(), rtol=1e-4, atol=1e-5)
