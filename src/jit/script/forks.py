"""`jit.fork` and `jit.wait`: tasks that programs written for TorchScript start; here they run at once, in order."""

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Future", "fork", "wait"]


class Future(NamedTuple):
    """What `fork` gives: a task that is done."""

    result: Any

    def wait(self) -> Any:
        """The result of the task."""
        return self.result

    def done(self) -> bool:
        """Whether the task is done, which it always is."""
        return True

    def value(self) -> Any:
        """The result of the task."""
        return self.result


def fork(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Future:
    """Call a function as a task; the result is there at once, since kernels are what runs in parallel.

    >>> ingot.jit.wait(ingot.jit.fork(max, 1, 2))
    2
    """
    return Future(function(*arguments, **keywords))


def wait(future: Future) -> Any:
    """The result of a task that `fork` started."""
    return future.result
