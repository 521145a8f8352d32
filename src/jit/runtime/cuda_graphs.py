"""Calls of a device program as one launch: its kernels are recorded once, and replayed with other inputs.

On a GPU the recording is a CUDA graph, captured from a stream by cupy; the simulator records its launches. A replay
copies the inputs to where the recorded kernels read them and the results from where they are written. Parameters are
read where they are, so a recording holds as long as they stay there.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

__all__ = ["Recorder", "Recording", "Replay", "pays_off", "record_call"]

# Bytes copied in and out that cost the device less than the host needs for one launch.
_BYTES_PER_LAUNCH = 1 << 21


class Recording(Protocol):
    """What was recorded: `begin` orders a replay behind the one before, `repeat` launches it, `copy` copies memory."""

    def begin(self) -> None: ...

    def repeat(self) -> None: ...

    def copy(self, target: Any, source: Any) -> None: ...


class Recorder(Protocol):
    """What records launches: `record(run)` calls `run`, maybe more than once, and has what the last call launched."""

    def record(self, run: Callable[[], Any]) -> Recording: ...


def pays_off(launches: int, arrays: Sequence[Any]) -> bool:
    """Whether copying these inputs and results takes the device less time than recorded launches save."""
    return sum([a.nbytes for a in arrays]) <= launches * _BYTES_PER_LAUNCH


class Replay:
    """A recorded call for inputs of certain sizes."""

    def __init__(
        self,
        inputs: Sequence[Any],
        parameters: Sequence[Any],
        results: Sequence[Any],
        recording: Recording,
    ) -> None:
        self.inputs = list(inputs)
        self.results = list(results)
        self.places = [address_of(p) for p in parameters]
        self._recording = recording
        self._read = list(parameters)  # which must not go away

    def holds(self, parameters: Sequence[Any]) -> bool:
        """Whether the parameters are where they were recorded."""
        return self.places == [p.data.ptr for p in parameters]

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """The results for other inputs of the same sizes, in new memory."""
        recording = self._recording
        recording.begin()
        for target, given in zip(self.inputs, inputs, strict=True):
            recording.copy(target, given)
        recording.repeat()
        return [result.copy() for result in self.results]


def address_of(array: Any) -> int:
    """Where an array of a device begins."""
    return int(array.data.ptr)


def record_call(
    recorder: Recorder, run: Callable[[list[Any]], list[Any]], inputs: Sequence[Any], parameters: Sequence[Any]
) -> Replay:
    """Record a call; `run(arguments)` gives its results."""
    own = [given.copy() for given in inputs]
    results: list[Any] = []

    def call() -> None:
        results[:] = run([*own, *parameters])

    recording = recorder.record(call)
    return Replay(own, parameters, results, recording)
