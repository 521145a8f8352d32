"""Running kernels on a GPU: PTX is loaded once per device, and launched with addresses and numbers.

`cupy` loads and launches; nothing here compiles. The threads of a launch follow from sizes, here and in the simulator.
"""

import contextlib
import re
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["CapturedCall", "CupyLauncher", "Launcher", "Threads", "packed", "threads_of"]

# Operations of a product from which on cuBLAS computes it.
_LIBRARY_WORK = 1 << 19

Threads = tuple[tuple[int, ...], tuple[int, ...], int]
"""Blocks, threads of a block, and how many rows a block handles at a time."""


class Launcher(Protocol):
    """What runs kernels: the GPU, or the simulator."""

    def launch(self, kernel: Any, threads: Threads, shared: int, arguments: Sequence[Any]) -> None:
        """Run a kernel (a `DeviceKernel` or what a file holds of one) on flat arrays of the device and numbers."""


def threads_of(kind: str, n: int, length: int, fixed: tuple[int, int], threads: int, warp: int, most: int) -> Threads:
    """The blocks and threads of a launch (see `codegen.cuda.device_text.Grid`).

    Rows of up to eight elements a lane are handled by a warp each, longer ones by a block.

    >>> threads_of("elements", 1000, 1, (1, 1), 256, 32, 2112)
    ((4,), (256, 1), 1)
    >>> threads_of("rows", 100, 64, (1, 1), 256, 32, 2112)
    ((13,), (32, 8), 8)
    """
    if kind == "blocks":
        return (max(n, 1),), fixed, 1
    if kind == "elements":
        return (max(1, min(-(-n // threads), most)),), (threads, 1), 1
    if length <= 8 * warp:
        teams = threads // warp
        return (max(1, min(-(-n // teams), most)),), (warp, teams), teams
    return (max(1, min(n, most)),), (threads, 1), 1


class CupyLauncher:
    """Launches through cupy on the current device and stream. `ptx_of(kernel, architecture)` gives a kernel's code."""

    def __init__(self, cupy: Any, ptx_of: Callable[[Any, tuple[int, int]], str]) -> None:
        self.cupy = cupy
        self.ptx_of = ptx_of
        self._functions: dict[tuple[str, int], Any] = {}
        self._lock = threading.Lock()
        self._noting = _Noting()

    def function(self, kernel: Any) -> Any:
        """The loaded kernel on the current device."""
        device = int(self.cupy.cuda.runtime.getDevice())
        key = (kernel.name, device)
        found = self._functions.get(key)
        if found is not None:
            return found
        with self._lock:
            properties = self.cupy.cuda.runtime.getDeviceProperties(device)
            ptx = self.ptx_of(kernel, (properties["major"], properties["minor"]))
            # The public way to load PTX is from a file; the driver keeps what it makes of it in its own cache.
            with tempfile.TemporaryDirectory(prefix="ingot-ptx-") as folder:
                path = Path(folder, "kernel.ptx")
                path.write_text(ptx)
                try:
                    self._functions[key] = self.cupy.RawModule(path=str(path)).get_function(kernel.name)
                except Exception as error:  # of the driver: cupy has several classes
                    version = re.search(r"^\.version (\S+)", ptx, re.MULTILINE)
                    raise RuntimeError(
                        f"the driver does not load the kernel {kernel.name} ({error}). Its code is PTX "
                        f"{version[1] if version else 'of an unknown version'}, which an older driver does not know: "
                        "update the driver, or install a version of nvidia-cuda-nvcc that is not newer than it"
                    ) from error
            return self._functions[key]

    def prefers_library(self, op: str, work: int) -> bool:
        """Whether cuBLAS computes a product: all but small ones, where one launch with what follows is faster."""
        return op in ("matmul", "linear", "conv2d") and work >= _LIBRARY_WORK

    def multiply(self, left: Any, right: Any, out: Any, tf32: bool) -> None:
        """out[b] = left @ right[b] by cuBLAS, on contiguous float arrays; `tf32` lets it round what it multiplies."""
        cublas, runtime = self.cupy.cuda.cublas, self.cupy.cuda.runtime
        batches, depth, columns = right.shape
        rows, dtype = left.shape[0], out.dtype
        is_double = dtype.itemsize == 8
        kind = runtime.CUDA_R_64F if is_double else runtime.CUDA_R_32F
        compute = cublas.CUBLAS_COMPUTE_64F if is_double else cublas.CUBLAS_COMPUTE_32F
        if tf32 and not is_double:
            compute = cublas.CUBLAS_COMPUTE_32F_FAST_TF32
        one, zero = np.ones(1, dtype), np.zeros(1, dtype)
        # cuBLAS counts along columns: the transposed result is the product of the transposed operands.
        cublas.gemmStridedBatchedEx(
            self.cupy.cuda.get_cublas_handle(), cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_N, columns, rows, depth,
            one.ctypes.data, right.data.ptr, kind, columns, depth * columns, left.data.ptr, kind, depth, 0,
            zero.ctypes.data, out.data.ptr, kind, columns, rows * columns, batches, compute, cublas.CUBLAS_GEMM_DEFAULT,
        )  # fmt: skip

    records_library = True  # what else runs on the stream is recorded, too

    def record(self, run: Callable[[], Any]) -> "CapturedCall":
        """Capture what a call launches as a CUDA graph, on a stream of its own and in memory of its own.

        The call runs once before: that loads kernels and cuBLAS, and takes the memory that the capture then uses, so
        that nothing but launches is left. What it allocates comes from a pool that nobody else allocates from, since
        the graph uses that memory whenever it is launched.
        """
        cuda = self.cupy.cuda
        stream, pool = cuda.Stream(non_blocking=True), cuda.MemoryPool()
        cuda.get_current_stream().synchronize()  # what the call reads is there
        with stream, cuda.using_allocator(pool.malloc):
            run()
            stream.synchronize()
            # Relaxed: should memory be taken from the device after all, that is no error.
            stream.begin_capture(cuda.runtime.streamCaptureModeRelaxed)
            try:
                run()
            except BaseException:
                with contextlib.suppress(Exception):  # the capture is invalid, which is not what went wrong
                    stream.end_capture()
                raise
            graph = stream.end_capture()
        return CapturedCall(cuda, graph, pool)

    def launch(self, kernel: Any, threads: Threads, shared: int, arguments: Sequence[Any]) -> None:
        noted = self._noting.launches
        if noted is not None:
            noted.append((kernel, threads, shared, list(arguments)))
        given, _ = packed(kernel, arguments)
        grid, block, _ = threads
        self.function(kernel)(grid, block, tuple(given), shared_mem=shared)

    def noted(self, run: Callable[[], Any]) -> list[tuple[Any, Threads, int, list[Any]]]:
        """What this thread launches in a call."""
        launches: list[tuple[Any, Threads, int, list[Any]]] = []
        self._noting.launches = launches
        try:
            run()
        finally:
            self._noting.launches = None
        return launches


class _Noting(threading.local):
    launches: list[tuple[Any, Threads, int, list[Any]]] | None = None


def packed(kernel: Any, arguments: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """A kernel's arguments as the driver takes them, and which of these are addresses, in the order of the arrays."""
    given: list[Any] = []
    addresses: list[int] = []
    for kind, argument in zip(kernel.kinds, arguments, strict=True):
        if kind.endswith("[]"):
            # Numba's flat array: two addresses that it does not use here, sizes, the data, shape and stride.
            size, count = argument.itemsize, argument.size
            addresses.append(len(given) + 4)
            given.extend(np.int64(number) for number in (0, 0, count, size, int(argument.data.ptr), count, size))
        elif kind.endswith("*"):
            addresses.append(len(given))
            given.append(np.int64(argument.data.ptr))
        else:
            given.append(np.float64(argument) if kind == "f64" else np.int64(argument))
    return given, addresses


class CapturedCall:
    """A CUDA graph, launched on the current stream."""

    def __init__(self, cuda: Any, graph: Any, pool: Any) -> None:
        self._now = cuda.get_current_stream
        self._launch = graph.launch
        self._kept = (graph, pool)
        self._last: Any = None

    def begin(self) -> None:
        """Replays on different streams wait for each other: they have one place for their inputs and results."""
        now = self._now()
        if self._last is not None and self._last != now:
            now.wait_event(self._last.record())
        self._last = now

    def repeat(self) -> None:
        self._launch(self._last)

    def copy(self, target: Any, source: Any) -> None:
        target.data.copy_from_device_async(source.data, target.nbytes)
