"""A stand-in for cupy's launching that notes launches and keeps the rules of stream capture.

While a stream captures, what would wait for the device, load code, copy from or to the host, or take memory that others
use is an error, as the driver's. A graph launches what was captured, if all memory that it uses is still there.
"""

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ingot.cuda import simulator

__all__ = ["CaptureError", "StrictCupy"]


class CaptureError(RuntimeError):
    """What the driver says of a call that is not allowed while a stream captures."""


class _Pool:
    """A memory pool of its own, which must outlive the graphs captured in it."""

    def __init__(self) -> None:
        self.taken = 0

    def malloc(self, size: int) -> None:
        self.taken += size


class StrictCupy:
    """The part of cupy that launches: `launches` are those done so far, by hand or by a graph, as `note` has them."""

    def __init__(self) -> None:
        self.launches: list[tuple[str, Any, Any, Any, int]] = []
        self.files: list[str] = []
        self.events: list[str] = []  # captures, waits and launches of graphs, in order
        self.refuses = False  # whether captures turn out to be invalid
        self.capturing: Any = None
        self._local = threading.local()
        outer = self

        class Stream:
            def __init__(self, non_blocking: bool = False, name: str = "side") -> None:
                self.non_blocking = non_blocking
                self.name = name
                self.captured: list[Any] = []

            def __enter__(self) -> "Stream":
                outer.streams.append(self)
                return self

            def __exit__(self, *error: object) -> None:
                outer.streams.pop()

            def synchronize(self) -> None:
                outer.forbid("cudaStreamSynchronize")

            def record(self) -> str:
                outer.forbid("cudaEventRecord of another stream")
                return f"end of {self.name}"

            def wait_event(self, event: str) -> None:
                outer.events.append(f"{self.name} waits for {event}")

            def begin_capture(self, mode: int) -> None:
                assert self.non_blocking and mode == 2 and outer.capturing is None
                outer.events.append("capture")
                outer.capturing = self
                device = simulator.current()
                self.copied = (device, device.copied_in, device.copied_out)

            def end_capture(self) -> Any:
                assert outer.capturing is self
                outer.capturing = None
                device, copied_in, copied_out = self.copied
                if outer.refuses or (copied_in, copied_out) != (device.copied_in, device.copied_out):
                    raise CaptureError("cudaErrorStreamCaptureInvalidated")
                return outer.graph(list(self.captured), outer.pools[-1] if outer.pools else None)

        self.streams: list[Stream] = [Stream(name="default")]
        self.pools: list[Any] = []
        runtime = SimpleNamespace(
            getDevice=lambda: 0,
            getDeviceProperties=lambda index: {"major": 9, "minor": 0},
            streamCaptureModeRelaxed=2,
        )
        self.cuda = SimpleNamespace(
            runtime=runtime,
            Stream=Stream,
            MemoryPool=_Pool,
            using_allocator=self.using_allocator,
            get_current_stream=lambda: self.streams[-1],
        )

    def forbid(self, call: str) -> None:
        """CaptureError while a stream captures."""
        if self.capturing is not None:
            raise CaptureError(f"cudaErrorStreamCaptureUnsupported: {call}")

    @contextlib.contextmanager
    def using_allocator(self, allocator: Callable[[int], None]) -> Iterator[None]:
        device = simulator.current()
        take = type(device).take

        def taken(count: int) -> None:
            allocator(count)
            take(device, count)

        self.pools.append(allocator.__self__)  # type: ignore[attr-defined]
        device.take = taken  # type: ignore[method-assign]
        try:
            yield
        finally:
            del device.take  # type: ignore[method-assign]
            self.pools.pop()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Refuse memory from the pool of all while a stream captures."""
        device = simulator.current()
        take = type(device).take

        def taken(self_: Any, count: int) -> None:
            if not self.pools:
                self.forbid("cudaMalloc")
            take(self_, count)

        type(device).take = taken  # type: ignore[method-assign]
        try:
            yield
        finally:
            type(device).take = take  # type: ignore[method-assign]
        del device

    def graph(self, captured: list[Any], pool: Any) -> Any:
        kept = weakref.ref(pool) if pool is not None else None

        def launch(stream: Any = None) -> None:
            assert kept is None or kept() is not None, "the memory of the graph is gone"
            self.events.append(f"graph on {(stream or self.streams[-1]).name}")
            self.launches.extend(captured)

        return SimpleNamespace(launch=launch)

    def RawModule(self, path: str) -> Any:
        self.forbid("cuModuleLoad")
        self.files.append(Path(path).read_text())
        return SimpleNamespace(get_function=lambda name: lambda *args, **kw: self.note(name, *args, **kw))

    def note(self, name: str, grid: Any, block: Any, args: Any, shared_mem: int = 0) -> None:
        launch = (name, grid, block, args, shared_mem)
        if self.capturing is not None:
            assert self.streams[-1] is self.capturing
            self.capturing.captured.append(launch)
        else:
            self.launches.append(launch)
