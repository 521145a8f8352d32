"""Streams and events: the order of work on a GPU, and how long it takes."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from ..eager.device import as_device, device
from .backends import backend

__all__ = ["Event", "Stream", "current_stream", "default_stream", "set_stream", "stream"]


class _Current(threading.local):
    streams: dict[int, "Stream"] | None = None


_current = _Current()


def _place(value: Any) -> device:
    return as_device("cuda" if value is None else value)


class Stream:
    """A queue of work on a GPU: what is in one queue runs in order, what is in different ones may run at once.

    >>> with ingot.cuda.simulate():
    ...     side = ingot.cuda.Stream()
    ...     with ingot.cuda.stream(side):
    ...         x = ingot.ones(2, device="cuda")
    ...     ingot.cuda.current_stream().wait_stream(side)
    """

    def __init__(self, device: Any = None, priority: int = 0, *, _default: bool = False) -> None:
        self.device = _place(device)
        self.priority = priority
        assert self.device.index is not None
        active = backend()
        self.native = active.default_stream() if _default else active.stream(self.device.index, priority)

    @property
    def cuda_stream(self) -> int:
        """The address of the stream, for other libraries; 0 is the default one."""
        return int(getattr(self.native, "ptr", 0))

    def query(self) -> bool:
        """Whether all that was put into the stream is done."""
        return bool(self.native.done) if self.native is not None else True

    def synchronize(self) -> None:
        """Wait until all that was put into the stream is done."""
        if self.native is not None:
            self.native.synchronize()

    def record_event(self, event: "Event | None" = None) -> "Event":
        """An event that is over when what is in the stream now is done."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: "Event") -> None:
        """Let what follows in the stream wait for an event."""
        if self.native is not None and event.native is not None:
            self.native.wait_event(event.native)

    def wait_stream(self, stream: "Stream") -> None:
        """Let what follows in the stream wait for what is in another now."""
        self.wait_event(stream.record_event())

    def __enter__(self) -> "Stream":
        self._entered = stream(self)
        self._entered.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._entered.__exit__(*exception)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self.device, self.native) == (other.device, other.native)

    def __hash__(self) -> int:
        return hash((self.device, self.cuda_stream))

    def __repr__(self) -> str:
        return f"<ingot.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"


class Event:
    """A moment in a stream: to wait for, and to measure times between.

    >>> with ingot.cuda.simulate():
    ...     start, end = (ingot.cuda.Event(enable_timing=True) for _ in range(2))
    ...     start.record(); end.record(); ingot.cuda.synchronize()
    ...     start.elapsed_time(end) >= 0
    True
    """

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self.enable_timing = enable_timing
        self.native = backend().event(enable_timing)
        self._time: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Put the event into a stream, the current one unless another is given."""
        stream = current_stream() if stream is None else stream
        self._time = time.perf_counter()
        if self.native is not None:
            self.native.record(stream.native)

    def wait(self, stream: Stream | None = None) -> None:
        """Let what follows in a stream wait for the event."""
        (current_stream() if stream is None else stream).wait_event(self)

    def query(self) -> bool:
        """Whether the event is over."""
        return bool(self.native.done) if self.native is not None else True

    def synchronize(self) -> None:
        """Wait until the event is over."""
        if self.native is not None:
            self.native.synchronize()

    def elapsed_time(self, end_event: "Event") -> float:
        """Milliseconds from this event to another; RuntimeError unless both measure time and were recorded."""
        if not (self.enable_timing and end_event.enable_timing):
            raise RuntimeError("Both events must be created with argument 'enable_timing=True'.")
        if self._time is None or end_event._time is None:
            raise RuntimeError("Both events must be recorded before calculating elapsed time.")
        if self.native is None:
            return (end_event._time - self._time) * 1000.0
        return float(backend().elapsed(self.native, end_event.native))


def default_stream(device: Any = None) -> Stream:
    """The stream of a GPU that work goes to where no other was chosen."""
    return Stream(device, _default=True)


def current_stream(device: Any = None) -> Stream:
    """The stream of a GPU that this thread's work goes to."""
    place = _place(device)
    assert place.index is not None
    return (_current.streams or {}).get(place.index) or default_stream(place)


def set_stream(stream: Stream | None) -> None:
    """Let this thread's work on the stream's GPU go to it."""
    if stream is None:
        return
    streams = _current.streams = dict(_current.streams or {})
    assert stream.device.index is not None
    streams[stream.device.index] = stream
    if stream.native is not None:
        stream.native.use()


@contextlib.contextmanager
def stream(stream: Stream | None) -> Iterator[None]:
    """Let this thread's work go to a stream, on its GPU, while this lasts; None changes nothing."""
    if stream is None:
        yield
        return
    active = backend()
    assert stream.device.index is not None
    previous, number = _current.streams, active.current()
    with active.on(stream.device.index):
        before = current_stream(stream.device)
        set_stream(stream)
        try:
            yield
        finally:
            if before.native is not None:
                before.native.use()
            _current.streams = previous
    assert active.current() == number
