"""Sequences, whose length is known at import, and optional values."""

from typing import Any

import numpy as np

from ...ir.ops._op import F
from ..registry import op
from ..values import Known, Sequence


@op("SequenceConstruct", raw=True)
def sequence_construct(node: Any, scope: Any, *items: Any) -> Any:
    return Sequence(items)


@op("SequenceEmpty", raw=True)
def sequence_empty(node: Any, scope: Any) -> Any:
    return Sequence(())


def _items(node: Any, sequence: Any) -> tuple[Any, ...]:
    if not isinstance(sequence, Sequence):
        raise node.error(f"{node.op_type}: expected a sequence, given a tensor")
    return sequence.items


def _position(node: Any, position: Any, count: int) -> int:
    index = int(node.number(position, what="the position"))
    if not -count <= index < max(count, 1):
        raise node.error(f"{node.op_type}: the position {index} is outside a sequence of {count}")
    return index


@op("SequenceAt", raw=True)
def sequence_at(node: Any, scope: Any, sequence: Any, position: Any) -> Any:
    items = _items(node, sequence)
    return items[_position(node, position, len(items))]


@op("SequenceInsert", raw=True)
def sequence_insert(node: Any, scope: Any, sequence: Any, item: Any, position: Any = None) -> Any:
    items = list(_items(node, sequence))
    items.insert(len(items) if position is None else _position(node, position, len(items) + 1), item)
    return Sequence(tuple(items))


@op("SequenceErase", raw=True)
def sequence_erase(node: Any, scope: Any, sequence: Any, position: Any = None) -> Any:
    items = list(_items(node, sequence))
    del items[-1 if position is None else _position(node, position, len(items))]
    return Sequence(tuple(items))


@op("SequenceLength", raw=True)
def sequence_length(node: Any, scope: Any, sequence: Any) -> Any:
    return Known.of(np.int64(len(_items(node, sequence))))


@op("ConcatFromSequence", raw=True)
def concat_from_sequence(node: Any, scope: Any, sequence: Any) -> Any:
    tensors = [node.tensor(item) for item in _items(node, sequence)]
    if not tensors:
        raise node.error("ConcatFromSequence: the sequence is empty")
    axis = node.attribute("axis")
    if node.attribute("new_axis", 0):
        return F.stack(tensors, node.axis(axis, tensors[0].ndim + 1))
    return F.cat(tensors, node.axis(axis, tensors[0].ndim))


@op("SplitToSequence", raw=True)
def split_to_sequence(node: Any, scope: Any, x: Any, split: Any = None) -> Any:
    tensor = node.tensor(x)
    axis = node.axis(node.attribute("axis", 0), tensor.ndim)
    total = node.fix(tensor.shape[axis])
    squeezed = split is None and not node.attribute("keepdims", 1)
    if split is None:
        sizes = [1] * total
    else:
        given = node.array(split, "the sizes of the parts")
        sizes = [int(n) for n in given.reshape(-1)]
        if given.ndim == 0:
            part = max(sizes[0], 1)
            sizes = [min(part, total - start) for start in range(0, total, part)]
    if sum(sizes) != total:
        raise node.error(f"SplitToSequence: the parts {sizes} do not add up to the size {total}")
    items, start = [], 0
    for n in sizes:
        part_ = F.slice(tensor, start, start + n, dim=axis)
        items.append(F.squeeze(part_, (axis,)) if squeezed else part_)
        start += n
    return Sequence(tuple(items))


@op("Optional", raw=True)
def optional(node: Any, scope: Any, value: Any = None) -> Any:
    return value


@op("OptionalGetElement", raw=True)
def optional_get_element(node: Any, scope: Any, value: Any) -> Any:
    if value is None:
        raise node.error("OptionalGetElement: there is no value")
    return value


@op("OptionalHasElement", raw=True)
def optional_has_element(node: Any, scope: Any, value: Any = None) -> Any:
    return Known.of(np.array(value is not None))
