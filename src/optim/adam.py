"""Adam and those that go with it: AdamW, Adamax, NAdam and RAdam."""

from collections.abc import Iterable, Sequence
from typing import Any

from ..eager.creation import tensor
from ..eager.functions import call as _call
from ..eager.tensor import Tensor
from .optimizer import require_betas, require_not_both, required_non_negative
from .updates import ElementwiseOptimizer, descent, rate, root

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


class _Moments(ElementwiseOptimizer):
    """What keeps running means of gradients and of their squares."""

    def fields(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def flags(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[bool, ...]:
        decoupled = bool(group.get("decoupled_weight_decay"))
        decayed = bool(group["weight_decay"])
        return group["maximize"], decayed and not decoupled, decayed and decoupled

    @staticmethod
    def moments(
        flags: tuple[bool, ...], n: Sequence[Any], p: Any, g: Any, mean: Any, square: Any
    ) -> tuple[Any, Any, Any, Any]:
        """Parameter, gradient, mean and mean square after this step's decays; n: lr, decay, and both rates."""
        lr, decay, first, second = n[:4]
        if flags[2]:
            p = p * (1 - lr * decay) if isinstance(lr, Tensor) else p * n[4]
        g = descent(flags, decay, p, g)
        return p, g, mean + (g - mean) * first, square * second + g * g * n[5]

    def decays(self, group: dict[str, Any]) -> tuple[Any, ...]:
        """The numbers that `moments` takes."""
        lr, decay = rate(group), group["weight_decay"]
        beta1, beta2 = (beta.item() if isinstance(beta, Tensor) else beta for beta in group["betas"])
        return lr, decay, 1 - beta1, beta2, 1 - lr * decay, 1 - beta2


class Adam(_Moments):
    """Adam (Kingma and Ba, 2015), optionally AMSGrad (Reddi et al., 2018)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        required_non_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        require_betas(betas, foreach, capturable)
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        require_not_both(differentiable, foreach, fused)
        defaults = {
            "lr": lr,
            "betas": tuple(b.item() if isinstance(b, Tensor) else b for b in betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def fields(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if group["amsgrad"] else ()))

    def numbers(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        step = self.advance(state)
        beta1, beta2 = group["betas"]
        lr = rate(group)
        return *self.decays(group), group["eps"], lr / (1 - beta1**step), root(1 - beta2**step)

    @staticmethod
    def formula(xp: Any, flags: tuple[bool, ...], n: Sequence[Any], p: Any, g: Any, *fields: Any) -> tuple[Any, ...]:
        eps, step_size, correction = n[6:]
        p, g, mean, square = _Moments.moments(flags, n, p, g, fields[0], fields[1])
        largest = [xp.maximum(most, square) for most in fields[2:]]
        second = largest[0] if largest else square
        return p - mean * step_size / (xp.sqrt(second) / correction + eps), mean, square, *largest


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )


class Adamax(_Moments):
    """Adam by the infinity norm (Kingma and Ba, 2015, section 7)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        required_non_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        require_betas(betas)
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def fields(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_inf")

    def numbers(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        step = self.advance(state)
        beta1, beta2 = group["betas"]
        return rate(group) / (1 - beta1**step), group["weight_decay"], 1 - beta1, beta2, group["eps"]

    @staticmethod
    def formula(xp: Any, flags: tuple[bool, ...], n: Sequence[Any], p: Any, g: Any, *fields: Any) -> tuple[Any, ...]:
        step_size, decay, first, second, eps = n
        g = descent(flags, decay, p, g)
        mean = fields[0] + (g - fields[0]) * first
        norm = xp.maximum(fields[1] * second, xp.abs(g) + eps)
        return p - mean / norm * step_size, mean, norm


class NAdam(_Moments):
    """Adam with Nesterov's momentum (Dozat, 2016)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        required_non_negative(lr=lr, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)
        require_betas(betas)
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def first_state(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": tensor(0.0), "mu_product": tensor(1.0)} | self.first_fields(p, group)

    def numbers(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        step = self.advance(state)
        beta1, beta2 = group["betas"]
        lr, decay = rate(group), group["momentum_decay"]
        mu = beta1 * (1.0 - 0.5 * 0.96 ** (step * decay))
        following = beta1 * (1.0 - 0.5 * 0.96 ** ((step + 1) * decay))
        product = self.stored(state, "mu_product", self.kept(state, "mu_product") * mu)
        by_gradient = lr * (1.0 - mu) / (1.0 - product)
        by_mean = lr * following / (1.0 - product * following)
        return *self.decays(group), group["eps"], 1 - beta2**step, by_gradient, by_mean

    @staticmethod
    def formula(xp: Any, flags: tuple[bool, ...], n: Sequence[Any], p: Any, g: Any, *fields: Any) -> tuple[Any, ...]:
        eps, correction, by_gradient, by_mean = n[6:]
        p, g, mean, square = _Moments.moments(flags, n, p, g, *fields)
        scale = xp.sqrt(square / correction) + eps
        return p - g / scale * by_gradient - mean / scale * by_mean, mean, square


class RAdam(_Moments):
    """Adam that waits until the variance of its step size is known (Liu et al., 2020)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        required_non_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        require_betas(betas)
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def numbers(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        step = self.advance(state)
        beta1, beta2 = group["betas"]
        correction = 1 - beta2**step
        # The length of the approximated simple moving average, and its limit (equations 5 and 6).
        limit = 2 / (1 - beta2) - 1
        length = limit - 2 * step * beta2**step / correction
        plain, scaled = rate(group) / (1 - beta1**step), 0.0
        rectified = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length) * correction
        if isinstance(length, Tensor):
            known = length > 5.0
            scaled = _call("where", known, plain * _call("where", known, rectified, 1.0).sqrt(), 0.0)
            plain = _call("where", known, 0.0, plain)
        elif length > 5.0:
            plain, scaled = 0.0, plain * root(rectified)
        return *self.decays(group), group["eps"], plain, scaled

    @staticmethod
    def formula(xp: Any, flags: tuple[bool, ...], n: Sequence[Any], p: Any, g: Any, *fields: Any) -> tuple[Any, ...]:
        eps, plain, scaled = n[6:]
        p, g, mean, square = _Moments.moments(flags, n, p, g, *fields)
        # One of the two numbers is 0: that of steps over the root while its variance is not known, or that of others.
        return p - mean * plain - mean * scaled / (xp.sqrt(square) + eps), mean, square
