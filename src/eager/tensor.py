"""The tensor: an array of its device, with a place in the autograd graph. Its arithmetic comes from the op records."""

import weakref
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.dtypes import FLOATING_KINDS, DType, default_dtype, from_numpy
from . import modes
from .device import as_device, device_of, host_array, is_host, move_array, of_interface
from .hooks import RemovableHandle

__all__ = ["Size", "StaleTensor", "Tensor", "settled", "wrap"]


class Size(tuple[int, ...]):
    """The shape of a tensor: a tuple of ints with `numel()`."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements of a tensor of this shape."""
        count = 1
        for n in self:
            count *= n
        return count

    def __repr__(self) -> str:
        return f"ingot.Size({list(self)})"

    def __add__(self, other: Any) -> Any:
        return Size(tuple.__add__(self, other)) if isinstance(other, tuple) else NotImplemented

    def __getitem__(self, index: Any) -> Any:
        item = tuple.__getitem__(self, index)
        return Size(item) if isinstance(index, slice) else item


_make_size = tuple.__new__


def settled(size: int) -> int:
    """The size as a plain int that the result's structure depends on; a trace then holds for that size only."""
    report = getattr(size, "settled", None)
    return size if report is None else report()  # type: ignore[no-any-return]


if TYPE_CHECKING:
    from .tensor_methods import TensorMethods
else:
    TensorMethods = object


