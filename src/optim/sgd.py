"""Stochastic gradient descent with momentum."""

from collections.abc import Iterable
from typing import Any

from ..eager.tensor import Tensor
from .optimizer import Optimizer, required_non_negative

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Sutskever et al., 2013) and Nesterov's variant.

    >>> w = ingot.nn.Parameter(ingot.ones(1))
    >>> optimizer = ingot.optim.SGD([w], lr=0.5)
    >>> (w * w).sum().backward(); optimizer.step(); w
    Parameter containing:
    tensor([0.], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        required_non_negative(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        momentum = group["momentum"]
        for p in params:
            gradient = -p.grad if group["maximize"] else p.grad
            if group["weight_decay"]:
                gradient = gradient + p * group["weight_decay"]
            if momentum:
                state = self.state[p]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = gradient.clone().detach()
                else:
                    state["momentum_buffer"].mul_(momentum).add_(gradient, alpha=1 - group["dampening"])
                buffer = state["momentum_buffer"]
                gradient = gradient + buffer * momentum if group["nesterov"] else buffer
            if isinstance(group["lr"], Tensor):
                p.sub_(gradient * group["lr"])
            else:
                p.add_(gradient, alpha=-group["lr"])
