"""DLPack capsules, under PyTorch's module name."""

from ..eager.interop import from_dlpack, to_dlpack

__all__ = ["from_dlpack", "to_dlpack"]
