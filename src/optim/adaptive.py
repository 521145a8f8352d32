"""Optimisers with a step size for each element (Adagrad, Adadelta, RMSprop, Rprop), and averaged gradient descent."""

from collections.abc import Iterable, Sequence
from typing import Any

from ..eager.creation import tensor
from ..eager.modes import current_mode
from ..eager.tensor import Tensor
from .optimizer import require_not_both, required_non_negative
from .updates import ElementwiseOptimizer, as_first, descent, larger, rate

__all__ = ["ASGD", "Adadelta", "Adagrad", "RMSprop", "Rprop"]


def _directions(group: dict[str, Any]) -> tuple[bool, bool]:
    return group["maximize"], bool(group["weight_decay"])


class Adagrad(ElementwiseOptimizer):
    """Steps over the root of the sum of all squared gradients (Duchi, Hazan and Singer, 2011)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        required_non_negative(
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )
        require_not_both(differentiable, foreach, fused)
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = self.first_state(p, group)

    def share_memory(self) -> None:
        """Nothing: processes that share an optimiser's state are not supported."""

    def fields(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("sum",)

    def first_value(self, name: str, group: dict[str, Any]) -> float:
        return as_first(group["initial_accumulator_value"])

    def flags(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[bool, ...]:
        return _directions(group)

    def numbers(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        step = self.advance(state)
        return rate(group) / (1 + (step - 1) * group["lr_decay"]), group["weight_decay"], group["eps"]

    @staticmethod
    def formula(xp: Any, flags: tuple[bool, ...], n: Sequence[Any], p: Any, g: Any, *fields: Any) -> tuple[Any, ...]:
        lr, decay, eps = n
        g = descent(flags, decay, p, g)
        total = fields[0] + g * g
        return p - g / (xp.sqrt(total) + eps) * lr, total


class Adadelta(ElementwiseOptimizer):
    """Steps in the ratio of the running root mean squares of updates and gradients (Zeiler, 2012)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        required_non_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}: expected a number from 0 to 1")
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def fields(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")

    def flags(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[bool, ...]:
        return _directions(group)

    def numbers(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        self.advance(state)
        return rate(group), group["weight_decay"], group["rho"], 1 - group["rho"], group["eps"]

    @staticmethod
    def formula(xp: Any, flags: tuple[bool, ...], n: Sequence[Any], p: Any, g: Any, *fields: Any) -> tuple[Any, ...]:
        lr, decay, rho, rest, eps = n
        g = descent(flags, decay, p, g)
        square = fields[0] * rho + g * g * rest
        delta = xp.sqrt(fields[1] + eps) / xp.sqrt(square + eps) * g
        return p - delta * lr, square, fields[1] * rho + delta * delta * rest


class RMSprop(ElementwiseOptimizer):
    """Steps over the running root mean square of gradients (Hinton, 2012), optionally centred (Graves, 2013)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        required_non_negative(lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def fields(self, group: dict[str, Any]) -> tuple[str, ...]:
        momentum = ("momentum_buffer",) if group["momentum"] > 0 else ()
        return ("square_avg", *momentum, *(("grad_avg",) if group["centered"] else ()))

    def flags(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[bool, ...]:
        return *_directions(group), group["momentum"] > 0, bool(group["centered"])

    def numbers(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        self.advance(state)
        alpha = group["alpha"]
        return rate(group), group["weight_decay"], alpha, 1 - alpha, group["eps"], group["momentum"]

    @staticmethod
    def formula(xp: Any, flags: tuple[bool, ...], n: Sequence[Any], p: Any, g: Any, *fields: Any) -> tuple[Any, ...]:
        lr, decay, alpha, rest, eps, momentum = n
        _, _, has_momentum, centered = flags
        g = descent(flags, decay, p, g)
        square = fields[0] * alpha + g * g * rest
        written = [square]
        spread = square
        if centered:
            mean = fields[-1] + (g - fields[-1]) * rest
            written.append(mean)
            spread = square - mean * mean
        change = g / (xp.sqrt(spread) + eps)
        if has_momentum:
            change = fields[1] * momentum + change
            written.insert(1, change)
        return p - change * lr, *written


class Rprop(ElementwiseOptimizer):
    """Steps by signs of gradients, longer while a sign lasts, shorter after it changed (Riedmiller and Braun, 1993)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        required_non_negative(lr=lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}: expected 0 < first < 1 < second")
        defaults = {
            "lr": lr,
            "etas": tuple(etas),
            "step_sizes": tuple(step_sizes),
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def fields(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("prev", "step_size")

    def first_value(self, name: str, group: dict[str, Any]) -> float:
        lr = group["lr"]
        return (lr.item() if isinstance(lr, Tensor) else as_first(lr)) if name == "step_size" else 0.0

    def flags(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[bool, ...]:
        return group["maximize"], False

    def numbers(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        self.advance(state)
        return *group["etas"], *group["step_sizes"]

    @staticmethod
    def formula(xp: Any, flags: tuple[bool, ...], n: Sequence[Any], p: Any, g: Any, *fields: Any) -> tuple[Any, ...]:
        shrink, grow, least, most = n
        g = descent(flags, 0.0, p, g)
        agreement = g * fields[0]
        factor = xp.where(agreement > 0, grow, xp.where(agreement < 0, shrink, 1.0, g), g)
        size = xp.clip(fields[1] * factor, least, most)
        g = xp.where(agreement < 0, 0.0, g, g)
        sign = xp.where(g > 0, 1.0, xp.where(g < 0, -1.0, g, g), g)
        return p - sign * size, g, size


class ASGD(ElementwiseOptimizer):
    """Stochastic gradient descent whose parameters are averaged in the state `ax` (Polyak and Juditsky, 1992)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        required_non_negative(lr=lr, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def fields(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("ax",)

    def first_state(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        lr = rate(group)
        eta = lr.detach().clone() if isinstance(lr, Tensor) else tensor(as_first(lr))
        return {"step": tensor(0.0), "eta": eta, "mu": tensor(1.0)} | self.first_fields(p, group)

    def flags(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[bool, ...]:
        # Where the whole of the parameter counts, the average is the parameter itself.
        return *_directions(group), current_mode() is None and float(state["mu"]._array) == 1.0

    def numbers(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        step = self.advance(state)
        eta, mu = self.kept(state, "eta"), self.kept(state, "mu")
        if isinstance(eta, Tensor):  # in a trace: what they are now, before they are written
            eta, mu = eta.clone(), mu.clone()
        lr, lambd = rate(group), group["lambd"]
        self.stored(state, "eta", lr / (1 + lambd * lr * step) ** group["alpha"])
        self.stored(state, "mu", 1 / larger(step - group["t0"], 1.0))
        return eta, group["weight_decay"], 1 - lambd * eta, mu

    @staticmethod
    def formula(xp: Any, flags: tuple[bool, ...], n: Sequence[Any], p: Any, g: Any, *fields: Any) -> tuple[Any, ...]:
        eta, decay, shrunk, mu = n
        g = descent(flags, decay, p, g)
        p = p * shrunk - g * eta
        return p, p if flags[2] else fields[0] + (p - fields[0]) * mu
