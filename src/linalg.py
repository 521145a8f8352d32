"""Linear algebra, as `torch.linalg`: every op whose record says "linalg", and the functions over them."""

from .eager import namespaces
from .eager.linear_algebra import LINALG

globals().update({**namespaces["linalg"], **LINALG})
__all__ = sorted({**namespaces["linalg"], **LINALG})
