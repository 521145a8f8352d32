"""Linear algebra, as `torch.linalg`: every op whose record says "linalg", and the functions over them."""

from .eager import namespaces
from .eager.factorizations import LINALG as _FACTORIZATIONS
from .eager.linear_algebra import LINALG as _FUNCTIONS

_NAMES = {**namespaces["linalg"], **_FUNCTIONS, **_FACTORIZATIONS}
globals().update(_NAMES)
__all__ = sorted(_NAMES)
