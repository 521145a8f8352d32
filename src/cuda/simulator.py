"""A stand-in for a GPU: numpy computes, and arrays, memory and copies behave as cupy's on a device.

What the host may not do with memory of a device is an error here, too: an array of the device is no `numpy.ndarray`,
does not become one unasked, and does not mix with arrays of the host or of another device. Names that cupy lacks are
not found. So programs and op records that run here run with cupy, as far as that can be known without a GPU.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .cupy_names import refuse_absent
from .errors import OutOfMemoryError

__all__ = ["ArrayCall", "SimulatedArray", "SimulatedDevice", "call_ufunc", "copied", "current", "using"]

_GRANULE = 512  # memory of a device is handed out in pieces of so many bytes
_addresses = itertools.count(0x7F00_0000_0000, 1 << 40)


class SimulatedDevice:
    """One device: how much of its memory is in use, and what was copied to it and from it."""

    def __init__(self, number: int, capacity: int) -> None:
        self.id = number
        self.capacity = capacity
        self.allocated = self.peak = self.reserved = self.peak_reserved = 0
        self.copied_in = self.copied_out = 0  # bytes, from the host and to it
        self.allocations = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SimulatedDevice) and other.id == self.id

    def __hash__(self) -> int:
        return self.id

    def take(self, count: int) -> None:
        """Count bytes as in use; OutOfMemoryError where there are not so many."""
        with self._lock:
            if self.allocated + count > self.capacity:
                raise OutOfMemoryError.of(self.id, count, self.capacity, self.allocated)
            self.allocated += count
            self.allocations += 1
            self.peak = max(self.peak, self.allocated)
            self.reserved = max(self.reserved, self.allocated)
            self.peak_reserved = max(self.peak_reserved, self.reserved)

    def give_back(self, count: int) -> None:
        """Count bytes as free; they stay with the process until `trim`."""
        with self._lock:
            self.allocated -= count

    def trim(self) -> None:
        """Give free memory back to the device."""
        with self._lock:
            self.reserved = self.allocated


class _Memory:
    """Memory of a device that an array and its views share; given back with the last of them."""

    __slots__ = ("address", "bytes", "device", "root", "start")

    def __init__(self, device: SimulatedDevice, array: np.ndarray[Any, Any]) -> None:
        self.bytes = 0
        self.device = device
        count = -(-array.nbytes // _GRANULE) * _GRANULE
        device.take(count)
        self.bytes = count
        root = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        self.start = root.__array_interface__["data"][0]
        self.root = root
        self.address = next(_addresses)

    def __del__(self) -> None:
        if self.bytes:
            self.device.give_back(self.bytes)


class _Current(threading.local):
    device: SimulatedDevice | None = None


_state = _Current()
_first: list[SimulatedDevice] = []  # what a thread computes on that did not say


def current() -> SimulatedDevice:
    """The device that this thread computes on."""
    return _state.device or _first[0]


@contextlib.contextmanager
def using(device: SimulatedDevice) -> Iterator[None]:
    """Let this thread make new arrays on a device."""
    previous = _state.device
    _state.device = device
    try:
        yield
    finally:
        _state.device = previous


class _Flags:
    """How an array lies in memory: what cupy tells of it, which is not whether it can be written."""

    def __init__(self, flags: Any, owndata: bool) -> None:
        self.c_contiguous = self.forc = flags.c_contiguous
        self.f_contiguous = flags.f_contiguous
        self.forc, self.fnc = flags.forc, flags.fnc
        self.owndata = owndata


class _Pointer:
    """Where an array begins."""

    def __init__(self, address: int, host: np.ndarray[Any, Any]) -> None:
        self.ptr = address
        self._host = host

    def copy_from_device_async(self, source: "_Pointer", size: int, stream: Any = None) -> None:
        """Copy bytes of one contiguous array to another."""
        target, given = (a.reshape(-1).view(np.uint8) for a in (self._host, source._host))
        target[:size] = given[:size]


def _on_host(name: str) -> TypeError:
    return TypeError(
        "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
        f"explicitly. ({name})"
    )


# What else than arrays of the device a call may be given.
_CONSTANTS = (bool, int, float, complex, np.generic)


class ArrayCall:
    """One call of a function of numpy's on arrays of a device: what it computes with, and where its results are."""

    def __init__(self, name: str, *, takes_host: bool = False) -> None:
        self.name = name
        self.takes_host = takes_host
        self.found: list[SimulatedArray] = []

    def bare(self, value: Any) -> Any:
        """A value with arrays of the device replaced by what numpy computes with."""
        if value.__class__ is SimulatedArray:
            self.found.append(value)
            return value._host
        if isinstance(value, np.ndarray) and not self.takes_host:
            raise TypeError(f"Unsupported type {type(value)} ({self.name})")
        if value.__class__ in (tuple, list):
            return value.__class__([self.bare(v) for v in value])
        return value

    def run(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        args = [self.bare(a) for a in args]
        kwargs = {key: self.bare(value) for key, value in kwargs.items()}
        device = self.device()
        with np.errstate(all="ignore"):
            result = function(*args, **kwargs)
        return self.placed(result, device)

    def device(self) -> SimulatedDevice:
        """The one device of the arrays."""
        if not self.found:
            return current()
        first = self.found[0].device
        for other in self.found:
            if other.device is not first:
                raise ValueError(
                    f"Array device must be same as the current device: array device = {other.device.id} while current "
                    f"= {first.id}"
                )
        return first

    def placed(self, value: Any, device: SimulatedDevice) -> Any:
        """A result of numpy's as arrays of the device."""
        if isinstance(value, np.ndarray):
            for source in self.found:
                if source._host is value:
                    return source
                if np.may_share_memory(source._host, value):
                    return _array(value, source._memory)
            return _array(value, _Memory(device, value))
        if isinstance(value, np.generic):
            return self.placed(np.asarray(value), device)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*[self.placed(v, device) for v in value])
        if value.__class__ in (tuple, list):
            return value.__class__([self.placed(v, device) for v in value])
        return value


