"""Parameters and buffers: the tensors that a module owns (defined in `eager`)."""

from ..eager.parameter import Buffer, Parameter

__all__ = ["Buffer", "Parameter"]
