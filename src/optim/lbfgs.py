"""L-BFGS (Nocedal and Wright, 2006, algorithm 7.4) with fixed steps or a line search."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..eager.creation import tensor as _tensor
from ..eager.device import device_of, host_array, move_array
from ..eager.modes import enable_grad
from ..eager.tensor import Tensor
from ..ir.dtypes import from_numpy
from .line_search import Trial, WolfeSearch
from .optimizer import Optimizer, required_non_negative

__all__ = ["LBFGS"]

_Vector = np.ndarray[Any, Any]


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
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        required_non_negative(lr=lr)
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
        """All parameters, or all gradients, in one vector of real numbers."""
        parts = []
        for p in self.param_groups[0]["params"]:
            source = p if which == "values" else p.grad
            array = np.zeros(p._array.shape, p._array.dtype) if source is None else host_array(source._array)
            parts.append(_real(np.ascontiguousarray(array)).reshape(-1))
        return np.concatenate(parts)

    def _set(self, values: _Vector) -> None:
        position = 0
        for p in self.param_groups[0]["params"]:
            count = p.numel() * (2 if p.dtype.is_complex else 1)
            part = values[position : position + count].astype(_real_dtype(p._array))
            values_of_p = part.view(p._array.dtype).reshape(p._array.shape)
            p._array[...] = move_array(values_of_p, device_of(p._array))
            p.bump_version()
            position += count

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to `max_iter` iterations; `closure` clears gradients, computes the loss, calls backward, returns it."""
        if closure is None:
            raise TypeError("LBFGS.step() needs a closure that recomputes the loss and its gradients")
        group = self.param_groups[0]
        lr = float(group["lr"])
        run = _Run(self, closure, self.state[group["params"][0]])
        first_loss = run.begin()
        if run.is_flat():
            return first_loss
        for iteration in range(1, group["max_iter"] + 1):
            run.turn(group["history_size"])
            first = run.state["n_iter"] == 1
            run.step = min(1.0, 1.0 / float(np.abs(run.gradient).sum())) * lr if first else lr
            slope = float(run.gradient @ run.direction)
            if slope > -group["tolerance_change"]:
                break
            last = iteration == group["max_iter"]
            if group["line_search_fn"] is not None:
                run.search(slope, group["tolerance_change"])
            else:
                run.go(evaluate=not last)
            if last or run.evaluations >= group["max_eval"] or run.is_flat() or run.stands():
                break
        run.keep()
        return first_loss


class _Run:
    """What one call of `step` works with."""

    def __init__(self, optimizer: LBFGS, closure: Callable[[], Any], state: dict[str, Any]) -> None:
        self._optimizer = optimizer
        self._closure = closure
        self._group = optimizer.param_groups[0]
        self.state = state
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        self.evaluations = 0
        self.direction: _Vector = _as_array(state.get("d"))
        self.step = float(state.get("t", 0.0))
        self._changes: list[_Vector] = _as_array(state.get("old_dirs", []))
        self._moves: list[_Vector] = _as_array(state.get("old_stps", []))
        self._weights = [float(w) for w in state.get("ro", [])]
        self._factors: list[float] = []
        self._scale = float(state.get("H_diag", 1))
        self._last_gradient: _Vector = _as_array(state.get("prev_flat_grad"))
        self._last_loss = float(state.get("prev_loss", 0.0))

    def _evaluate(self) -> Any:
        with enable_grad():
            loss = self._closure()
        self.evaluations += 1
        self.state["func_evals"] += 1
        self.loss = float(loss)
        self.gradient = self._optimizer._flat("gradients")
        return loss

    def begin(self) -> Any:
        """Evaluate where the parameters are now."""
        return self._evaluate()

    def is_flat(self) -> bool:
        """Whether the gradient is 0 within the tolerance."""
        return bool(np.abs(self.gradient).max(initial=0) <= self._group["tolerance_grad"])

    def stands(self) -> bool:
        """Whether the last step changed nothing to speak of."""
        least = self._group["tolerance_change"]
        moved = np.abs(self.direction * self.step).max(initial=0)
        return bool(moved <= least or abs(self.loss - self._last_loss) < least)

    def turn(self, history_size: int) -> None:
        """Take the change of the gradient into the history, and find the next direction."""
        self.state["n_iter"] += 1
        if self.state["n_iter"] == 1:
            self.direction, self._changes, self._moves, self._weights, self._scale = -self.gradient, [], [], [], 1.0
        else:
            change = self.gradient - self._last_gradient
            moved = self.direction * self.gradient.dtype.type(self.step)
            curvature = float(change @ moved)
            if curvature > 1e-10:
                self._changes, self._moves = [*self._changes, change], [*self._moves, moved]
                self._weights = [*self._weights, 1.0 / curvature]
                if len(self._changes) > history_size:
                    del self._changes[0], self._moves[0], self._weights[0]
                self._scale = curvature / float(change @ change)
            self.direction = self._two_loops()
        self._last_gradient, self._last_loss = self.gradient.copy(), self.loss

    def _two_loops(self) -> _Vector:
        """The direction -H g from the history (algorithm 7.4)."""
        kind = self.gradient.dtype.type
        history = list(zip(self._changes, self._moves, self._weights, strict=True))
        q = -self.gradient
        self._factors = []
        for change, moved, weight in reversed(history):
            factor = float(moved @ q) * weight
            self._factors.insert(0, factor)
            q = q - change * kind(factor)
        q = q * kind(self._scale)
        for (change, moved, weight), factor in zip(history, self._factors, strict=True):
            q = q + moved * kind(factor - float(change @ q) * weight)
        return q

    def go(self, evaluate: bool) -> None:
        """Take the step as it is."""
        self._move_to(self._optimizer._flat("values"), self.step)
        if evaluate:
            self._evaluate()

    def search(self, slope: float, tolerance: float) -> None:
        """Take a step that meets the strong Wolfe conditions."""
        origin = self._optimizer._flat("values")

        def at(step: float) -> tuple[float, _Vector]:
            self._move_to(origin, step)
            self._evaluate()
            return self.loss, self.gradient

        here = Trial(0.0, self.loss, self.gradient, slope)
        best = WolfeSearch(at, self.direction, here, tolerance).run(self.step)
        self.step, self.loss, self.gradient = best.step, best.value, best.gradient
        self._move_to(origin, best.step)

    def _move_to(self, origin: _Vector, step: float) -> None:
        self._optimizer._set(origin + self.direction * self.direction.dtype.type(step))

    def keep(self) -> None:
        """Leave for the next call what it goes on with."""
        rest = self._group["history_size"] - len(self._factors)
        self.state.update(
            al=[*map(_tensor, self._factors), *[None] * rest],
            d=_tensor(self.direction),
            t=self.step,
            old_dirs=[_tensor(v) for v in self._changes],
            old_stps=[_tensor(v) for v in self._moves],
            ro=[_tensor(v) for v in self._weights],
            H_diag=_tensor(self._scale, dtype=from_numpy(self.gradient.dtype)) if self._changes else 1,
            prev_flat_grad=_tensor(self._last_gradient),
            prev_loss=self._last_loss,
        )


def _real_dtype(array: _Vector) -> Any:
    return array.real.dtype


def _real(array: _Vector) -> _Vector:
    """The parts of complex numbers one after another; real numbers as they are."""
    return array.reshape(-1).view(_real_dtype(array)) if array.dtype.kind == "c" else array


def _as_array(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_array(v) for v in value]
    return host_array(value._array) if isinstance(value, Tensor) else value
