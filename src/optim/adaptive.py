"""Optimisers with a step size for each element: Adagrad, Adadelta, RMSprop, Adamax, NAdam, RAdam, ASGD and Rprop."""

import math
from collections.abc import Iterable
from typing import Any

from ..eager.creation import full_like, tensor, zeros_like
from ..eager.functions import call as _call
from .optimizer import Optimizer, required_non_negative

__all__ = ["ASGD", "Adadelta", "Adagrad", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop"]


def _gradient(p: Any, group: dict[str, Any], decay: bool = True) -> Any:
    """The gradient to go down by: turned round to maximise, with the gradient of the weight decay added."""
    gradient = -p.grad if group["maximize"] else p.grad
    return gradient + p * group["weight_decay"] if decay and group["weight_decay"] else gradient


def _require_betas(betas: tuple[float, float]) -> None:
    for i, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


class Adagrad(Optimizer):
    """Steps over the root of the sum of all squared gradients (Duchi, Hazan and Singer, 2011)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
    ) -> None:
        required_non_negative(
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "maximize": maximize,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = self._first(p, group)

    def _first(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": tensor(0.0), "sum": full_like(p.detach(), group["initial_accumulator_value"])}

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        for p in params:
            state = self.state[p]
            if not state:
                state.update(self._first(p, group))
            state["step"].add_(1.0)
            gradient = _gradient(p, group)
            rate = group["lr"] / (1 + (state["step"].item() - 1) * group["lr_decay"])
            state["sum"].add_(gradient * gradient)
            p.sub_(gradient / (state["sum"].sqrt() + group["eps"]) * rate)


class Adadelta(Optimizer):
    """Steps in the ratio of the running root mean squares of updates and gradients (Zeiler, 2012)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
    ) -> None:
        required_non_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}: expected a number from 0 to 1")
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize})

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        rho, eps = group["rho"], group["eps"]
        for p in params:
            state = self.state[p]
            if not state:
                state.update(step=tensor(0.0), square_avg=zeros_like(p), acc_delta=zeros_like(p))
            state["step"].add_(1.0)
            gradient = _gradient(p, group)
            state["square_avg"].mul_(rho).add_(gradient * gradient, alpha=1 - rho)
            delta = (state["acc_delta"] + eps).sqrt() / (state["square_avg"] + eps).sqrt() * gradient
            state["acc_delta"].mul_(rho).add_(delta * delta, alpha=1 - rho)
            p.add_(delta, alpha=-group["lr"])


class RMSprop(Optimizer):
    """Steps over the running root mean square of gradients (Hinton, 2012), optionally centred (Graves, 2013)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        required_non_negative(lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        alpha, momentum, centered = group["alpha"], group["momentum"], group["centered"]
        for p in params:
            state = self.state[p]
            if not state:
                state.update(step=tensor(0.0), square_avg=zeros_like(p))
                if momentum > 0:
                    state["momentum_buffer"] = zeros_like(p)
                if centered:
                    state["grad_avg"] = zeros_like(p)
            state["step"].add_(1.0)
            gradient = _gradient(p, group)
            state["square_avg"].mul_(alpha).add_(gradient * gradient, alpha=1 - alpha)
            second = state["square_avg"]
            if centered:
                state["grad_avg"].add_(gradient - state["grad_avg"], alpha=1 - alpha)
                second = second - state["grad_avg"] * state["grad_avg"]
            update = gradient / (second.sqrt() + group["eps"])
            if momentum > 0:
                update = state["momentum_buffer"].mul_(momentum).add_(update)
            p.add_(update, alpha=-group["lr"])


class Adamax(Optimizer):
    """Adam by the infinity norm (Kingma and Ba, 2015, section 7)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
    ) -> None:
        required_non_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        _require_betas(betas)
        super().__init__(
            params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        for p in params:
            state = self.state[p]
            if not state:
                state.update(step=tensor(0.0), exp_avg=zeros_like(p), exp_inf=zeros_like(p))
            state["step"].add_(1.0)
            gradient = _gradient(p, group)
            state["exp_avg"].add_(gradient - state["exp_avg"], alpha=1 - beta1)
            state["exp_inf"].copy_((state["exp_inf"] * beta2).maximum(gradient.abs() + group["eps"]))
            rate = group["lr"] / (1 - beta1 ** state["step"].item())
            p.sub_(state["exp_avg"] / state["exp_inf"] * rate)


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, 2016)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        required_non_negative(lr=lr, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)
        _require_betas(betas)
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        lr, decay = group["lr"], group["momentum_decay"]
        for p in params:
            state = self.state[p]
            if not state:
                state.update(step=tensor(0.0), mu_product=tensor(1.0), exp_avg=zeros_like(p), exp_avg_sq=zeros_like(p))
            state["step"].add_(1.0)
            step = state["step"].item()
            gradient = _gradient(p, group, decay=not group["decoupled_weight_decay"])
            if group["decoupled_weight_decay"] and group["weight_decay"]:
                p.mul_(1 - lr * group["weight_decay"])
            mu = beta1 * (1.0 - 0.5 * 0.96 ** (step * decay))
            following = beta1 * (1.0 - 0.5 * 0.96 ** ((step + 1) * decay))
            state["mu_product"].mul_(mu)
            product = state["mu_product"].item()
            state["exp_avg"].add_(gradient - state["exp_avg"], alpha=1 - beta1)
            state["exp_avg_sq"].mul_(beta2).add_(gradient * gradient, alpha=1 - beta2)
            root = (state["exp_avg_sq"] / (1 - beta2**step)).sqrt() + group["eps"]
            p.sub_(gradient / root * (lr * (1 - mu) / (1 - product)))
            p.sub_(state["exp_avg"] / root * (lr * following / (1 - product * following)))


