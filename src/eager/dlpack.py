"""The part of DLPack that numpy does not do: reading and changing the element type that a capsule states.

A capsule named "dltensor" holds a DLManagedTensor, which begins with a DLTensor: data pointer, device (two int32),
number of dimensions (int32), element type (code uint8, bits uint8, lanes uint16), ... (dlpack.h, version 0 structs).
"""

import ctypes
from typing import Any

import numpy as np

__all__ = ["DLPACK_BFLOAT", "DLPACK_UINT", "Capsule", "dtype_code", "retyped", "writable"]

DLPACK_UINT = 1
DLPACK_BFLOAT = 4


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    )


_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype = ctypes.c_void_p
_pointer_of.argtypes = (ctypes.py_object, ctypes.c_char_p)
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype = ctypes.c_int
_is_valid.argtypes = (ctypes.py_object, ctypes.c_char_p)


def _view(capsule: Any) -> Any:
    """The tensor that a capsule of the unversioned kind holds; None for others."""
    if not _is_valid(capsule, b"dltensor"):
        return None
    return ctypes.cast(_pointer_of(capsule, b"dltensor"), ctypes.POINTER(_Tensor)).contents


def dtype_code(capsule: Any) -> int | None:
    """The kind of element that the capsule states; None where it is of another kind of capsule."""
    found = _view(capsule)
    return None if found is None else int(found.code)


def retyped(capsule: Any, code: int) -> Any:
    """The capsule, stating another kind of element of the same width."""
    found = _view(capsule)
    if found is None:
        raise BufferError("DLPack: expected a capsule named 'dltensor' that nobody has taken yet")
    found.code = code
    return capsule


class Capsule:
    """A capsule as the object that consumers ask for one."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        found = _view(self._capsule)
        return (1, 0) if found is None else (found.device_type, found.device_id)


class _Memory:
    """An array's memory, as the array interface tells it: writable, and alive as long as this is."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array = array
        described = dict(array.__array_interface__)
        described["data"] = (described["data"][0], False)
        self.__array_interface__ = described


def writable(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same memory as an array that can be written: numpy takes what old capsules hold for read-only."""
    return array if array.flags.writeable or not array.size else np.asarray(_Memory(array))
