"""Pruning: masks on parameters, by size or at random, over single elements or whole slices."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...eager.creation import ones_like, tensor
from ...eager.device import host_array
from ...eager.module import Module
from ...ir.random_state import default_generator

__all__ = [
    "BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured", "PruningContainer",
    "RandomStructured", "RandomUnstructured", "custom_from_mask", "global_unstructured", "identity", "is_pruned",
    "l1_unstructured", "ln_structured", "random_structured", "random_unstructured", "remove",
]  # fmt: skip


def _count(amount: float, size: int) -> int:
    """How many of `size` an amount is: a number, or a share of them."""
    if isinstance(amount, int):
        if amount < 0:
            raise ValueError(f"amount={amount} should be a non-negative integer, or a float in the range [0.0, 1.0]")
        if amount > size:
            raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
        return amount
    if not 0.0 <= amount <= 1.0:
        raise ValueError(f"amount={amount} should be a float in the range [0.0, 1.0]")
    return round(amount * size)


class BasePruningMethod(ABC):
    """A way to prune: says the mask, and multiplies a parameter with it before each call of the module."""

    PRUNING_TYPE = "unstructured"
    _tensor_name: str

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The mask for the importance scores `t`: a part of the default mask."""

    def apply_mask(self, module: Module) -> Any:
        """The original parameter times the mask."""
        original = getattr(module, f"{self._tensor_name}_orig")
        return original * getattr(module, f"{self._tensor_name}_mask").to(original.dtype)

    def prune(self, t: Any, default_mask: Any = None, importance_scores: Any = None) -> Any:
        """A tensor pruned by importance scores, its own elements by default."""
        scores = t if importance_scores is None else importance_scores
        mask = ones_like(t.detach()) if default_mask is None else default_mask
        return t * self.compute_mask(scores, mask).to(t.dtype)

    @classmethod
    def apply(cls, module: Module, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any) -> Any:
        """Prune a parameter: it becomes `name_orig`, the mask is a buffer `name_mask`; more masks add up."""
        method: Any = cls(*args, **kwargs)
        method._tensor_name = name
        earlier = [
            (key, hook)
            for key, hook in module._forward_pre_hooks.items()
            if isinstance(hook, BasePruningMethod) and hook._tensor_name == name
        ]
        if earlier:
            key, hook = earlier[0]
            container = hook if isinstance(hook, PruningContainer) else PruningContainer(hook)
            container._tensor_name = name
            container.add_pruning_method(method)
            method = container
        original = getattr(module, f"{name}_orig" if earlier else name)
        scores = original if importance_scores is None else importance_scores
        if tuple(scores.shape) != tuple(original.shape):
            raise AssertionError(
                f"importance_scores should have the same shape as parameter {name} of {type(module).__name__}"
            )
        default = getattr(module, f"{name}_mask") if earlier else ones_like(original.detach())
        mask = method.compute_mask(scores.detach(), default.detach())
        if earlier:
            del module._forward_pre_hooks[key]
            getattr(module, f"{name}_mask").copy_(mask)
        else:
            module.register_parameter(f"{name}_orig", module._parameters.pop(name))
            module.register_buffer(f"{name}_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def remove(self, module: Module) -> None:
        """Make pruning permanent: the pruned values become the parameter again."""
        name = self._tensor_name
        value = self.apply_mask(module).detach()
        original = module._parameters.pop(f"{name}_orig")
        del module._buffers[f"{name}_mask"]
        module.__dict__.pop(name, None)
        original.detach().copy_(value)  # type: ignore[union-attr]
        module.register_parameter(name, original)


class PruningContainer(BasePruningMethod):
    """Several prunings of one parameter, one after another: each prunes what the others left."""

    def __init__(self, *methods: BasePruningMethod) -> None:
        self._methods: list[BasePruningMethod] = list(methods)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """Add one at the end."""
        self._methods.append(method)

    def __len__(self) -> int:
        return len(self._methods)

    def __getitem__(self, index: int) -> BasePruningMethod:
        return self._methods[index]

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        method = self._methods[-1]
        mask = np.array(host_array(default_mask._array))
        kept = mask != 0
        scores = host_array(t._array)
        if method.PRUNING_TYPE == "unstructured":
            part = method.compute_mask(tensor(scores[kept]), tensor(np.ones(int(kept.sum()), mask.dtype)))
            mask[kept] = host_array(part._array)
            return tensor(mask, device=t.device)
        if method.PRUNING_TYPE == "structured":
            dim = getattr(method, "dim", -1)
            axis = dim % scores.ndim
            alive = kept.any(axis=tuple(i for i in range(scores.ndim) if i != axis))
            where: list[Any] = [slice(None)] * scores.ndim
            where[axis] = alive
            part = method.compute_mask(tensor(scores[tuple(where)]), tensor(mask[tuple(where)]))
            mask[tuple(where)] = host_array(part._array)
            return tensor(mask, device=t.device)
        return method.compute_mask(t, default_mask)


class Identity(BasePruningMethod):
    """A mask of ones."""

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        return default_mask


class _Unstructured(BasePruningMethod):
    def __init__(self, amount: float) -> None:
        _count(amount, 1 << 62)
        self.amount = amount

    def _chosen(self, scores: Any, count: int) -> Any:
        raise NotImplementedError

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        mask = np.array(host_array(default_mask._array))
        count = _count(self.amount, mask.size)
        if count:
            mask.reshape(-1)[self._chosen(host_array(t._array).reshape(-1), count)] = 0
        return tensor(mask, device=t.device)


class RandomUnstructured(_Unstructured):
    """Prunes elements at random."""

    def _chosen(self, scores: Any, count: int) -> Any:
        return default_generator.permutation(scores.size)[:count]


class L1Unstructured(_Unstructured):
    """Prunes the elements nearest to 0."""

    def _chosen(self, scores: Any, count: int) -> Any:
        return np.argsort(np.abs(scores), kind="stable")[:count]


class _Structured(BasePruningMethod):
    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1) -> None:
        _count(amount, 1 << 62)
        self.amount = amount
        self.dim = dim

    def _chosen(self, slices: Any, count: int) -> Any:
        raise NotImplementedError

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        scores, mask = host_array(t._array), np.array(host_array(default_mask._array))
        if scores.ndim < 2:
            raise ValueError(
                f"Structured pruning can only be applied to multidimensional tensors. Found {scores.ndim}D"
            )
        if not -scores.ndim <= self.dim < scores.ndim:
            raise IndexError(f"Invalid index {self.dim} for tensor of size {list(scores.shape)}")
        slices = np.moveaxis(scores, self.dim, 0).reshape(scores.shape[self.dim], -1)
        count = _count(self.amount, len(slices))
        np.moveaxis(mask, self.dim, 0)[self._chosen(slices, count)] = 0
        return tensor(mask, device=t.device)