class SimulatedArray:
    """An array in the memory of a simulated device, with the methods of `cupy.ndarray`."""

    __slots__ = ("__weakref__", "_host", "_memory")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]
    _host: np.ndarray[Any, Any]
    _memory: _Memory

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("arrays of a device are made by the functions of its module")

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def device(self) -> SimulatedDevice:
        return self._memory.device

    @property
    def shape(self) -> tuple[int, ...]:
        return self._host.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        self._host = self._host.reshape(shape, copy=False)

    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)

    @property
    def flags(self) -> _Flags:
        return _Flags(self._host.flags, self.base is None)

    @property
    def base(self) -> Any:
        """What this is a view of, as cupy has it: an array that owns the memory, or None."""
        root = self._memory.root
        return None if self._host is root or self._host.base is None else _array(root, self._memory)

    @property
    def data(self) -> _Pointer:
        host = self._host.__array_interface__["data"][0]
        return _Pointer(self._memory.address + host - self._memory.start, self._host)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "descr": self.dtype.descr,
            "strides": None if self._host.flags.c_contiguous else self.strides,
            "data": (self.data.ptr, False),
            "version": 3,
            "stream": 1,
        }

    # -- to the host and back -----------------------------------------------------------------------------------------

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
        """A copy on the host."""
        self.device.copied_out += self.nbytes
        if out is not None:
            out[...] = self._host
            return out
        return self._host.copy(order=order)  # type: ignore[arg-type]

    def set(self, array: Any, stream: Any = None) -> None:
        """Copy an array of the host, of this shape and dtype, here."""
        if array.shape != self.shape or array.dtype != self.dtype:
            raise ValueError(f"Shape or dtype mismatch. Old: {self.shape}, new: {array.shape}")
        self.device.copied_in += array.nbytes
        self._host[...] = array

    def item(self, *index: Any) -> Any:
        self.device.copied_out += self.itemsize
        return self._host.item(*index)

    def tolist(self) -> Any:
        self.device.copied_out += self.nbytes
        return self._host.tolist()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[Any]:
        return iter([self[i] for i in range(len(self._host))])

    def __repr__(self) -> str:
        return repr(self._host)

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise _on_host("numpy.asarray")

    def __copy__(self) -> Any:
        return self[...].copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self[...].copy()

    def __reduce__(self) -> Any:
        raise TypeError("arrays of the simulated device are not pickled")

    # -- elements -----------------------------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Any:
        return ArrayCall("__getitem__", takes_host=True).run(lambda host, i: host[i], (self, index), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        call = ArrayCall("__setitem__", takes_host=True)
        index = call.bare(index)
        if isinstance(value, np.ndarray):
            raise TypeError(f"Unsupported type {type(value)} (__setitem__)")
        value = call.bare(value)
        call.found.append(self)
        call.device()
        with np.errstate(all="ignore"):
            self._host[index] = value

    def fill(self, value: Any) -> None:
        with np.errstate(all="ignore"):
            self._host.fill(value.item() if isinstance(value, SimulatedArray) else value)

    def sort(self, axis: int = -1, kind: Any = None) -> None:
        self._host.sort(axis)

    def view(self, dtype: Any = None) -> Any:
        return ArrayCall("view").run(lambda host: host.view() if dtype is None else host.view(dtype), (self,), {})

    # -- numpy's protocols --------------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        outs = kwargs.get("out", ())
        if any(not isinstance(v, (SimulatedArray, *_CONSTANTS)) for v in (*inputs, *outs)):
            return NotImplemented
        if outs:
            kwargs["out"] = outs[0] if len(outs) == 1 else outs
        if method == "__call__":
            return call_ufunc(ufunc, inputs, kwargs)
        return ArrayCall(ufunc.__name__).run(getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from .simulated_module import SimulatedModule

        module: Any = SimulatedModule.of(np)
        for part in func.__module__.split(".")[1:]:
            module = getattr(module, part, None)
        found = getattr(module, func.__name__, None)
        if found is None or any(not issubclass(t, SimulatedArray) for t in types):
            return NotImplemented
        return found(*args, **kwargs)


def _array(host: np.ndarray[Any, Any], memory: _Memory) -> SimulatedArray:
    array = object.__new__(SimulatedArray)
    array._host = host
    array._memory = memory
    return array


def copied(array: SimulatedArray) -> SimulatedArray:
    """The array in memory of its own."""
    host = array._host.copy(order="K")
    return _array(host, _Memory(array.device, host))


def call_ufunc(ufunc: Any, inputs: Any, kwargs: Any) -> Any:
    """A ufunc on arrays; results that go to `out=` are those arrays."""
    call = ArrayCall(ufunc.__name__)
    args = [call.bare(a) for a in inputs]
    out = kwargs.pop("out", None)
    bare = call.bare(out)
    device = call.device()
    with np.errstate(all="ignore"):
        result = ufunc(*args, **kwargs) if out is None else ufunc(*args, out=bare, **kwargs)
    return call.placed(result, device) if out is None else out


_METHODS = (
    "all", "any", "argmax", "argmin", "argpartition", "argsort", "astype", "choose", "clip", "compress", "conj",
    "conjugate", "copy", "cumprod", "cumsum", "diagonal", "dot", "flatten", "max", "mean", "min", "nonzero", "prod",
    "ravel", "repeat", "reshape", "round", "searchsorted", "squeeze", "std", "sum", "swapaxes", "take", "trace",
    "transpose", "var",
)  # fmt: skip
_BINARY = (
    "add", "and", "divmod", "eq", "floordiv", "ge", "gt", "le", "lshift", "lt", "matmul", "mod", "mul", "ne", "or",
    "pow", "radd", "rand", "rdivmod", "rfloordiv", "rlshift", "rmatmul", "rmod", "rmul", "ror", "rpow", "rrshift",
    "rshift", "rsub", "rtruediv", "rxor", "sub", "truediv", "xor",
)  # fmt: skip
_INPLACE = (
    "iadd",
    "iand",
    "ifloordiv",
    "ilshift",
    "imod",
    "imul",
    "ior",
    "ipow",
    "irshift",
    "isub",
    "itruediv",
    "ixor",
)


def _method(name: str) -> Any:
    function = getattr(np.ndarray, name)

    def method(self: SimulatedArray, *args: Any, **kwargs: Any) -> Any:
        refuse_absent(name, kwargs)
        if "out" in kwargs and kwargs["out"] is None:
            del kwargs["out"]
        return ArrayCall(name).run(function, (self, *args), kwargs)

    return method


def _operator(name: str) -> Any:
    function = getattr(np.ndarray, f"__{name}__")

    def operator(self: SimulatedArray, other: Any) -> Any:
        if not isinstance(other, (SimulatedArray, *_CONSTANTS)):
            if isinstance(other, np.ndarray):
                raise TypeError(f"Unsupported type {type(other)} (__{name}__)")
            return NotImplemented
        return ArrayCall(name).run(function, (self, other), {})

    return operator


for _name in _METHODS:
    setattr(SimulatedArray, _name, _method(_name))
for _name in (*_BINARY, *_INPLACE):
    setattr(SimulatedArray, f"__{_name}__", _operator(_name))
for _name in ("__neg__", "__pos__", "__invert__", "__abs__"):
    setattr(SimulatedArray, _name, _method(_name))


def _part(name: str) -> Any:
    def get(self: SimulatedArray) -> Any:
        return ArrayCall(name).run(lambda host: getattr(host, name), (self,), {})

    def set(self: SimulatedArray, value: Any) -> None:
        get(self)[...] = value

    return property(get) if name == "T" else property(get, set)


for _name in ("T", "real", "imag"):
    setattr(SimulatedArray, _name, _part(_name))
