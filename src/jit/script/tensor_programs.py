"""Methods of tensors that are programs: written in the language itself, and compiled into those that call them."""

from ...eager.creation import zeros
from ...eager.functions import call as op
from ...eager.shapes import where

__all__ = ["masked_scatter", "nonzero_indices", "tensor_of_list", "to_list"]

# mypy: disable-error-code="no-untyped-def,no-untyped-call"


def to_list(tensor):
    if tensor.ndim == 0:
        return tensor.item()
    return [to_list(part) for part in tensor]


def masked_scatter(self, mask, source):
    chosen = op("expand", mask, self.shape).reshape(-1)
    count = chosen.sum().item()
    values = source.reshape(-1)
    if count > values.size(0):
        raise RuntimeError(f"masked_scatter_: expected at least {count} elements in source, given {values.size(0)}")
    if values.size(0) == 0:
        return self.clone()
    places = (op("cumsum", chosen, 0) - 1).clamp(min=0, max=values.size(0) - 1)
    return where(chosen.reshape(self.shape), values[places].reshape(self.shape), self)


def nonzero_indices(condition):
    return op("nonzero", condition).unbind(1)


def tensor_of_list(values, dtype):
    size = len(values)
    result = zeros(size, dtype=dtype)
    for i in range(size):
        result[i] = values[i]
    return result
