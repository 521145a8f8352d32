"""Stochastic gradient descent with momentum."""

from collections.abc import Iterable, Sequence
from typing import Any

from ..eager.modes import current_mode
from .optimizer import require_not_both, required_non_negative
from .updates import ElementwiseOptimizer, descent, rate

__all__ = ["SGD"]


class SGD(ElementwiseOptimizer):
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
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        required_non_negative(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        require_not_both(differentiable, foreach, fused)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def fields(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def first_state(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        return {}

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        if group["momentum"]:
            for p in params:
                state = self.state[p]
                # The first buffer is the gradient: None says that there was no step yet.
                if state.get("momentum_buffer") is None:
                    state.update(self.first_fields(p, group), first=current_mode() is None)
                    if current_mode() is not None and group["dampening"]:
                        raise RuntimeError(
                            "SGD: with dampening, the first step is not like those after it: make one step before "
                            "the trace"
                        )
        super().update(params, group)

    def flags(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[bool, ...]:
        first = state.pop("first", False)
        return group["maximize"], bool(group["weight_decay"]), bool(group["momentum"]), bool(group["nesterov"]), first

    def numbers(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        return rate(group), group["weight_decay"], group["momentum"], 1 - group["dampening"]

    @staticmethod
    def formula(xp: Any, flags: tuple[bool, ...], n: Sequence[Any], p: Any, g: Any, *fields: Any) -> tuple[Any, ...]:
        lr, decay, momentum, share = n
        _, _, has_momentum, nesterov, first = flags
        g = descent(flags, decay, p, g)
        if not has_momentum:
            return (p - g * lr,)
        buffer = g if first else fields[0] * momentum + g * share
        return p - (g + buffer * momentum if nesterov else buffer) * lr, buffer
