"""`f.profile(*inputs)`: how long each kernel of a compiled callable takes.

The driver runs as Python, and calls the native kernels one by one, on the pool as it would: each is timed on its own.
"""

import ctypes
import html
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..eager.tensor import Tensor
from ..ir.dims import parse_dim, substitute
from .errors import JitError
from .program import NativeProgram, PythonProgram
from .runtime import host, pool
from .runtime.host_ops import evaluated_op
from .runtime.loader import load_object

if TYPE_CHECKING:
    from .function import CompiledFunction
    from .specialisation import Specialisation

__all__ = ["KernelTime", "Profile", "profile"]


@dataclass
class KernelTime:
    """One kernel: what it computes, how often it ran in a call, and how long all that took, in microseconds."""

    name: str
    title: str
    calls: int
    microseconds: float
    bytes_moved: int | None = None
    flops: int | None = None

    def rates(self) -> str:
        """Bytes and operations per second, where they are known."""
        if self.microseconds <= 0:
            return ""
        parts = []
        if self.bytes_moved:
            parts.append(f"{self.bytes_moved * self.calls / self.microseconds / 1e3:.1f} GB/s")
        if self.flops:
            parts.append(f"{self.flops * self.calls / self.microseconds / 1e3:.1f} GFLOP/s")
        return ", ".join(parts)


@dataclass
class Profile:
    """The kernels of a call by the time that they took, the longest first, and the time of the whole native call."""

    name: str
    total_microseconds: float
    kernels: list[KernelTime] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.total_microseconds:,.1f} us a call"]
        for kernel in self.kernels:
            share = kernel.microseconds / max(self.total_microseconds, 1e-9)
            rates = kernel.rates()
            lines.append(
                f"  {kernel.microseconds:10,.1f} us {share:6.1%}  {kernel.calls:3}x  {kernel.title or kernel.name}"
                + (f"  ({rates})" if rates else "")
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{k.microseconds:,.1f}</td><td>{k.calls}</td><td>{html.escape(k.title or k.name)}</td>"
            f"<td>{k.rates()}</td></tr>"
            for k in self.kernels
        )
        head = "<tr><th>us</th><th>calls</th><th>kernel</th><th>rate</th></tr>"
        return f"<p>{html.escape(self.name)}: {self.total_microseconds:,.1f} us a call</p><table>{head}{rows}</table>"


class _Kernel:
    """A native kernel that notes its time."""

    def __init__(self, name: str, address: int, arity: int, returns: bool) -> None:
        result = ctypes.c_int64 if returns else None
        self.name = name
        self.address = address
        self.function = ctypes.CFUNCTYPE(result, *[ctypes.c_int64] * arity)(address)
        self.seconds = 0.0
        self.calls = 0

    def __call__(self, *arguments: int) -> Any:
        start = time.perf_counter()
        result = self.function(*arguments)
        self.seconds += time.perf_counter() - start
        self.calls += 1
        return result

    def launch(self, p: int, n: int, grain: int) -> None:
        start = time.perf_counter()
        pool.parallel_for(self.address, p, n, grain)
        self.seconds += time.perf_counter() - start
        self.calls += 1


class _HostCall:
    """Calls back into Python; those that evaluate an operation are noted as kernels are."""

    def __init__(self, kernels: dict[str, Any]) -> None:
        self.kernels = kernels

    def __call__(self, frame: int, request: int, record: int, arena: int) -> int:
        start = time.perf_counter()
        status = host.serve(request, record, arena)
        if request == host.EVALUATE:
            name = f"{evaluated_op(host.text_in(record))}, by numpy"
            noted = self.kernels.setdefault(name, _Evaluated())
            noted.seconds += time.perf_counter() - start
            noted.calls += 1
        return status


@dataclass
class _Evaluated:
    seconds: float = 0.0
    calls: int = 0


def _launch(kernel: _Kernel, p: int, n: int, grain: int, pool_address: int) -> None:
    if n > 0:
        kernel.launch(p, n, max(grain, 1))


class _ProfiledProgram(PythonProgram):
    """The driver as Python over native kernels."""

    def __init__(self, specialisation: "Specialisation", blob: bytes) -> None:
        from .codegen.source import entry_points, run_source

        module = specialisation.module()
        super().__init__(module, specialisation.exceptions)
        entries = [entry for kernel in module.kernels for entry in entry_points(kernel.source)]
        addresses = load_object(blob, [entry.name for entry in entries])
        self.kernels: dict[str, Any] = {
            e.name: _Kernel(e.name, addresses[e.name], e.arity, e.returns) for e in entries
        }  # fmt: skip
        names = {**self.kernels, "launch": _launch, "host_call": _HostCall(self.kernels)}
        self._driver = run_source(module.driver, module.driver_source, names)[module.driver]


def profile(function: "CompiledFunction", inputs: Sequence[Any], repeat: int = 20) -> Profile:
    """Time each kernel of the graph for these inputs: the least of `repeat` calls; JitError where it has no kernels.

    Arguments that the graph writes are written as by as many calls, and get back their elements afterwards.
    """
    specialisation, parameters = function._select(function._bind(tuple(inputs), {}))
    program = specialisation.program("native")
    if not isinstance(program, NativeProgram) or specialisation.bundle is None:
        reason = specialisation.fallback.reason if specialisation.fallback is not None else "it has no native code"
        raise JitError(f"{function.__name__}: there are no kernels to time: {reason}")
    call = function._bind(tuple(inputs), {})
    values = [v._array if isinstance(v, Tensor) else v for v in (*call.leaves, *parameters)]
    written = [values[argument] for argument, _ in specialisation.graph.writes]
    before = [array.copy() for array in written]
    profiled = _ProfiledProgram(specialisation, program.object)
    best: dict[str, tuple[float, int]] = {}
    total = float("inf")
    try:
        for _ in range(max(repeat, 1)):
            for kernel in profiled.kernels.values():
                kernel.seconds, kernel.calls = 0.0, 0
            profiled(values)
            for name, kernel in profiled.kernels.items():
                if kernel.calls:
                    best[name] = min(best.get(name, (float("inf"), 0)), (kernel.seconds, kernel.calls))
            start = time.perf_counter()
            program(values)
            total = min(total, time.perf_counter() - start)
    finally:
        for array, old in zip(written, before, strict=True):
            array[...] = old
    sizes, _ = specialisation.binding.bind(values)
    known = {info.name: info for info in specialisation.bundle.kernels}
    times = []
    for name, (seconds, calls) in best.items():
        info = known.get(name)
        moved, flops = (_number(text, sizes or {}) for text in ((info.bytes_moved, info.flops) if info else ("", "")))
        times.append(KernelTime(name, info.title if info else "", calls, seconds * 1e6, moved, flops))
    times.sort(key=lambda k: -k.microseconds)
    return Profile(function.__name__, total * 1e6, times)


def _number(text: str, sizes: dict[str, int]) -> int | None:
    """A size expression's value."""
    if not text:
        return None
    value = substitute(parse_dim(text), sizes)
    return value if isinstance(value, int) else None
