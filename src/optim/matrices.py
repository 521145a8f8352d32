"""Optimisers that see parameters as matrices: Adafactor and Muon."""

import math
from collections.abc import Iterable
from typing import Any

from ..eager.creation import tensor
from ..eager.elementary import finfo
from ..eager.functions import call as _call
from ..eager.modes import current_mode
from .optimizer import Optimizer
from .updates import larger, rate, root

__all__ = ["Adafactor", "Muon"]


class Adafactor(Optimizer):
    """Steps over second moments that are kept as the product of a column and a row (Shazeer and Stern, 2018).

    The learning rate is relative to the root mean square of each parameter.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        _require_one_rate(lr)
        for holds, name, value, wanted in (
            (beta2_decay <= 0.0, "beta2_decay", beta2_decay, "<= 0"),
            (eps[0] is None or eps[0] >= 0.0, "epsilon1", eps[0], ">= 0"),
            (eps[1] >= 0.0, "epsilon2", eps[1], ">= 0"),
            (d >= 1.0, "Clipping threshold d", d, ">= 1"),
            (weight_decay >= 0.0, "weight_decay", weight_decay, ">= 0"),
        ):
            if not holds:
                raise ValueError(f"{name} should be {wanted} but is: {value}")
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        lr, decay = rate(group), group["weight_decay"]
        least, least_size = group["eps"]
        for p in params:
            if p.dtype.is_complex:
                raise RuntimeError("Adafactor does not support complex parameters")
            gradient = -p.grad if group["maximize"] else p.grad
            state = self.state[p]
            if not state:
                state["step"] = tensor(0.0)
                if gradient.ndim > 1:
                    *outer, rows, columns = gradient.shape
                    state["row_var"] = gradient.new_zeros((*outer, rows, 1))
                    state["col_var"] = gradient.new_zeros((*outer, 1, columns))
                else:
                    state["variance"] = gradient.new_zeros(tuple(gradient.shape))
            state["step"].add_(1.0)
            step = _number(state["step"])
            share = step ** group["beta2_decay"]
            smallest = float(finfo(p.dtype).eps) if least is None else least
            size = _number(p.norm()) / math.sqrt(max(p.numel(), 1))
            length = larger(size, least_size) / larger(root(step), 1 / lr) if lr else 0.0
            if decay:
                p.mul_(1 - lr * decay)
            squares = gradient * gradient
            if gradient.ndim > 1:
                row, column = state["row_var"], state["col_var"]
                row.add_((squares.mean(-1, keepdim=True) - row) * share)
                column.add_((squares.mean(-2, keepdim=True) - column) * share)
                variance = row @ column / row.mean(-2, keepdim=True).clamp(min=smallest)
            else:
                state["variance"].add_((squares - state["variance"]) * share)
                variance = state["variance"]
            change = gradient * variance.clamp(min=smallest * smallest).rsqrt()
            excess = larger(_number(change.norm()) / (math.sqrt(max(change.numel(), 1)) * group["d"]), 1.0)
            p.sub_(change * (length / excess))


class Muon(Optimizer):
    """Momentum whose matrices are made nearly orthogonal by Newton-Schulz iterations (Jordan et al., 2024)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        _require_one_rate(lr)
        if momentum < 0.0:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if weight_decay < 0.0:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        if ns_steps >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if len(ns_coefficients) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(
                        f"Muon only supports 2D parameters whereas we found a parameter with size: {p.shape}"
                    )

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        lr, momentum = rate(group), group["momentum"]
        for p in params:
            if p.dtype.is_complex:
                raise RuntimeError("Muon does not support complex parameters")
            state = self.state[p]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = p.grad.new_zeros(tuple(p.shape))
            buffer = state["momentum_buffer"]
            buffer.add_((p.grad - buffer) * (1 - momentum))
            change = p.grad + (buffer - p.grad) * momentum if group["nesterov"] else buffer
            change = _orthogonal(change, group["ns_coefficients"], group["ns_steps"], group["eps"])
            rows, columns = p.shape
            if group["adjust_lr_fn"] == "match_rms_adamw":
                ratio = 0.2 * math.sqrt(max(rows, columns))
            else:
                ratio = math.sqrt(max(1, rows / columns))
            p.mul_(1 - lr * group["weight_decay"])
            p.sub_(change.to(p.dtype) * (lr * ratio))


def _orthogonal(matrix: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """Nearly U @ V.T for a matrix U @ S @ V.T, in bfloat16: a quintic iteration moves all singular values near 1."""
    a, b, c = coefficients
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        polynomial = _call("addmm", gram, gram, gram, beta=b, alpha=c)
        x = _call("addmm", x, polynomial, x, beta=a)
    return x.T if tall else x


def _number(scalar: Any) -> Any:
    """A tensor's value as a Python number, but in a trace the tensor."""
    return scalar if current_mode() is not None else scalar.item()


def _require_one_rate(lr: Any) -> None:
    if getattr(lr, "_array", None) is not None and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    if not lr >= 0.0:
        raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
