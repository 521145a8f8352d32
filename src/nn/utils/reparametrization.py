"""The older weight_norm and spectral_norm, which compute the weight in a hook before each call."""

from typing import Any

from ...eager.modes import no_grad
from ...eager.module import Module
from ...eager.parameter import Parameter
from .. import init
from .parametrizations import norm_except, unit

__all__ = [
    "remove_spectral_norm", "remove_weight_norm", "skip_init", "spectral_norm", "weight_norm",
]  # fmt: skip


class _WeightNorm:
    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = dim

    def compute(self, module: Module) -> Any:
        g, v = getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")
        return v * (g / norm_except(v, self.dim))

    def __call__(self, module: Module, args: Any) -> None:
        object.__setattr__(module, self.name, self.compute(module))


class _SpectralNorm:
    def __init__(self, name: str, iterations: int, dim: int, eps: float) -> None:
        self.name = name
        self.iterations = iterations
        self.dim = dim
        self.eps = eps

    def matrix(self, weight: Any) -> Any:
        moved = weight if self.dim == 0 else weight.movedim(self.dim, 0)
        return moved.reshape(moved.shape[0], -1)

    def compute(self, module: Module, update: bool) -> Any:
        weight = getattr(module, f"{self.name}_orig")
        u, v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        matrix = self.matrix(weight)
        if update:
            with no_grad():
                for _ in range(self.iterations):
                    v.copy_(unit(matrix.detach().mT @ u, self.eps))
                    u.copy_(unit(matrix.detach() @ v, self.eps))
        return weight / (u.clone() * (matrix @ v.clone())).sum()

    def __call__(self, module: Module, args: Any) -> None:
        object.__setattr__(module, self.name, self.compute(module, module.training))


def _parameter(module: Module, name: str, kind: Any) -> Any:
    if any(isinstance(h, kind) and h.name == name for h in module._forward_pre_hooks.values()):
        raise RuntimeError(f"Cannot register two {kind.__name__.strip('_')} hooks on the same parameter {name}")
    weight = module._parameters.pop(name, None)
    if weight is None:
        raise ValueError(f"Module '{type(module).__name__}' has no parameter named '{name}'")
    return weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Learn a weight as magnitude `weight_g` times direction `weight_v` (Salimans and Kingma, 2016)."""
    hook = _WeightNorm(name, dim)
    weight = _parameter(module, name, _WeightNorm)
    with no_grad():
        module.register_parameter(f"{name}_g", Parameter(norm_except(weight, dim).detach()))
    module.register_parameter(f"{name}_v", Parameter(weight.detach()))
    hook(module, ())
    module.register_forward_pre_hook(hook)
    return module


def _remove(module: Module, name: str, kind: Any, parts: tuple[str, ...]) -> Module:
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, kind) and hook.name == name:
            with no_grad():
                value = hook.compute(module, False) if kind is _SpectralNorm else hook.compute(module)
            del module._forward_pre_hooks[key]
            module.__dict__.pop(name, None)
            for part in parts:
                delattr(module, f"{name}_{part}")
            module.register_parameter(name, Parameter(value.detach()))
            return module
    raise ValueError(f"{kind.__name__.strip('_')} of '{name}' not found in {type(module).__name__}")


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Put an ordinary weight back."""
    return _remove(module, name, _WeightNorm, ("g", "v"))


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Keep the largest singular value of a weight near 1 (Miyato et al., 2018): weight_orig, weight_u, weight_v."""
    if n_power_iterations <= 0:
        raise ValueError(f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}")
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    hook = _SpectralNorm(name, n_power_iterations, dim, eps)
    weight = _parameter(module, name, _SpectralNorm)
    rows, columns = hook.matrix(weight.detach()).shape
    module.register_parameter(f"{name}_orig", weight)
    module.register_buffer(f"{name}_u", unit(init.normal_(weight.new_empty(rows)), eps))
    module.register_buffer(f"{name}_v", unit(init.normal_(weight.new_empty(columns)), eps))
    object.__setattr__(module, name, weight.detach())
    module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Put an ordinary weight back."""
    return _remove(module, name, _SpectralNorm, ("orig", "u", "v"))


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """A module; its values are to be set by the caller."""
    return module_cls(*args, **kwargs)
