"""How images are stored: contiguous as all tensors, or with their channels last inside a border of zeros."""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from ...ir.core import Value
from ...ir.dims import Dim
from ...ir.types import TensorType
from .indexing import Indices, flat_index

__all__ = ["CHANNELS_LAST", "ImageLayout", "layout_of", "position", "set_layout", "stored_elements"]

CHANNELS_LAST = (0, 2, 3, 1)
"""The dimensions of an image in the order of memory."""


@dataclass(frozen=True)
class ImageLayout:
    """An image with its channels last and borders above, below, left and right, in pixels."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    @property
    def has_border(self) -> bool:
        return (self.top, self.bottom, self.left, self.right) != (0, 0, 0, 0)

    def size(self, shape: Sequence[Dim]) -> tuple[Dim, Dim]:
        """Height and width of the buffer."""
        return shape[2] + (self.top + self.bottom), shape[3] + (self.left + self.right)

    def strides(self, shape: Sequence[Dim]) -> tuple[Dim, Dim, Dim, Dim]:
        """Of images, channels, rows and columns, in elements."""
        height, width = self.size(shape)
        channels = shape[1]
        return height * width * channels, 1, width * channels, channels

    def first(self, shape: Sequence[Dim]) -> Dim:
        """Where the first image's first pixel is."""
        _, _, row, column = self.strides(shape)
        return row * self.top + column * self.left

    def joined(self, pads: Sequence[int]) -> "ImageLayout":
        """With borders of at least (above, below, left, right)."""
        own = (self.top, self.bottom, self.left, self.right)
        return ImageLayout(*(max(a, b) for a, b in zip(own, pads, strict=True)))


# Beside the values and not in them: the graph language has no layouts. Index algebra asks from many places.
_LAYOUTS: WeakKeyDictionary[Value, ImageLayout] = WeakKeyDictionary()


def layout_of(value: Value) -> ImageLayout | None:
    """How an image is stored; None where it is contiguous, like all other tensors."""
    return _LAYOUTS.get(value)


def set_layout(value: Value, layout: ImageLayout | None) -> None:
    """Say how an image is stored."""
    if layout is None:
        _LAYOUTS.pop(value, None)
    else:
        _LAYOUTS[value] = layout


def position(value: Value, indices: Indices) -> Dim:
    """The place of a stored value's element in its memory, in elements."""
    assert isinstance(value.type, TensorType)
    layout = layout_of(value)
    if layout is None:
        return flat_index(indices, value.type.shape)
    place = layout.first(value.type.shape)
    for index, stride in zip(indices, layout.strides(value.type.shape), strict=True):
        place = place + index * stride
    return place


def stored_elements(value: Value) -> Dim:
    """The number of elements of a stored value's memory, with its border."""
    assert isinstance(value.type, TensorType)
    shape = value.type.shape
    count: Dim = 1
    for size in shape:
        count = count * size
    layout = layout_of(value)
    if layout is None:
        return count
    height, width = layout.size(shape)
    return shape[0] * shape[1] * height * width
