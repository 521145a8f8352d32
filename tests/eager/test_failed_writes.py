"""A write that fails leaves its tensor as it was: in-place methods and `out=` on the arguments that each op refuses."""

import pickle
import warnings
from typing import Any

import ingot
import numpy as np
import pytest
from ingot.eager.tensor import Tensor
from ingot.ir.ops._op import Op, all_ops
from op_samples import sample_name

REFUSED = [
    (op, i)
    for op in all_ops()
    if op.inplace
    for i, error in enumerate(op.errors())
    if isinstance(error.args[0], np.ndarray)
]


def as_tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return Tensor(value.copy())
    return tuple(map(as_tensors, value)) if isinstance(value, tuple) else value


@pytest.mark.parametrize(("op", "index"), REFUSED, ids=sample_name)
def test_a_refused_method_writes_nothing(op: Op, index: int) -> None:
    error = tuple(op.errors())[index]
    target, *rest = as_tensors(error.args)
    with pytest.raises(error.exception):
        getattr(target, f"{op.schema.name}_")(*rest, **error.kwargs)
    np.testing.assert_array_equal(target.numpy(), error.args[0])


def test_there_are_methods_to_refuse() -> None:
    assert len(REFUSED) > 40


@pytest.mark.parametrize(
    "write",
    [
        lambda t: t.add_(ingot.ones(4)),
        lambda t: t.mul_(1j),
        lambda t: t.copy_(ingot.ones(5)),
        lambda t: t.index_fill_(0, ingot.tensor([0, 7]), 1.0),
        lambda t: t.index_copy_(0, ingot.tensor([0, 7]), ingot.ones(2)),
        lambda t: t.scatter_(0, ingot.tensor([0, 7]), 1.0),
        lambda t: t.masked_scatter_(ingot.tensor([True, True, True]), ingot.ones(1)),
        lambda t: t.index_put_((ingot.tensor([0, 7]),), ingot.ones(2)),
        lambda t: t.index_reduce_(0, ingot.tensor([0, 7]), ingot.ones(2), "prod"),
        lambda t: t.clamp_(ingot.zeros(4), None),
        lambda t: t.__setitem__(slice(0, 2), ingot.ones(3)),
        lambda t: t.__setitem__(ingot.tensor([0, 7]), 1.0),
    ],
)
def test_a_refused_write_leaves_the_elements(write: Any) -> None:
    target = ingot.tensor([1.0, 2.0, 3.0])
    with pytest.raises((RuntimeError, IndexError)):
        write(target)
    assert target.tolist() == [1.0, 2.0, 3.0]


def test_out_is_left_alone_where_the_result_does_not_fit() -> None:
    out = ingot.tensor([7, 7])
    with pytest.raises(RuntimeError, match="can't be cast"):
        ingot.add(ingot.ones(2), 1.5, out=out)
    with pytest.raises(RuntimeError, match="single memory location"):
        ingot.add(ingot.ones(2), 1.0, out=ingot.zeros(1).expand(2))
    with pytest.raises(RuntimeError, match="to have dtype"):
        ingot.gather(ingot.ones(2), 0, ingot.tensor([0, 1]), out=out)
    assert out.tolist() == [7, 7]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ingot.add(ingot.ones(2), 1.0, out=ingot.empty(0)).tolist() == [2.0, 2.0]


def test_memory_formats_pickle_by_name() -> None:
    for value in (ingot.channels_last, ingot.preserve_format, ingot.strided):
        assert pickle.loads(pickle.dumps(value)) is value
