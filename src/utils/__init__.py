"""What goes around tensors: data loading, checkpoints, DLPack."""

from . import checkpoint, data, dlpack

__all__ = ["checkpoint", "data", "dlpack"]