class RAdam(Optimizer):
    """Adam that waits until the variance of its step size is known (Liu et al., 2020)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        required_non_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        _require_betas(betas)
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        lr = group["lr"]
        for p in params:
            state = self.state[p]
            if not state:
                state.update(step=tensor(0.0), exp_avg=zeros_like(p), exp_avg_sq=zeros_like(p))
            state["step"].add_(1.0)
            step = state["step"].item()
            gradient = _gradient(p, group, decay=not group["decoupled_weight_decay"])
            if group["decoupled_weight_decay"] and group["weight_decay"]:
                p.mul_(1 - lr * group["weight_decay"])
            state["exp_avg"].add_(gradient - state["exp_avg"], alpha=1 - beta1)
            state["exp_avg_sq"].mul_(beta2).add_(gradient * gradient, alpha=1 - beta2)
            corrected = state["exp_avg"] / (1 - beta1**step)
            # The length of the approximated simple moving average, and its limit (equations 5 and 6).
            limit = 2 / (1 - beta2) - 1
            length = limit - 2 * step * beta2**step / (1 - beta2**step)
            if length > 5.0:
                ratio = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
                root = state["exp_avg_sq"].sqrt() + group["eps"]
                corrected = corrected * (math.sqrt(1 - beta2**step) * math.sqrt(ratio)) / root
            p.sub_(corrected * lr)


class ASGD(Optimizer):
    """Stochastic gradient descent whose parameters are averaged in the state `ax` (Polyak and Juditsky, 1992)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        required_non_negative(lr=lr, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        for p in params:
            state = self.state[p]
            if not state:
                state.update(step=tensor(0.0), eta=tensor(float(group["lr"])), mu=tensor(1.0), ax=zeros_like(p))
            state["step"].add_(1.0)
            step, eta, mu = (state[k].item() for k in ("step", "eta", "mu"))
            gradient = _gradient(p, group)
            p.mul_(1 - group["lambd"] * eta)
            p.add_(gradient, alpha=-eta)
            if mu == 1:
                state["ax"].copy_(p)
            else:
                state["ax"].add_(p - state["ax"], alpha=mu)
            state["eta"].fill_(group["lr"] / (1 + group["lambd"] * group["lr"] * step) ** group["alpha"])
            state["mu"].fill_(1 / max(1.0, step - group["t0"]))


class Rprop(Optimizer):
    """Steps by signs of gradients, longer while a sign lasts, shorter after it changed (Riedmiller and Braun, 1993)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        required_non_negative(lr=lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}: expected 0 < first < 1 < second")
        super().__init__(params, {"lr": lr, "etas": tuple(etas), "step_sizes": tuple(step_sizes), "maximize": maximize})

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        shrink, grow = group["etas"]
        least, most = group["step_sizes"]
        for p in params:
            state = self.state[p]
            if not state:
                state.update(step=tensor(0.0), prev=zeros_like(p), step_size=full_like(p.detach(), group["lr"]))
            state["step"].add_(1.0)
            gradient = -p.grad if group["maximize"] else p.grad
            agreement = gradient * state["prev"]
            one = full_like(gradient, 1.0)
            factor = _call("where", agreement > 0, one * grow, _call("where", agreement < 0, one * shrink, one))
            state["step_size"].mul_(factor).clamp_(least, most)
            gradient = _call("where", agreement < 0, zeros_like(gradient), gradient)
            p.sub_(gradient.sign() * state["step_size"])
            state["prev"].copy_(gradient)
