"""The op families; importing this package defines every op."""

from . import control, elementwise, shape, slicing

__all__ = ["control", "elementwise", "shape", "slicing"]
