"""Calls of a device program as one launch: its kernels are recorded once, and replayed with other inputs.

On a GPU the recording is a CUDA graph, captured from the stream by cupy; the simulator records its launches. A replay
copies the inputs to where the recorded kernels read them and the results from where they are written. Parameters are
read where they are, so a recording holds as long as they stay there.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

__all__ = ["Recorder", "Replay", "record_call"]


class Recorder(Protocol):
    """What records launches: `record(run)` calls `run` and gives a function that repeats what was launched."""

    def record(self, run: Callable[[], Any]) -> Callable[[], None]: ...


class Replay:
    """A recorded call for inputs of certain sizes."""

    def __init__(
        self,
        inputs: Sequence[Any],
        parameters: Sequence[Any],
        results: Sequence[Any],
        repeat: Callable[[], None],
        kept: Sequence[Any],
    ) -> None:
        self.inputs = list(inputs)
        self.results = list(results)
        self.places = [address_of(p) for p in parameters]
        self._repeat = repeat
        self._kept = kept  # memory that the recorded kernels use

    def holds(self, parameters: Sequence[Any]) -> bool:
        """Whether the parameters are where they were recorded."""
        return self.places == [address_of(p) for p in parameters]

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """The results for other inputs of the same sizes, in new memory."""
        for target, given in zip(self.inputs, inputs, strict=True):
            target[...] = given
        self._repeat()
        return [result.copy() for result in self.results]


def address_of(array: Any) -> int:
    """Where an array of a device begins."""
    return int(array.data.ptr)


def record_call(
    recorder: Recorder,
    run: Callable[[list[Any]], tuple[list[Any], list[Any]]],
    inputs: Sequence[Any],
    parameters: Sequence[Any],
) -> Replay:
    """Record a call. `run(arguments)` gives its results, and everything that it allocated."""
    own = [given.copy() for given in inputs]
    found: list[tuple[list[Any], list[Any]]] = []
    repeat = recorder.record(lambda: found.append(run([*own, *parameters])))
    ((results, kept),) = found
    return Replay(own, parameters, results, repeat, [kept, list(parameters)])
