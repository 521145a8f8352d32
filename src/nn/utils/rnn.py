"""Sequences of different lengths: padded to one tensor, or packed without padding."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...eager.creation import tensor as _tensor
from ...eager.device import host_array
from ...eager.functions import call as _call
from ...eager.placement import beside
from ...eager.tensor import Tensor

__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence",
    "pad_sequence", "unpack_sequence", "unpad_sequence",
]  # fmt: skip


class PackedSequence(NamedTuple):
    """Steps of a batch one after another without padding: step t has batch_sizes[t] rows, longest sequences first."""

    data: Any
    batch_sizes: Any
    sorted_indices: Any = None
    unsorted_indices: Any = None

    def to(self, *args: Any, **kwargs: Any) -> "PackedSequence":
        """The same steps with data of another dtype."""
        return self._replace(data=self.data.to(*args, **kwargs))

    def double(self) -> "PackedSequence":
        """Data as float64."""
        return self._replace(data=self.data.double())

    def float(self) -> "PackedSequence":
        """Data as float32."""
        return self._replace(data=self.data.float())

    def half(self) -> "PackedSequence":
        """Data as float16."""
        return self._replace(data=self.data.half())

    def long(self) -> "PackedSequence":
        """Data as int64."""
        return self._replace(data=self.data.long())

    def int(self) -> "PackedSequence":
        """Data as int32."""
        return self._replace(data=self.data.int())

    def cpu(self) -> "PackedSequence":
        """The same steps: they are on the CPU."""
        return self

    def pin_memory(self) -> "PackedSequence":
        """The same steps: there is no other memory to copy to."""
        return self

    def is_pinned(self) -> bool:
        """False: memory is not pinned here."""
        return False

    @property
    def is_cuda(self) -> bool:
        """Whether data is on a GPU."""
        return self.data.device.type == "cuda"


def invert_permutation(permutation: Any) -> Any:
    """The permutation that undoes this one; None for None."""
    return (
        None if permutation is None else _tensor(np.argsort(host_array(permutation._array)), device=permutation.device)
    )


def _lengths(lengths: Any) -> np.ndarray[Any, Any]:
    values = np.asarray(host_array(getattr(lengths, "_array", lengths)), np.int64)
    if values.ndim != 1:
        raise RuntimeError(f"expected lengths to be 1-D, given {values.ndim}-D")
    if not values.size:
        raise RuntimeError("Cannot pack empty tensors.")
    if values.min() <= 0:
        raise RuntimeError(f"Length of all samples has to be greater than 0, but found {values.min()}")
    return values


@beside
def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack (T, N, ...) padded sequences; RuntimeError where lengths do not fall and `enforce_sorted` is set."""
    values = _lengths(lengths)
    steps = input.transpose(0, 1) if batch_first else input
    if len(values) != steps.shape[1]:
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size {steps.shape[1]}, but got {len(values)}")
    if values.max() > steps.shape[0]:
        raise RuntimeError(f"Expected lengths of at most {steps.shape[0]} (the padded length), given {values.max()}")
    order = back = None
    if enforce_sorted:
        if (np.diff(values) > 0).any():
            raise RuntimeError(
                "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
                "`enforce_sorted=False` to have it sorted"
            )
    else:
        ranks = np.argsort(-values, kind="stable")
        order, back = _tensor(ranks), _tensor(np.argsort(ranks))
        values = values[ranks]
        steps = steps.index_select(1, order)
    sizes = (values[None, :] > np.arange(values[0])[:, None]).sum(1)
    row, column = np.nonzero(np.arange(steps.shape[1])[None, :] < sizes[:, None])
    flat = steps.reshape(-1, *steps.shape[2:])
    data = flat.index_select(0, _tensor(row * steps.shape[1] + column))
    return PackedSequence(data, _tensor(sizes, device="cpu"), order, back)


@beside
def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The padded tensor (T, N, ...) and the lengths of a packed batch."""
    sizes = np.asarray(sequence.batch_sizes._array)
    batch, longest = int(sizes[0]), len(sizes)
    total = longest if total_length is None else total_length
    if total < longest:
        raise ValueError(
            f"Expected total_length to be at least the length of the longest sequence in input, but got total_length="
            f"{total} and max sequence length being {longest}"
        )
    row, column = np.nonzero(np.arange(batch)[None, :] < sizes[:, None])
    data = sequence.data
    padded = data.new_full((total * batch, *data.shape[1:]), padding_value)
    padded = padded.index_copy(0, _tensor(row * batch + column), data).reshape(total, batch, *data.shape[1:])
    lengths = _tensor((sizes[:, None] > np.arange(batch)[None, :]).sum(0), device="cpu")
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        lengths = lengths.index_select(0, sequence.unsorted_indices.cpu())
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def pad_sequence(
    sequences: Iterable[Any], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences (L, ...) of different lengths as one tensor (longest, N, ...), filled up at one side.

    >>> ingot.nn.utils.rnn.pad_sequence([ingot.tensor([1, 2]), ingot.tensor([3])], batch_first=True)
    tensor([[1, 2],
            [3, 0]])
    """
    parts = list(sequences)
    if not parts:
        raise RuntimeError("pad_sequence: expected at least one sequence")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"padding_side should be one of 'right' or 'left', got {padding_side}")
    longest = max(p.shape[0] for p in parts)
    padded = []
    for p in parts:
        missing = longest - p.shape[0]
        border = (missing, 0) if padding_side == "left" else (0, missing)
        padded.append(_call("pad", p, (0, 0) * (p.ndim - 1) + border, value=padding_value) if missing else p)
    return _call("stack", padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded batch by their lengths."""
    batch = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[:n] for row, n in zip(batch, np.asarray(lengths).tolist(), strict=True)]


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a packed batch."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


def pack_sequence(sequences: Sequence[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences (L, ...)."""
    lengths = np.array([s.shape[0] for s in sequences])
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)
