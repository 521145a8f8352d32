"""How deep a native program's functions may call each other: as many calls as Python allows, and the thread's stack."""

import ctypes
import sys
import threading

from ...ir.recursion import recursion_limit

__all__ = ["native_limits", "unbounded_limits"]

# What a function of a program and the C library's functions that it calls may take beyond the last check.
_MARGIN = 128 * 1024
_LOWEST = -(1 << 63)

_local = threading.local()


class _Limits:
    """Two slots that a driver reads: the number of calls, and the lowest address of the stack."""

    def __init__(self, low: int) -> None:
        self.slots = (ctypes.c_int64 * 2)(0, low)
        self.address = ctypes.addressof(self.slots)


def native_limits() -> int:
    """The address of the limits for native code called from this thread; 0, for those that a driver assumes itself,
    where the system does not say where the stack ends."""
    limits: _Limits | None = getattr(_local, "native", None)
    if limits is None:
        end = _stack_end()
        if end is None:
            return 0
        limits = _local.native = _Limits(end + _MARGIN)
    limits.slots[0] = recursion_limit()
    return limits.address


def unbounded_limits() -> int:
    """The address of the limits for generated sources that run in Python, where no stack of the machine's is used."""
    limits: _Limits | None = getattr(_local, "unbounded", None)
    if limits is None:
        limits = _local.unbounded = _Limits(_LOWEST)
    limits.slots[0] = recursion_limit()
    return limits.address


def _stack_end() -> int | None:
    """The lowest address of this thread's stack; None where the system does not say."""
    try:
        libc = ctypes.CDLL(None)
        if sys.platform == "darwin":
            libc.pthread_self.restype = ctypes.c_void_p
            libc.pthread_get_stackaddr_np.restype = ctypes.c_void_p
            libc.pthread_get_stackaddr_np.argtypes = [ctypes.c_void_p]
            libc.pthread_get_stacksize_np.restype = ctypes.c_size_t
            libc.pthread_get_stacksize_np.argtypes = [ctypes.c_void_p]
            thread = libc.pthread_self()
            return int(libc.pthread_get_stackaddr_np(thread)) - int(libc.pthread_get_stacksize_np(thread))
        libc.pthread_self.restype = ctypes.c_void_p
        # A pthread_attr_t takes 56 bytes in glibc and musl.
        attributes = (ctypes.c_int64 * 32)()
        start, size = ctypes.c_void_p(), ctypes.c_size_t()
        if libc.pthread_getattr_np(ctypes.c_void_p(libc.pthread_self()), attributes) == 0:
            found = libc.pthread_attr_getstack(attributes, ctypes.byref(start), ctypes.byref(size))
            libc.pthread_attr_destroy(attributes)
            if found == 0 and start.value:
                return start.value
    except (OSError, AttributeError):
        pass
    return None
