"""Special functions, as `torch.special`: every op whose record says "special"."""

from .eager import namespaces

globals().update(namespaces["special"])
__all__ = sorted(namespaces["special"])