class RandomStructured(_Structured):
    """Prunes slices along one dimension at random."""

    def _chosen(self, slices: Any, count: int) -> Any:
        return default_generator.permutation(len(slices))[:count]


class LnStructured(_Structured):
    """Prunes the slices along one dimension with the smallest norms."""

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def _chosen(self, slices: Any, count: int) -> Any:
        order = 2 if self.n == "fro" else float(self.n)
        return np.argsort(np.linalg.norm(slices, order, axis=1), kind="stable")[:count]


class CustomFromMask(BasePruningMethod):
    """Prunes by a given mask."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Any) -> None:
        self.mask = mask

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        if tuple(default_mask.shape) != tuple(self.mask.shape):
            raise AssertionError(f"the mask has shape {list(self.mask.shape)}, expected {list(default_mask.shape)}")
        return default_mask * self.mask.to(default_mask.dtype)


def identity(module: Module, name: str) -> Module:
    """Mask a parameter without pruning anything."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prune `amount` (a number, or a share) of a parameter's elements at random."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: float, importance_scores: Any = None) -> Module:
    """Prune `amount` (a number, or a share) of a parameter's elements: those nearest to 0.

    >>> layer = ingot.nn.utils.prune.l1_unstructured(ingot.nn.Linear(4, 4), "weight", amount=0.5)
    >>> int((layer.weight == 0).sum())
    8
    """
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """Prune `amount` (a number, or a share) of a parameter's slices along `dim` at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module: Module, name: str, amount: float, n: Any, dim: int, importance_scores: Any = None) -> Module:
    """Prune `amount` (a number, or a share) of a parameter's slices along `dim`: those with the smallest n-norms."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Any) -> Module:
    """Prune a parameter by a mask."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: dict[tuple[Module, str], Any] | None = None,
    **kwargs: Any,
) -> None:
    """Prune several parameters (pairs of module and name) as if they were one vector."""
    places = list(parameters)
    if pruning_method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            f'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method {pruning_method} of '
            f"type {pruning_method.PRUNING_TYPE}"
        )
    scores = importance_scores or {}
    parts = [host_array(scores.get((m, n), getattr(m, n))._array).reshape(-1) for m, n in places]
    masks = [
        host_array(getattr(m, f"{n}_mask")._array).reshape(-1) if hasattr(m, f"{n}_mask") else np.ones_like(p)
        for (m, n), p in zip(places, parts, strict=True)
    ]
    container = PruningContainer()
    container.add_pruning_method(pruning_method(**kwargs))
    mask = container.compute_mask(tensor(np.concatenate(parts)), tensor(np.concatenate(masks)))._array
    position = 0
    for module, name in places:
        value = getattr(module, name)
        part = mask[position : position + value.numel()].reshape(tuple(value.shape))
        custom_from_mask(module, name, tensor(part, device=value.device))
        position += value.numel()


def remove(module: Module, name: str) -> Module:
    """Make the pruning of a parameter permanent; ValueError where it is not pruned."""
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(
        f"Parameter '{name}' of module {type(module).__name__} has to be pruned before pruning can be removed"
    )


def is_pruned(module: Module) -> bool:
    """Whether a parameter of the module or of one below it is pruned."""
    return any(isinstance(hook, BasePruningMethod) for m in module.modules() for hook in m._forward_pre_hooks.values())
