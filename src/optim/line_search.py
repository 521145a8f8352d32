"""A line search for the strong Wolfe conditions (Nocedal and Wright, 2006, algorithms 3.5 and 3.6)."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Trial", "WolfeSearch"]

_Vector = np.ndarray[Any, Any]

# The share of the predicted decrease that a step must bring, and the share of the slope that may be left.
_DECREASE = 1e-4
_CURVATURE = 0.9
# A step outside of all tried ones is longer by a hundredth of the last change to ten times.
_LEAST_GROWTH, _MOST_GROWTH = 0.01, 10.0
# What of an interval stays between a new step and its ends once two steps came near an end.
_MARGIN = 0.1


class Trial(NamedTuple):
    """A point on the line: the step, and value, gradient and slope along the line there."""

    step: float
    value: float
    gradient: _Vector
    slope: float


class WolfeSearch:
    """Searches along `direction` from `start`; `evaluate(step)` gives value and gradient."""

    def __init__(
        self,
        evaluate: Callable[[float], tuple[float, _Vector]],
        direction: _Vector,
        start: Trial,
        tolerance: float,
        limit: int = 25,
    ) -> None:
        self._evaluate = evaluate
        self._direction = direction
        self._start = start
        self._limit = limit
        # An interval is resolved once its ends are nearer in every parameter.
        self._resolution = tolerance / float(np.abs(direction).max(initial=0.0) or 1.0)
        self._rounds = 0
        self.evaluations = 0

    def run(self, step: float) -> Trial:
        """A point that meets both conditions, or the best one found within the limit."""
        low, high = self._bracket(step)
        return low if high is None else self._zoom(low, high)

    def _at(self, step: float) -> Trial:
        value, gradient = self._evaluate(step)
        self.evaluations += 1
        return Trial(step, value, gradient.copy(), float(gradient @ self._direction))

    def _decreases(self, trial: Trial) -> bool:
        return trial.value <= self._start.value + _DECREASE * trial.step * self._start.slope

    def _is_flat(self, trial: Trial) -> bool:
        return abs(trial.slope) <= -_CURVATURE * self._start.slope

    def _bracket(self, step: float) -> tuple[Trial, Trial | None]:
        """Algorithm 3.5: ends of an interval that holds good points, the lower one first; or a good point and None."""
        previous, trial = self._start, self._at(step)
        while self._rounds < self._limit:
            if not self._decreases(trial) or (self._rounds > 1 and trial.value >= previous.value):
                return _ordered(previous, trial)
            if self._is_flat(trial):
                return trial, None
            if trial.slope >= 0:
                return _ordered(previous, trial)
            bounds = (trial.step + _LEAST_GROWTH * (trial.step - previous.step), trial.step * _MOST_GROWTH)
            previous, trial = trial, self._at(_cubic_minimum(previous, trial, bounds))
            self._rounds += 1
        return _ordered(self._start, trial)

    def _zoom(self, low: Trial, high: Trial) -> Trial:
        """Algorithm 3.6: narrows an interval whose lower end is `low`."""
        was_near_end = False
        while self._rounds < self._limit and abs(high.step - low.step) >= self._resolution:
            first, last = sorted((low.step, high.step))
            step = _cubic_minimum(low, high, (first, last))
            margin = _MARGIN * (last - first)
            near_end = min(last - step, step - first) < margin
            if near_end and (was_near_end or not first < step < last):
                step = last - margin if abs(step - last) < abs(step - first) else first + margin
                near_end = False
            was_near_end = near_end
            trial = self._at(step)
            self._rounds += 1
            if not self._decreases(trial) or trial.value >= low.value:
                low, high = _ordered(low, trial)
            elif self._is_flat(trial):
                return trial
            else:
                if trial.slope * (high.step - low.step) >= 0:
                    high = low
                low = trial
        return low


def _ordered(a: Trial, b: Trial) -> tuple[Trial, Trial]:
    return (a, b) if a.value <= b.value else (b, a)


def _cubic_minimum(a: Trial, b: Trial, bounds: tuple[float, float]) -> float:
    """Where the cubic with the values and slopes of two points is least, within bounds (equation 3.59)."""
    if a.step > b.step:
        a, b = b, a
    width = b.step - a.step
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step) if width else math.nan
    square = d1 * d1 - a.slope * b.slope
    if not 0 <= square < math.inf:
        return (bounds[0] + bounds[1]) / 2.0
    d2 = math.sqrt(square)
    slope = b.slope - a.slope + 2 * d2
    at = b.step - width * ((b.slope + d2 - d1) / slope) if slope else math.nan
    return min(max(at, bounds[0]), bounds[1])
