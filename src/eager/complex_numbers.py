"""Complex numbers in PyTorch's call forms: properties `real` and `imag`, and functions that cost nothing for reals."""

from typing import Any

from .families import with_out
from .functions import call as _call
from .inplace import write
from .tensor import Tensor

__all__ = ["FUNCTIONS", "INPLACE", "METHODS"]

FUNCTIONS = ("adjoint", "conj", "conj_physical", "is_conj", "isreal", "real", "resolve_conj", "resolve_neg")
METHODS = ("conj", "conj_physical", "is_conj", "isreal", "resolve_conj", "resolve_neg")
INPLACE = ("conj_physical",)


def conj(input: Tensor) -> Tensor:
    """Elementwise complex conjugate; a real tensor is returned as it is.

    >>> ingot.conj(ingot.tensor([1 + 2j]))
    tensor([1.-2.j])
    """
    return _call("conj", input) if input.dtype.is_complex else input  # type: ignore[no-any-return]


def conj_physical(input: Tensor) -> Tensor:
    """Elementwise complex conjugate; a real tensor is returned as it is.

    >>> ingot.conj_physical(ingot.tensor([1 + 2j]))
    tensor([1.-2.j])
    """
    return conj(input)


def adjoint(input: Tensor) -> Tensor:
    """The matrices with their last two dimensions swapped, conjugated.

    >>> ingot.adjoint(ingot.tensor([[1 + 2j, 3 + 1j]]))
    tensor([[1.-2.j],
            [3.-1.j]])
    """
    if input.ndim < 2:
        raise RuntimeError(f"tensor.adjoint() is only supported on matrices or batches of matrices. Got {input.ndim}-D")
    return _adjoint(input)


def real(input: Tensor) -> Tensor:
    """The real parts as a view; a real tensor is returned as it is.

    >>> ingot.real(ingot.tensor([1 + 2j]))
    tensor([1.])
    """
    return _call("real", input) if input.dtype.is_complex else input  # type: ignore[no-any-return]


def isreal(input: Tensor) -> Tensor:
    """Whether each element has no imaginary part.

    >>> ingot.isreal(ingot.tensor([1 + 0j, 2j]))
    tensor([ True, False])
    """
    imaginary = _call("imag", input) if input.dtype.is_complex else _call("full_like", input, 0)
    return _call("eq", imaginary, 0)  # type: ignore[no-any-return]


def resolve_conj(input: Tensor) -> Tensor:
    """The tensor: conjugates are computed at once here.

    >>> ingot.resolve_conj(ingot.tensor([1 + 2j]))
    tensor([1.+2.j])
    """
    return input


def resolve_neg(input: Tensor) -> Tensor:
    """The tensor: negatives are computed at once here.

    >>> ingot.resolve_neg(ingot.tensor([1.]))
    tensor([1.])
    """
    return input


def is_conj(input: Tensor) -> bool:
    """Whether the tensor is a conjugate yet to be computed: it never is.

    >>> ingot.is_conj(ingot.tensor([1 + 2j]).conj())
    False
    """
    return False


def _set_part(name: str) -> Any:
    def assign(self: Tensor, value: Any) -> None:
        part = _call(name, self) if self.dtype.is_complex or name == "imag" else self
        write(part, value if isinstance(value, Tensor) else _call("full", (), value, dtype=part.dtype), name)

    return assign


def _adjoint(self: Tensor) -> Tensor:
    turned = _call("transpose", self, -2, -1)
    return _call("conj", turned) if self.dtype.is_complex else turned  # type: ignore[no-any-return]


conj_physical = with_out(conj_physical)
Tensor.real = property(real, _set_part("real"), doc="The real parts, as a view.")  # type: ignore[method-assign,assignment]
Tensor.imag = property(  # type: ignore[method-assign,assignment]
    lambda self: _call("imag", self), _set_part("imag"), doc="The imaginary parts, as a view."
)
Tensor.mH = property(_adjoint, doc="The transposed and conjugated matrices.")  # type: ignore[method-assign,assignment]
Tensor.adjoint = _adjoint  # type: ignore[method-assign,assignment]
