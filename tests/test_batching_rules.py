"""`vmap` of every op gives what running it on each sample gives; the ops that it runs once per sample are listed."""

import warnings
from typing import Any

import ingot
import numpy as np
import pytest
from ingot.eager.dispatch import dispatch
from ingot.eager.tensor import wrap
from ingot.func import vmap
from ingot.ir.ops._op import Op, Trait
from ingot.ir.ops.schema import Role
from op_samples import OPS

# Refused: what comes out depends on the values.
BY_VALUE = {"item", "masked_select", "nonzero"}
# One call per sample: results whose size depends on values, and what nobody asked to be quick yet.
PER_SAMPLE = {
    "bincount", "embedding", "histc", "index", "index_put", "isin", "ldl_solve", "linear", "qr", "searchsorted",
    "unique", *BY_VALUE,
}  # fmt: skip
TENSORS = (Role.TENSOR, Role.TENSORS, Role.OPTIONAL_TENSOR, Role.OPERAND)
SAMPLES = [
    (op, i)
    for op in OPS
    if "." not in op.name and Trait.RANDOM not in op.traits and any(p.role in TENSORS for p in op.schema.operands)
    for i, _ in enumerate(op.samples())
]


def stacked(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "fc":
        return np.stack([array, array * array.dtype.type(0.75), array * array.dtype.type(1.25)])
    return np.stack([array, array, array])


def arrays_in(operands: tuple[Any, ...]) -> list[tuple[int, int | None]]:
    found: list[tuple[int, int | None]] = []
    for i, operand in enumerate(operands):
        if isinstance(operand, np.ndarray):
            found.append((i, None))
        elif isinstance(operand, tuple):
            found += [(i, j) for j, item in enumerate(operand) if isinstance(item, np.ndarray)]
    return found


def with_tensors(operands: tuple[Any, ...], places: list[tuple[int, int | None]], tensors: Any) -> tuple[Any, ...]:
    changed: list[Any] = [list(o) if isinstance(o, tuple) else o for o in operands]
    for (i, j), tensor in zip(places, tensors, strict=True):
        if j is None:
            changed[i] = tensor
        else:
            changed[i][j] = tensor
    return tuple(tuple(o) if isinstance(o, list) else o for o in changed)


@pytest.mark.parametrize(("op", "number"), SAMPLES, ids=[f"{op.name}-{i}" for op, i in SAMPLES])
@pytest.mark.parametrize("which", ["all", "first"])
def test_a_batch_is_each_of_its_samples(op: Op, number: int, which: str) -> None:
    sample = list(op.samples())[number]
    operands, attributes = op.schema.bind(*sample.args, **sample.kwargs)
    places = arrays_in(operands)
    if not places:
        pytest.skip("no tensor in this sample")
    if which == "first" and len(places) == 1:
        return
    batched = range(len(places)) if which == "all" else range(1)
    values = [operands[i] if j is None else operands[i][j] for i, j in places]
    batches = [stacked(v) if k in batched else v for k, v in enumerate(values)]
    in_dims = tuple(0 if k in batched else None for k in range(len(places)))

    def run(*tensors: Any) -> Any:
        return dispatch(op, with_tensors(operands, places, tensors), attributes)

    def each() -> list[Any]:
        return [
            run(*[wrap(b[k]) if d == 0 else wrap(b) for b, d in zip(batches, in_dims, strict=True)]) for k in range(3)
        ]

    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        try:
            expected = each()
        except (RuntimeError, ValueError, IndexError, TypeError):
            pytest.skip("not every sample of the batch is valid")
        try:
            found = vmap(run, in_dims)(*[wrap(b) for b in batches])
        except RuntimeError as error:
            # Samples whose results differ in size cannot be stacked.
            assert op.name in PER_SAMPLE or op.name in BY_VALUE, error
            return
    if any("performance drop" in str(w.message) for w in noted):
        assert op.name in PER_SAMPLE, f"{op.name} ran once per sample"
    several = isinstance(found, tuple)
    for index, result in enumerate(found if several else (found,)):
        whole = ingot.stack([e[index] if several else e for e in expected])
        assert result.dtype is whole.dtype and result.shape == whole.shape
        if op.name in ("svd", "eigh", "eig", "qr"):  # unique but for signs
            result, whole = result.abs(), whole.abs()
        np.testing.assert_allclose(result.numpy(), whole.numpy(), rtol=2e-4, atol=2e-5, equal_nan=True)
