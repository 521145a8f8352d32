"""Adam and AdamW."""

import math
from collections.abc import Iterable
from typing import Any

from ..eager.creation import tensor, zeros_like
from ..eager.modes import current_mode
from .optimizer import Optimizer, required_non_negative

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), optionally AMSGrad (Reddi et al., 2018)."""

    _decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        required_non_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        for i, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        lr, eps, decay = group["lr"], group["eps"], group["weight_decay"]
        for p in params:
            gradient = -p.grad if group["maximize"] else p.grad
            if decay and self._decoupled:
                p.mul_(1 - lr * decay)
            elif decay:
                gradient = gradient + p * decay
            state = self.state[p]
            if not state:
                state["step"] = tensor(0.0)
                state["exp_avg"] = zeros_like(p)
                state["exp_avg_sq"] = zeros_like(p)
                if group["amsgrad"]:
                    state["max_exp_avg_sq"] = zeros_like(p)
            step = state["step"]
            step.add_(1.0)
            state["exp_avg"].mul_(beta1).add_(gradient, alpha=1 - beta1)
            state["exp_avg_sq"].mul_(beta2).add_(gradient * gradient, alpha=1 - beta2)
            second = state["exp_avg_sq"]
            if group["amsgrad"]:
                state["max_exp_avg_sq"].copy_(state["max_exp_avg_sq"].maximum(second))
                second = state["max_exp_avg_sq"]
            if current_mode() is None:
                count = step.item()
                step_size = lr / (1 - beta1**count)
                root = math.sqrt(1 - beta2**count)
                p.sub_(state["exp_avg"] * step_size / (second.sqrt() / root + eps))
            else:  # watched by a trace: the step count stays a tensor, so that it is not baked in
                step_size = lr / (1 - beta1**step)
                root = (1 - beta2**step).sqrt()
                p.sub_(state["exp_avg"] * step_size / (second.sqrt() / root + eps))


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    _decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
