"""L-BFGS with an optional line search (Nocedal and Wright, 2006, algorithms 7.4, 3.5 and 3.6)."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..eager.creation import tensor as _tensor
from ..eager.modes import enable_grad, no_grad
from .optimizer import Optimizer

__all__ = ["LBFGS"]

_Vector = np.ndarray[Any, Any]


def _cubic_minimum(x1: float, f1: float, g1: float, x2: float, f2: float, g2: float, bounds: Any = None) -> float:
    """Where the cubic through two points with these values and slopes is least, within bounds (Nocedal, eq. 3.59)."""
    low, high = bounds if bounds is not None else (min(x1, x2), max(x1, x2))
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1 * d1 - g1 * g2
    if square < 0 or not np.isfinite(square):
        return (low + high) / 2.0
    d2 = np.sqrt(square)
    if x1 <= x2:
        at = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    else:
        at = x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return float(min(max(at, low), high))


def _strong_wolfe(
    evaluate: Callable[[float], tuple[float, _Vector]],
    step: float,
    direction: _Vector,
    value: float,
    gradient: _Vector,
    slope: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    max_evaluations: int = 25,
) -> tuple[float, _Vector, float, int]:
    """A step that satisfies the strong Wolfe conditions, or the best found: value, gradient, step, evaluations."""
    scale = np.abs(direction).max()
    gradient = gradient.copy()
    new_value, new_gradient = evaluate(step)
    count = 1
    new_slope = float(new_gradient @ direction)
    previous = (0.0, value, gradient, slope)
    iteration = 0
    bracket: list[tuple[float, float, _Vector, float]] = []
    done = False
    while iteration < max_evaluations:
        here = (step, new_value, new_gradient.copy(), new_slope)
        if new_value > value + c1 * step * slope or (iteration > 1 and new_value >= previous[1]):
            bracket = [previous, here]
            break
        if abs(new_slope) <= -c2 * slope:
            bracket, done = [here], True
            break
        if new_slope >= 0:
            bracket = [previous, here]
            break
        low, high = step + 0.01 * (step - previous[0]), step * 10
        following = _cubic_minimum(
            previous[0], previous[1], previous[3], step, new_value, new_slope, bounds=(low, high)
        )
        previous, step = here, following
        new_value, new_gradient = evaluate(step)
        count += 1
        new_slope = float(new_gradient @ direction)
        iteration += 1
    if iteration == max_evaluations:
        bracket = [(0.0, value, gradient, slope), (step, new_value, new_gradient.copy(), new_slope)]
    stalled = False
    high_at = 0
    if len(bracket) == 2:
        high_at = 1 if bracket[0][1] <= bracket[1][1] else 0
    while not done and iteration < max_evaluations:
        a, b = bracket
        if abs(b[0] - a[0]) * scale < tolerance_change:
            break
        step = _cubic_minimum(a[0], a[1], a[3], b[0], b[1], b[3])
        ends = sorted((a[0], b[0]))
        margin = 0.1 * (ends[1] - ends[0])
        if min(ends[1] - step, step - ends[0]) < margin:
            if stalled or step >= ends[1] or step <= ends[0]:
                step = ends[1] - margin if abs(step - ends[1]) < abs(step - ends[0]) else ends[0] + margin
                stalled = False
            else:
                stalled = True
        else:
            stalled = False
        new_value, new_gradient = evaluate(step)
        count += 1
        new_slope = float(new_gradient @ direction)
        iteration += 1
        here = (step, new_value, new_gradient.copy(), new_slope)
        low_at = 1 - high_at
        if new_value > value + c1 * step * slope or new_value >= bracket[low_at][1]:
            bracket[high_at] = here
            high_at = 1 if bracket[0][1] <= bracket[1][1] else 0
        else:
            if abs(new_slope) <= -c2 * slope:
                done = True
            elif new_slope * (bracket[high_at][0] - bracket[low_at][0]) >= 0:
                bracket[high_at] = bracket[low_at]
            bracket[low_at] = here
    best = bracket[0] if len(bracket) == 1 else bracket[1 - high_at]
    return best[1], best[2], best[0], count


class LBFGS(Optimizer):
    """Quasi-Newton steps from the last `history_size` changes of parameters and gradients; `step` needs a closure.

    `line_search_fn` is None (a fixed step) or "strong_wolfe". One group of parameters only.

    >>> x = ingot.nn.Parameter(ingot.tensor([3.0, -2.0]))
    >>> optimizer = ingot.optim.LBFGS([x], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((x - 1) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = optimizer.step(closure)
    >>> bool(ingot.allclose(x, ingot.ones(2)))
    True
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if lr < 0.0:
            raise ValueError(f"Invalid learning rate: {lr}: expected a number >= 0")
        if line_search_fn not in (None, "strong_wolfe"):
            raise RuntimeError(f"only 'strong_wolfe' is supported as line_search_fn, given {line_search_fn!r}")
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    def _flat(self, which: str) -> _Vector:
        parts = []
        for p in self.param_groups[0]["params"]:
            source = p if which == "values" else p.grad
            parts.append(np.zeros(p.numel(), p.dtype.numpy) if source is None else source._array.reshape(-1))
        return np.concatenate(parts)

    def _set(self, values: _Vector) -> None:
        position = 0
        with no_grad():
            for p in self.param_groups[0]["params"]:
                part = values[position : position + p.numel()]
                p.copy_(_tensor(part.reshape(tuple(p.shape))))
                position += p.numel()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to `max_iter` iterations; `closure` clears gradients, computes the loss, calls backward, returns it."""
        if closure is None:
            raise TypeError("LBFGS.step() needs a closure that recomputes the loss and its gradients")
        group = self.param_groups[0]
        lr, limit = group["lr"], group["max_iter"]

        def evaluate_here() -> Any:
            with enable_grad():
                return closure()

        state = self.state[group["params"][0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = evaluate_here()
        loss = float(first_loss)
        evaluations = 1
        state["func_evals"] += 1
        gradient = self._flat("gradients")
        if np.abs(gradient).max(initial=0) <= group["tolerance_grad"]:
            return first_loss
        keys = ("d", "t", "old_dirs", "old_stps", "H_diag", "prev_flat_grad", "prev_loss")
        direction, step, dirs, steps, scale, last_gradient, last_loss = (_as_array(state.get(k)) for k in keys)
        iterations = 0
        while iterations < limit:
            iterations += 1
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                direction, dirs, steps, scale = -gradient, [], [], 1.0
            else:
                change, moved = gradient - last_gradient, direction * gradient.dtype.type(step)
                curvature = float(change @ moved)
                if curvature > 1e-10:
                    if len(dirs) == group["history_size"]:
                        dirs, steps = dirs[1:], steps[1:]
                    dirs, steps = [*dirs, change], [*steps, moved]
                    scale = curvature / float(change @ change)
                direction = _two_loops(gradient, dirs, steps, scale)
            last_gradient, last_loss = gradient.copy(), loss
            step = min(1.0, 1.0 / float(np.abs(gradient).sum())) * lr if state["n_iter"] == 1 else lr
            slope = float(gradient @ direction)
            if slope > -group["tolerance_change"]:
                break
            start = self._flat("values")
            used = 0
            if group["line_search_fn"] is not None:

                def at(length: float, start: _Vector = start, way: Any = direction) -> tuple[float, _Vector]:
                    self._set(start + way * way.dtype.type(length))
                    return float(evaluate_here()), self._flat("gradients")

                loss, gradient, step, used = _strong_wolfe(at, step, direction, loss, gradient, slope)
                self._set(start + direction * direction.dtype.type(step))
                flat = np.abs(gradient).max(initial=0) <= group["tolerance_grad"]
            else:
                self._set(start + direction * direction.dtype.type(step))
                flat = False
                if iterations != limit:
                    loss = float(evaluate_here())
                    gradient = self._flat("gradients")
                    flat = np.abs(gradient).max(initial=0) <= group["tolerance_grad"]
                    used = 1
            evaluations += used
            state["func_evals"] += used
            if (
                iterations == limit
                or evaluations >= group["max_eval"]
                or flat
                or np.abs(direction * step).max(initial=0) <= group["tolerance_change"]
                or abs(loss - last_loss) < group["tolerance_change"]
            ):
                break
        kept = (direction, step, dirs, steps, scale, last_gradient, last_loss)
        state.update({k: _as_tensor(v) for k, v in zip(keys, kept, strict=True)})
        return first_loss


def _two_loops(gradient: _Vector, dirs: list[_Vector], steps: list[_Vector], scale: float) -> _Vector:
    """The direction -H g from the history (Nocedal and Wright, algorithm 7.4)."""
    weights = [1.0 / float(y @ s) for y, s in zip(dirs, steps, strict=True)]
    q = -gradient
    kind = gradient.dtype.type
    factors = []
    for y, s, weight in zip(reversed(dirs), reversed(steps), reversed(weights), strict=True):
        factor = float(s @ q) * weight
        factors.append(factor)
        q = q - y * kind(factor)
    r = q * kind(scale)
    for y, s, weight, factor in zip(dirs, steps, weights, reversed(factors), strict=True):
        r = r + s * kind(factor - float(y @ r) * weight)
    return r


def _as_tensor(value: Any) -> Any:
    if isinstance(value, list):
        return [_tensor(v) for v in value]
    return _tensor(value) if isinstance(value, np.ndarray) else value


def _as_array(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_array(v) for v in value]
    return getattr(value, "_array", value)
