"""Modules that hold modules (defined in `eager`)."""

from ..eager.containers import ModuleDict, ModuleList, Sequential

__all__ = ["ModuleDict", "ModuleList", "Sequential"]
