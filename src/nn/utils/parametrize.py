"""Parameters that are computed from others: `register_parametrization` and what it keeps."""

import contextlib
from collections.abc import Iterator
from typing import Any

from ...eager.containers import ModuleDict, ModuleList
from ...eager.modes import no_grad
from ...eager.module import Module
from ...eager.parameter import Parameter
from ...eager.tensor import Tensor

__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations",
    "type_before_parametrizations",
]  # fmt: skip

_cache_depth = 0
_cache: dict[int, Any] = {}


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Within it each parametrised tensor is computed once."""
    global _cache_depth
    _cache_depth += 1
    try:
        yield
    finally:
        _cache_depth -= 1
        if not _cache_depth:
            _cache.clear()


class ParametrizationList(ModuleList):
    """The parametrisations of one tensor, in order, and the original tensor or tensors (original0, original1, ...)."""

    def __init__(self, modules: list[Module], original: Tensor) -> None:
        super().__init__(modules)
        value: Any = original
        with no_grad():
            for module in reversed(modules):
                inverse = getattr(module, "right_inverse", None)
                value = value if inverse is None else inverse(value)
        self.is_tensor = isinstance(value, Tensor)
        if self.is_tensor:
            self._keep("original", value, original)
            self.ntensors = 1
        else:
            self.ntensors = len(value)
            for i, part in enumerate(value):
                self._keep(f"original{i}", part, original)

    def _keep(self, name: str, value: Tensor, like: Tensor) -> None:
        if isinstance(like, Parameter):
            self.register_parameter(name, Parameter(value.detach(), like.requires_grad))
        else:
            self.register_buffer(name, value)

    def originals(self) -> tuple[Any, ...]:
        """The tensors that the parametrised one is computed from."""
        if self.is_tensor:
            return (self.original,)
        return tuple(getattr(self, f"original{i}") for i in range(self.ntensors))

    def forward(self) -> Any:
        first, *others = self
        value = first(*self.originals())
        for module in others:
            value = module(value)
        return value


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module has parametrisations, or one for this tensor."""
    lists = module._modules.get("parametrizations")
    if lists is None:
        return False
    return len(lists) > 0 if tensor_name is None else tensor_name in lists


def type_before_parametrizations(module: Module) -> type[Module]:
    """The module's own class: one with parametrisations has a subclass made for it."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def _property(name: str) -> property:
    def get(self: Any) -> Any:
        found = self.parametrizations[name]
        if not _cache_depth:
            return found()
        key = id(found)
        if key not in _cache:
            _cache[key] = found()
        return _cache[key]

    def put(self: Any, value: Any) -> None:
        found = self.parametrizations[name]
        with no_grad():
            for module in reversed(list(found)):
                inverse = getattr(module, "right_inverse", None)
                if inverse is None:
                    raise RuntimeError(f"{name!r} is parametrised without a right_inverse, so it cannot be assigned to")
                value = inverse(value)
            for target, part in zip(found.originals(), (value,) if found.is_tensor else value, strict=True):
                target.copy_(part)

    return property(get, put)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute a parameter or buffer as `parametrization(original)`; the original is learnt in its place.

    A method `right_inverse` of the parametrisation gives the original, or a tuple of originals, from a value.
    ValueError where the computed tensor has another shape or dtype (unless `unsafe`).

    >>> class Symmetric(ingot.nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).mT
    >>> layer = ingot.nn.Linear(3, 3)
    >>> layer = ingot.nn.utils.parametrize.register_parametrization(layer, "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.mT).all())
    True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        lists = module._modules["parametrizations"][tensor_name]
        lists.append(parametrization)
        return module
    original = module._parameters.get(tensor_name)
    original = module._buffers.get(tensor_name) if original is None else original
    if original is None:
        raise ValueError(f"Module '{type(module).__name__}' does not have a parameter or buffer named '{tensor_name}'")
    made = ParametrizationList([parametrization], original)
    if not unsafe:
        with no_grad():
            value = made()
        if not isinstance(value, Tensor) or value.shape != original.shape or value.dtype != original.dtype:
            raise ValueError(
                f"the parametrised {tensor_name!r} is {value if not isinstance(value, Tensor) else list(value.shape)}, "
                f"expected a tensor of shape {list(original.shape)} and dtype {original.dtype}; register with "
                f"unsafe=True where that is meant"
            )
    if not is_parametrized(module):
        cls = type(module)
        module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), {"__module__": cls.__module__})
        module.add_module("parametrizations", ModuleDict())
    module._parameters.pop(tensor_name, None)
    module._buffers.pop(tensor_name, None)
    module._modules["parametrizations"][tensor_name] = made
    setattr(type(module), tensor_name, _property(tensor_name))
    return module


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Put an ordinary parameter back: the computed one, or the original where `leave_parametrized` is False."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {type(module).__name__} does not have a parametrization on {tensor_name}")
    lists = module._modules["parametrizations"]
    found = lists[tensor_name]
    originals = found.originals()
    if leave_parametrized:
        with no_grad():
            value = found().detach().clone()
    elif found.is_tensor:
        value = originals[0].detach()
    else:
        raise ValueError("Cannot leave unparametrized (`leave_parametrized=False`) a tensor that comes from several")
    delattr(type(module), tensor_name)
    del lists[tensor_name]
    if not len(lists):
        del module._modules["parametrizations"]
        module.__class__ = type(module).__bases__[0]
    if isinstance(originals[0], Parameter):
        module.register_parameter(tensor_name, Parameter(value, originals[0].requires_grad))
    else:
        module.register_buffer(tensor_name, value)
    return module