class Tensor(TensorMethods):
    """An n-dimensional array of one dtype that can record what happens to it for `backward()`.

    Made by `ingot.tensor`, `ingot.zeros` and the like, and by every op. Wrapping an array shares its memory.

    >>> x = ingot.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([[2., 4.],
            [6., 8.]])
    """

    # Class attributes are the defaults, so that making a tensor sets only its array: this is the hot path.
    _requires_grad: bool = False
    _grad: "Tensor | None" = None
    _array: np.ndarray[Any, Any]
    _node: Any = None
    _output_index: int = 0
    _counter: list[int] | None = None  # of in-place writes, made when first needed
    _view: tuple["Tensor", Any, tuple[Any, ...], dict[str, Any]] | None = (
        None  # source, op, further operands, attributes
    )
    _view_version: int = 0
    _alias_of: "Tensor | None" = None  # the tensor whose former place in the graph this one keeps (see inplace.py)
    _hooks: dict[int, Callable[[Any], Any]] | None = None
    _accumulate_hooks: dict[int, Callable[[Any], Any]] | None = None
    _retains_grad: bool = False
    _inference: bool = False  # made in inference mode
    __array_priority__ = 1000

    if TYPE_CHECKING:  # methods and operators made from the op records

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, *data: Any) -> None:
        """An array, whose memory is shared; or as PyTorch's: sizes, or a sequence, of the default dtype."""
        value = data[0] if len(data) == 1 else None
        if isinstance(value, np.ndarray | np.generic):
            from_numpy(value.dtype)  # refuses dtypes that no tensor has
            self._array = np.asarray(value)
        elif isinstance(value, Tensor):
            self._array = value._array
        elif value is None or isinstance(value, int):
            self._array = np.empty(data or (0,), default_dtype().numpy)
        elif not is_host(value):
            self._array = of_interface(value)
        else:
            self._array = np.asarray(value, default_dtype().numpy)

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The sizes of the dimensions."""
        if modes.active_modes and (mode := modes.state.mode) is not None:
            return Size(mode.tracked_shape(self))
        return _make_size(Size, self._array.shape)

    @property
    def dtype(self) -> DType:
        """The element type."""
        return from_numpy(self._array.dtype)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim

    @property
    def device(self) -> Any:
        """Where the data lives."""
        return device_of(self._array)

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        self._refresh()
        return self._node is None

    @property
    def grad_fn(self) -> Any:
        """The recorded operation that made this tensor, or None."""
        self._refresh()
        return self._node

    def is_inference(self) -> bool:
        """Whether the tensor was made in inference mode."""
        return self._inference

    @property
    def output_nr(self) -> int:
        """Which output of the operation that made it this tensor is."""
        self._refresh()
        return self._output_index

    @property
    def version(self) -> int:
        """How often the memory was written in place, shared with its views."""
        counter = self._version_root()._counter
        return counter[0] if counter is not None else 0

    @property
    def _version(self) -> int:
        return self.version

    def version_counter(self) -> list[int]:
        """The cell that counts in-place writes to this memory, for those who must not keep the tensor itself."""
        root = self._version_root()
        if root._counter is None:
            root._counter = [0]
        return root._counter

    def _version_root(self) -> "Tensor":
        root = self
        while True:
            if root._alias_of is not None:
                root = root._alias_of
            elif root._view is not None:
                root = root._view[0]
            else:
                return root

    @property
    def data(self) -> "Tensor":
        """The same memory without history; writing through it is not recorded."""
        return wrap(self._array)

    @data.setter
    def data(self, value: "Tensor") -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"Tensor.data must be set to a Tensor, not {type(value).__name__}")
        self._array = value._array

    def bump_version(self) -> None:
        """Note that the memory was written in place."""
        counter = self._counter
        if counter is None or self._view is not None or self._alias_of is not None:
            counter = self.version_counter()
        counter[0] += 1

    def _refresh(self) -> None:
        """Bring a view up to date with the history of its base, which may have been written since."""
        if self._view is not None and self._view_version != self.version:
            from .autograd import refresh_view

            refresh_view(self)

    # -- gradients ----------------------------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded for backward."""
        if self._view is not None:
            self._refresh()
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        if requires_grad and self._array.dtype.kind not in FLOATING_KINDS:
            raise RuntimeError(
                f"only Tensors of floating point dtype can require gradients, given one of {self.dtype.name}"
            )
        if requires_grad and self._inference and not modes.state.inference:
            raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
        if self._node is not None and not requires_grad:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in "
                "a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        self._requires_grad = bool(requires_grad)

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        """Set whether operations on this leaf are recorded; returns the tensor itself."""
        self.requires_grad = requires_grad
        return self

    @property
    def grad(self) -> "Tensor | None":
        """What backward added up for this tensor; None before."""
        if modes.active_modes and (mode := modes.state.mode) is not None:
            mode.gradient(self, "read")
        return self._grad

    @grad.setter
    def grad(self, gradient: "Tensor | None") -> None:
        if gradient is not None:
            if not isinstance(gradient, Tensor):
                raise TypeError(f"assigned grad expected to be a Tensor or None but got {type(gradient).__name__}")
            if gradient is self:
                raise RuntimeError("can't assign Tensor as its own grad")
            if gradient._array.shape != self._array.shape:
                raise RuntimeError(
                    f"attempting to assign a gradient of size '{list(gradient._array.shape)}' to a tensor of size "
                    f"'{list(self._array.shape)}'. Please ensure that the gradient and the tensor are the same size"
                )
            if device_of(gradient._array) is not device_of(self._array):
                raise RuntimeError(
                    f"assigned grad has data located on a different device: {gradient.device}, its tensor on "
                    f"{self.device}"
                )
            if gradient._array.dtype != self._array.dtype:
                raise RuntimeError(
                    f"assigned grad has dtype {gradient.dtype.name}, its tensor {self.dtype.name}: convert it first"
                )
        if modes.active_modes and (mode := modes.state.mode) is not None:
            mode.gradient(self, "set")
        self._grad = gradient

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    def backward(
        self,
        gradient: "Tensor | None" = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Add the gradient of this tensor to the `.grad` of the leaves it depends on.

        gradient: of this tensor's shape; needed unless it has one element. RuntimeError where nothing was recorded.
        """
        from .autograd import backward

        backward(self, gradient, retain_graph, create_graph, inputs)

    def retain_grad(self) -> None:
        """Keep the gradient of this computed tensor in `.grad` at backward."""
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self._node is None or self._retains_grad:
            return
        reference = weakref.ref(self)  # the node, which holds the hook, must not keep its own output

        def keep(gradient: "Tensor") -> None:
            tensor = reference()
            if tensor is not None:
                tensor._grad = gradient if tensor._grad is None else tensor._grad + gradient  # type: ignore[operator]

        self._retains_grad = True
        self.register_hook(keep)

    @property
    def retains_grad(self) -> bool:
        """Whether this computed tensor keeps its gradient (see `retain_grad`)."""
        return self._retains_grad

    def register_post_accumulate_grad_hook(self, hook: Callable[["Tensor"], None]) -> "RemovableHandle":
        """Call `hook(tensor)` after backward added to the `.grad` of this leaf."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._node is not None:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        if self._accumulate_hooks is None:
            self._accumulate_hooks = {}
        return RemovableHandle(self._accumulate_hooks, hook)

    def register_hook(self, hook: Callable[["Tensor"], "Tensor | None"]) -> "RemovableHandle":
        """Call `hook(gradient)` when the gradient of this tensor is ready; what it returns replaces the gradient."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._node is None:
            if self._hooks is None:
                self._hooks = {}
            return RemovableHandle(self._hooks, hook)
        if self._node.hooks is None:
            self._node.hooks = {}
        return RemovableHandle(self._node.hooks.setdefault(self._output_index, {}), hook)

    # -- to Python and numpy ------------------------------------------------------------------------------------------

    def item(self) -> Any:
        """The only element, as a Python number; RuntimeError where there is not exactly one."""
        if self._array.size != 1:
            raise RuntimeError(f"a Tensor with {self._array.size} elements cannot be converted to Scalar")
        if modes.active_modes and (mode := modes.state.mode) is not None:
            mode.baked(self._array.dtype.kind, self)
        return _python_value(self._array)

    def tolist(self) -> Any:
        """The elements as nested Python lists (a number for a tensor of rank 0)."""
        self._bake("list")
        array = host_array(self._array)
        return (array if array.dtype.kind != "V" else array.astype(np.float32)).tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray[Any, Any]:
        """The data as a numpy array that shares memory. RuntimeError for a tensor that requires grad, unless forced."""
        if self.requires_grad and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        self._bake("numpy")
        array = self._array
        if not is_host(array):
            if not force:
                raise TypeError(
                    f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to "
                    "host memory first."
                )
            array = host_array(array)
        if array.dtype.kind == "V":
            raise TypeError("Got unsupported ScalarType BFloat16: numpy has no bfloat16; use tensor.float().numpy()")
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"a {array.dtype} tensor cannot become {np.dtype(dtype)} without a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def _bake(self, what: str) -> None:
        if modes.active_modes and (mode := modes.state.mode) is not None:
            mode.baked(what, self)

    def __bool__(self) -> bool:
        if self._array.size != 1:
            raise RuntimeError(
                f"Boolean value of Tensor with {'no' if not self._array.size else 'more than one'} "
                f"value{'s' if not self._array.size else ''} is ambiguous"
            )
        self._bake("bool")
        return bool(self._array.item())

    def __float__(self) -> float:
        return float(self._scalar("float"))

    def __int__(self) -> int:
        return int(self._scalar("int"))

    def __complex__(self) -> complex:
        return complex(self._scalar("complex"))

    def _scalar(self, what: str) -> Any:
        if self._array.size != 1:
            raise ValueError(
                "only one element tensors can be converted to Python scalars, given one with "
                f"{self._array.size} elements"
            )
        self._bake(what)
        return _python_value(self._array)

    def __index__(self) -> int:
        if self._array.size != 1 or self._array.dtype.kind not in "iub":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self._scalar("int"))

    def __len__(self) -> int:
        if not self._array.ndim:
            raise TypeError("len() of a 0-d tensor")
        return settled(self.shape[0])

    def __iter__(self) -> "Iterator[Tensor]":
        if not self._array.ndim:
            raise TypeError("iteration over a 0-d tensor")
        self._bake("iteration")
        return iter([self[i] for i in range(settled(self.shape[0]))])  # type: ignore[index]

    def __contains__(self, element: Any) -> bool:
        if not isinstance(element, (Tensor, bool, int, float, complex, np.generic)):
            raise RuntimeError(
                f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}."
            )
        return bool((self == element).any())  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        from .printing import tensor_repr

        return tensor_repr(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if not self._array.ndim else object.__format__(self, spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Tensor":
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user support the deepcopy protocol at the moment"
            )
        result: Tensor = _new(type(self))
        memo[id(self)] = result
        result._array = self._array.copy(order="K")
        result._requires_grad = self._requires_grad
        result.__dict__.update({k: deepcopy(v, memo) for k, v in self.__dict__.items() if not k.startswith("_")})
        if self._grad is not None:
            result._grad = wrap(self._grad._array.copy(order="K"))
        return result

    def __copy__(self) -> "Tensor":
        result: Tensor = _new(type(self))
        result.__dict__.update({k: v for k, v in self.__dict__.items() if k not in ("_counter", "_view", "_hooks")})
        result._alias_of = self
        return result

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._node is not None:
            raise RuntimeError(
                "Only tensors without history can be pickled: this one was computed from others that require grad; "
                "pickle tensor.detach()"
            )
        attributes = {k: v for k, v in self.__dict__.items() if not k.startswith("_")}
        array = np.asarray(host_array(self._array), order="C")
        place = None if is_host(self._array) else str(self.device)
        return _rebuild, (type(self), array, self._requires_grad, attributes, place)


def _rebuild(
    cls: type,
    array: np.ndarray[Any, Any],
    requires_grad: bool,
    attributes: dict[str, Any] | None = None,
    place: str | None = None,
) -> Tensor:
    tensor: Tensor = _new(cls)
    tensor._array = array if place is None else move_array(array, as_device(place))
    tensor._requires_grad = requires_grad
    tensor.__dict__.update(attributes or {})
    return tensor


class StaleTensor(Tensor):
    """Stands for a tensor that was overwritten since it was saved: shape and dtype are known, its values are lost."""

    def __init__(self, shape: tuple[int, ...], dtype: DType, message: str) -> None:
        self._type = (shape, dtype)
        self._message = message

    @property
    def _array(self) -> np.ndarray[Any, Any]:  # type: ignore[override]
        raise RuntimeError(self._message)

    @property
    def shape(self) -> Size:
        return Size(self._type[0])

    @property
    def dtype(self) -> DType:
        return self._type[1]

    @property
    def ndim(self) -> int:
        return len(self._type[0])


def _python_value(array: np.ndarray[Any, Any]) -> Any:
    """The only element as a Python number."""
    value = array.item()
    return float(value) if array.dtype.kind == "V" else value


_new = Tensor.__new__


def wrap(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor over an array that is known to have a dtype of tensors."""
    tensor = _new(Tensor)
    tensor._array = array
    if modes.inference_modes and modes.state.inference:
        tensor._inference = True
    return tensor
