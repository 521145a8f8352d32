"""Per-thread switches that dispatch looks at: is gradient recording on, and is a mode (a trace) watching."""

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, contextmanager
from typing import Any

from ..ir.ops._op import Op

__all__ = [
    "Mode", "current_mode", "enable_grad", "inference_mode", "is_grad_enabled", "is_inference_mode_enabled",
    "no_grad", "placing", "set_grad_enabled", "use_devices", "use_mode",
]  # fmt: skip


class Mode:
    """Watches or replaces the execution of ops in one thread while it is active (see `use_mode`)."""

    def dispatch(self, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        """Run or record one op call and return its result."""
        raise NotImplementedError("a mode must say what an op call does")

    def written(self, target: Any, value: Any) -> None:
        """`value` is about to be written into the memory of the tensor `target`."""

    def tracked_shape(self, tensor: Any) -> tuple[int, ...]:
        """The tensor's shape, as integers that may carry where they came from."""
        shape: tuple[int, ...] = tensor._array.shape
        return shape

    def function(self, cls: Any, args: tuple[Any, ...]) -> Any:
        """The result of an `autograd.Function`, where the mode runs that itself; NotImplemented else."""
        return NotImplemented

    def former(self, target: Any) -> Any:
        """A tensor at the target's present place in the graph, where the mode keeps that; None for plain tensors."""
        return None

    def replaces_write(self, target: Any, value: Any, name: str) -> bool:
        """Whether the mode wrote `value` into `target` itself; False for plain tensors."""
        return False

    def baked(self, what: str, tensor: Any) -> None:
        """A Python value (`what`: "bool", "float", "int", "numpy", ...) is taken from a tensor's data."""

    def created(self, tensor: Any) -> None:
        """The tensor was made from Python data."""

    def gradient(self, tensor: Any, event: str) -> None:
        """A leaf's `.grad` is about to be looked at ("read"), added to ("add") or replaced ("set")."""

    def moves(self, tensor: Any, moved: Any) -> None:
        """`moved` is a copy of the tensor on another device."""

    def keeps(self, tensor: Any) -> None:
        """The tensor is state from here on, as of an optimiser: calls find it as calls before left it."""

    def options(self, values: dict[str, Any]) -> dict[str, Any]:
        """Options that code under watch reads, as `values`; its numbers may carry where they came from."""
        return values

    def note(self, kind: str, message: str) -> None:
        """Something that the code under watch decided for good, such as a layer's mode."""


class _State(threading.local):
    grad_enabled: bool = True
    inference: bool = False
    mode: Mode | None = None
    device: Any = None  # where tensors are made that no operand and no argument places; None: on the CPU


state = _State()
# Over all threads, and one where GPUs are in use: the short paths, which are numpy's, look only at this.
active_modes = 0
devices = False  # whether tensors may live on a GPU
inference_modes = 0  # likewise
_lock = threading.Lock()


def current_mode() -> Mode | None:
    """The mode that watches this thread, or None."""
    return state.mode if active_modes else None


def use_devices(used: bool) -> None:
    """Say that tensors may live on a GPU from here on, or that they no longer do."""
    global active_modes, devices
    with _lock:
        active_modes += int(used) - int(devices)
        devices = used


@contextmanager
def placing(device: Any) -> Iterator[None]:
    """Let what no operand and no argument places be made on a device (None: on the CPU) by this thread."""
    previous = state.device
    state.device = device
    try:
        yield
    finally:
        state.device = previous


@contextmanager
def use_mode(mode: Mode | None) -> Iterator[Mode | None]:
    """Let `mode` watch this thread's ops (None: let nothing watch for a while)."""
    global active_modes
    previous = state.mode
    with _lock:
        active_modes += 1
    state.mode = mode
    try:
        yield mode
    finally:
        state.mode = previous
        with _lock:
            active_modes -= 1


def is_grad_enabled() -> bool:
    """Whether operations of this thread are recorded for backward."""
    return state.grad_enabled


class set_grad_enabled(ContextDecorator):
    """Turn gradient recording on or off, at once and as a context manager.

    >>> with ingot.set_grad_enabled(False):
    ...     ingot.is_grad_enabled()
    False
    """

    def __init__(self, mode: bool) -> None:
        self._previous = [state.grad_enabled]
        self._mode = bool(mode)
        state.grad_enabled = self._mode

    def __enter__(self) -> None:
        state.grad_enabled = self._mode

    def __exit__(self, *exception: object) -> None:
        state.grad_enabled = self._previous[-1]

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:  # type: ignore[override]
        state.grad_enabled = self._previous[-1]  # used as a decorator: nothing changes until the call
        return super().__call__(function)

    def _recreate_cm(self) -> "set_grad_enabled":
        return type(self)(self._mode)


class _GradSwitch(ContextDecorator):
    _enabled = False

    def __new__(cls, *arguments: Any, **keywords: Any) -> Any:
        made = super().__new__(cls)
        if len(arguments) == 1 and inspect.isroutine(arguments[0]):  # `@no_grad` without parentheses
            made.__init__()  # type: ignore[misc]
            return made(arguments[0])
        return made

    def __init__(self) -> None:
        self._previous: list[bool] = []

    def __enter__(self) -> None:
        self._previous.append(state.grad_enabled)
        state.grad_enabled = self._enabled

    def __exit__(self, *exception: object) -> None:
        state.grad_enabled = self._previous.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:  # type: ignore[override]
        if not inspect.isgeneratorfunction(function):
            return super().__call__(function)

        @functools.wraps(function)
        def steps(*args: Any, **kwargs: Any) -> Any:
            """The generator, switched while it runs and not between its values."""
            generator = function(*args, **kwargs)
            sent = None
            while True:
                try:
                    with self._recreate_cm():
                        value = generator.send(sent)
                except StopIteration as stop:
                    return stop.value
                sent = yield value

        return steps

    def _recreate_cm(self) -> "_GradSwitch":
        return type(self)()


class no_grad(_GradSwitch):
    """Operations inside are not recorded for backward; works as a context manager and a decorator.

    >>> x = ingot.ones(2, requires_grad=True)
    >>> with ingot.no_grad():
    ...     (x * 2).requires_grad
    False
    """


class enable_grad(_GradSwitch):
    """Operations inside are recorded for backward, also within `no_grad`."""

    _enabled = True


class inference_mode(_GradSwitch):
    """As `no_grad`, and tensors made inside stay out of autograd for good.

    They can neither be saved for backward nor be written or made to require gradients outside. `inference_mode(False)`
    inside of it is like being outside.

    >>> with ingot.inference_mode():
    ...     x = ingot.ones(2)
    >>> x.is_inference()
    True
    """

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self._mode = bool(mode)
        self._previous_inference: list[bool] = []

    def __enter__(self) -> None:
        global inference_modes
        self._previous.append(state.grad_enabled)
        self._previous_inference.append(state.inference)
        state.grad_enabled, state.inference = not self._mode, self._mode
        with _lock:
            inference_modes += 1

    def __exit__(self, *exception: object) -> None:
        global inference_modes
        super().__exit__(*exception)
        state.inference = self._previous_inference.pop()
        with _lock:
            inference_modes -= 1

    def _recreate_cm(self) -> "inference_mode":
        return type(self)(self._mode)


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside `inference_mode`."""
    return state.inference
