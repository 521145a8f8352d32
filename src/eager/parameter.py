"""Parameters and buffers: the tensors that a module owns."""

from typing import Any

from .tensor import Tensor

__all__ = ["Buffer", "Parameter"]


class Parameter(Tensor):
    """A tensor that a module learns: assigned to an attribute of a module it is listed by `parameters()`.

    >>> ingot.nn.Parameter(ingot.zeros(2))
    Parameter containing:
    tensor([0., 0.], requires_grad=True)
    """

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        if data is None:
            data = Tensor([])
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter(): expected a Tensor, given {type(data).__name__}")
        self._array = data._array
        if requires_grad:
            self.requires_grad_()


class Buffer(Tensor):
    """A tensor that a module keeps but does not learn, such as a running mean."""

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        self._array = (data if isinstance(data, Tensor) else Tensor(data))._array
        self.persistent = persistent
