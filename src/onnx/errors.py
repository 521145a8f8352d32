"""The error that every refusal of an ONNX model raises."""

from ..ir.location import LocatedError
from ..jit.errors import JitError

__all__ = ["OnnxError"]


class OnnxError(LocatedError, JitError):
    """A model that cannot be read, imported or exported; the place is `file:node:1`, nodes counted from 1."""
