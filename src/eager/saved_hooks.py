"""Hooks that see what is saved for backward: `autograd.graph.saved_tensors_hooks` and what is made of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from . import modes
from .hooks import RemovableHandle
from .tape import Node, Saved, settings
from .tensor import StaleTensor, Tensor, wrap

__all__ = [
    "disable_saved_tensors_hooks", "pack", "pack_operands", "register_multi_grad_hook", "save_on_cpu",
    "saved_tensors_hooks",
]  # fmt: skip


class _Packed:
    """What `pack` made of a saved tensor, and how to get a tensor back."""

    def __init__(self, tensor: Tensor, hooks: tuple[Callable[[Any], Any], Callable[[Any], Any]]) -> None:
        self.shape, self.dtype = tuple(tensor.shape), tensor.dtype
        self.unpack = hooks[1]
        with modes.no_grad():
            self.kept = hooks[0](tensor.detach())

    def tensor(self) -> Tensor:
        with modes.no_grad():
            found = self.unpack(self.kept)
        if not isinstance(found, Tensor):
            raise TypeError(
                f"Output of saved tensor unpack_hook expected to be a Tensor but got {type(found).__name__}"
            )
        return found

    def unpacked(self, saved: Saved) -> Tensor:
        """The tensor in its place in the graph; unpacked where its values are read."""
        made = _Unpacked(self)
        made._requires_grad, made._node, made._output_index = saved.needed, saved.node, saved.index
        if (
            saved.needed and saved.node is None and modes.state.grad_enabled
        ):  # a leaf, which second derivatives must find
            return saved.tensor
        return made


class _Unpacked(StaleTensor):
    def __init__(self, packed: _Packed) -> None:
        super().__init__(packed.shape, packed.dtype, "")
        self._packed = packed
        self._found: Any = None

    @property
    def _array(self) -> Any:  # type: ignore[override]
        if self._found is None:
            self._found = self._packed.tensor()._array
        return self._found


def pack_operands(node: Node) -> None:
    """Put what the hooks make of a node's operands in their place."""
    for item in node._inputs():
        if isinstance(item, Saved) and item.stand_in is None:
            item.stand_in = _Packed(item.tensor, settings.saved_hooks[-1])
            if item.node is not None or not item.needed:
                item.tensor = None


def pack(tensor: Tensor) -> Any:
    """A function that gives a saved tensor back, through the hooks that are active now; None where there are none."""
    if not settings.saved_hooks:
        return None
    packed, node, index = _Packed(tensor, settings.saved_hooks[-1]), tensor.grad_fn, tensor._output_index
    requires_grad = tensor.requires_grad

    def again() -> Tensor:
        found = wrap(packed.tensor()._array)
        found._requires_grad, found._node, found._output_index = requires_grad and node is not None, node, index
        return found

    return again


class saved_tensors_hooks:
    """Inside, `pack_hook(tensor)` says what is kept of a tensor that backward needs; `unpack_hook` gives it back.

    >>> x = ingot.ones(2, requires_grad=True)
    >>> with ingot.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(), ingot.from_numpy):
    ...     y = x * x
    >>> y.sum().backward(); x.grad
    tensor([2., 2.])
    """

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        if settings.hooks_disabled is not None:
            raise RuntimeError(settings.hooks_disabled)
        settings.saved_hooks = (*settings.saved_hooks, (self.pack_hook, self.unpack_hook))

    def __exit__(self, *exception: object) -> None:
        settings.saved_hooks = settings.saved_hooks[:-1]


class save_on_cpu(saved_tensors_hooks):
    """Keep what backward needs in the host's memory: copies, as all tensors are there already."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda tensor: tensor.clone(), lambda kept: kept)  # type: ignore[attr-defined]


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Inside, `saved_tensors_hooks` raises a RuntimeError with this message."""
    previous = settings.hooks_disabled
    settings.hooks_disabled = error_message
    try:
        yield
    finally:
        settings.hooks_disabled = previous


def register_multi_grad_hook(tensors: Sequence[Tensor], fn: Callable[..., None], *, mode: str = "all") -> Any:
    """Call `fn(gradients)` when all of the tensors' gradients are there (None for those without); with mode "any",
    `fn(gradient)` for the first.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    found: dict[int, Any] = {}
    wanted = [t for t in tensors if t.requires_grad]

    def hook_of(index: int) -> Callable[[Any], None]:
        def hook(gradient: Any) -> None:
            if mode == "any":
                if not found:
                    fn(gradient)
                found[index] = gradient
                if len(found) == len(wanted):
                    found.clear()
                return
            found[index] = gradient
            if len(found) == len(wanted):
                gradients = [found.get(i) for i in range(len(tensors))]
                found.clear()
                fn(gradients)

        return hook

    handles = [t.register_hook(hook_of(i)) for i, t in enumerate(tensors) if t.requires_grad]
    return _Handles(handles)


class _Handles:
    def __init__(self, handles: list[RemovableHandle]) -> None:
        self._handles = handles

    def remove(self) -> None:
        """Take all hooks out."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> "_Handles":
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()
