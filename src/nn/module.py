"""The base of all layers and models; it is defined in `eager`, so that the compiler can know modules too."""

from ..eager.module import IncompatibleKeys, Module

__all__ = ["IncompatibleKeys", "Module"]
