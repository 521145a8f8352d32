"""Every elementwise op of one float32 operand that has native code is within 2 ulp, or within a bound said here.

The records say which ops there are; their own float64 evaluation is the reference. Ops that are one vector function are
held to more exact references in test_vector_math.py. INGOT_EXHAUSTIVE=1 goes through every float32.
"""

import os
from pathlib import Path
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.ir.ops._op import Elementwise, F, Op, all_ops
from ingot.jit.codegen.vector_math import FUNCTIONS

# Larger errors, as PyTorch's formulas have them: what is rounded in front of a function that amplifies it.
BOUNDS = {
    "spherical_bessel_j0": (3.0, "a quotient of rounded numbers, scaled"),
}
# The result for infinities is the largest number of the dtype, which differs between float32 and float64.
SKIPPED = {"nan_to_num"}
CHUNK = 1 << 22


def is_vector_function(op: Op) -> bool:
    assert isinstance(op.lower, Elementwise)
    name, _, rest = op.lower.expression.partition("(")
    return name in FUNCTIONS and rest == "{input})"


def unary_ops() -> list[str]:
    on_host = Path(__file__).with_name("host_evaluated_ops.txt").read_text().split()
    found = []
    for op in all_ops():
        if not isinstance(op.lower, Elementwise) or op.name in (*SKIPPED, *on_host) or is_vector_function(op):
            continue
        try:
            result = getattr(F, op.name)(ingot.tensor([0.25, 0.5]))
        except (TypeError, RuntimeError, ValueError):
            continue
        if isinstance(result, ingot.Tensor) and result.dtype is ingot.float32:
            found.append(op.name)
    return sorted(found)


NAMES = unary_ops()


@pytest.fixture(scope="module")
def compiled() -> Any:
    """All ops in one kernel: each number is read once."""
    return jit.trace(lambda x: tuple(getattr(F, name)(x) for name in NAMES), ingot.ones(3), check_trace=False)


def inputs() -> Any:
    if os.environ.get("INGOT_EXHAUSTIVE") == "1":
        for first in range(0, 1 << 32, CHUNK):
            yield np.arange(first, first + CHUNK, dtype=np.uint64).astype(np.uint32).view(np.float32)
        return
    patterns = np.arange(0, 1 << 32, 100003, dtype=np.uint64).astype(np.uint32).view(np.float32)
    least = np.array([0, 1, 0x80000000, 0x80000001, 0x7F800000, 0xFF800000], np.uint32).view(np.float32)
    ranges = [np.linspace(-limit, limit, 5001).astype(np.float32) for limit in (1, 20, 110)]
    yield np.concatenate([patterns, least, *ranges])


def errors(got: Any, exact: Any) -> Any:
    """In units in the last place of the exact value; infinite where a special value differs."""
    rounded = exact.astype(np.float32)
    size = np.where(np.isfinite(exact) & (exact != 0), np.abs(exact), 1)
    unit = np.ldexp(1.0, np.maximum(np.frexp(size)[1] - 1, -126) - 23)
    error = np.abs(got.astype(np.float64) - exact) / unit
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    error = np.where(np.isfinite(error), error, np.where(same, 0, np.inf))
    return np.where(same & np.isinf(rounded), 0, error)


@pytest.mark.slow
def test_every_unary_op_is_within_two_units(compiled: Any) -> None:
    assert len(NAMES) > 20
    worst: dict[str, tuple[float, float]] = {}
    for x in inputs():
        results = compiled(ingot.from_numpy(x))
        with np.errstate(all="ignore"):  # signalling NaN are among the bit patterns
            wide = ingot.from_numpy(x.astype(np.float64))
            for name, result in zip(NAMES, results, strict=True):
                error = errors(result.numpy(), getattr(F, name)(wide).numpy())
                at = int(np.argmax(error))
                worst[name] = max(worst.get(name, (0.0, 0.0)), (float(error[at]), float(x[at])))
    bad = {name: w for name, w in worst.items() if w[0] > BOUNDS.get(name, (2.0, ""))[0]}
    assert not bad
    assert set(BOUNDS) <= set(NAMES)


def test_it_is_native(compiled: Any) -> None:
    compiled(ingot.ones(3))
    assert "interpreter" not in compiled.explain()
