"""A training step as one compiled call: forward, backward, clipping and the optimiser's update."""

import warnings
from typing import Any, NamedTuple

from ..eager.creation import tensor
from ..eager.modes import no_grad
from ..eager.tensor import Tensor
from ..jit import trace
from ..jit.errors import FallbackWarning
from ..nn.utils import clip_grad_norm_

__all__ = ["CompiledStep"]

# What a trace may take from Python for good without a step becoming wrong at the next batch.
_HARMLESS = ("mode",)
_MAX_RECORDINGS = 4


class _NotRecorded(Exception):
    """A recording does not fit a batch, and would be made anew in the middle of a call."""


class _Place(NamedTuple):
    """Where in a step a batch is."""

    first: bool
    last: bool


class CompiledStep:
    """Takes the first step eagerly, so that the optimiser has its state, records the second, and calls that since.

    A run that goes on from a checkpoint has the state, and is compiled at once: it computes what it would have computed
    uninterrupted. Where gradients are accumulated, the first batch of a step, those between, and the last, which ends
    with the optimiser's update, are recordings of their own. Learning rates are arguments, so that a schedule changes
    nothing that is compiled. Where the step cannot be recorded faithfully there is a warning that says why, and
    training goes on eagerly.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._traced: dict[_Place, list[Any]] = {}
        self._recording = False
        self._reason: str | None = None

    def _give_up(self, reason: str) -> None:
        self._reason = reason
        warnings.warn(f"Trainer(compile=True): training runs eagerly: {reason}", stacklevel=3)

    def usable(self) -> bool:
        """Whether this batch is for the compiled step."""
        return self._reason is None and self._trainer.global_step > 0

    def _record(self, batch: Any, place: _Place) -> None:
        trainer = self._trainer
        rates = [float(g["lr"]) for g in trainer.optimizer.param_groups]

        def step(inputs: Any, targets: Any, *rates: Any) -> Any:
            if not self._recording:
                raise _NotRecorded
            for group, rate in zip(trainer.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
            if place.first:
                trainer.optimizer.zero_grad()
            found = trainer._forward((inputs, targets))
            trainer.backward(found["loss"])
            if place.last:
                if trainer.clip_norm is not None:
                    clip_grad_norm_(trainer.model.parameters(), trainer.clip_norm)
                trainer.optimizer.step()
            loss = found["loss"].detach()
            return (loss, found["prediction"].detach()) if "prediction" in found else (loss,)

        # Recording must not train: what it writes is put back.
        kept = [t._array.copy() for t in self._state()]
        gradients = [(p, p.grad, None if p.grad is None else p.grad._array.copy()) for p in self._parameters()]
        self._recording = True
        try:
            traced = trace(step, (*batch, *map(tensor, rates)), check_trace=False, on_bake="ignore")
        finally:
            self._recording = False
            for group, rate in zip(trainer.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
            for t, array in zip(self._state(), kept, strict=True):
                t._array[...] = array
            for p, gradient, array in gradients:
                p.grad = gradient
                if gradient is not None:
                    gradient._array[...] = array
        baked = [b for b in traced.baked if b.kind not in _HARMLESS]
        if baked:
            self._give_up(f"a recorded step would keep a value of this batch for good: {baked[0].message}")
            return
        with warnings.catch_warnings():
            warnings.simplefilter("error", FallbackWarning)
            traced.specialisations[0].program("native")
        self._traced.setdefault(place, []).append(traced)

    def _parameters(self) -> list[Any]:
        return [p for group in self._trainer.optimizer.param_groups for p in group["params"]]

    def _state(self) -> list[Any]:
        trainer = self._trainer
        state = [*trainer.model.parameters(), *trainer.model.buffers()]
        for entries in trainer.optimizer.state.values():
            state += [v for v in entries.values() if isinstance(v, Tensor)]
        return state

    def __call__(self, batch: Any, pending: int) -> dict[str, Any]:
        """Loss and prediction of a batch after `pending` others of its step; "done" where gradients are there, too."""
        place = _Place(pending == 0, pending + 1 == self._trainer.accumulate)
        recordings = self._traced.get(place, [])
        for traced in recordings:
            try:
                return self._run(traced, batch, place)
            except _NotRecorded:
                continue
        if not isinstance(batch, (tuple, list)) or len(batch) != 2 or not all(isinstance(t, Tensor) for t in batch):
            self._give_up("only batches of (inputs, targets) that are tensors are compiled")
        elif len(recordings) == _MAX_RECORDINGS:
            self._give_up(f"the batches are of more than {_MAX_RECORDINGS} kinds (shapes that no recording fits)")
        else:
            try:
                self._record(batch, place)
            except Exception as error:
                self._give_up(f"{type(error).__name__}: {error}")
        if self._reason is None:
            return self._run(self._traced[place][-1], batch, place)
        if place.first:
            self._trainer.optimizer.zero_grad()
        return self._trainer._forward(batch)  # type: ignore[no-any-return]

    def _run(self, traced: Any, batch: Any, place: _Place) -> dict[str, Any]:
        rates = [tensor(float(g["lr"])) for g in self._trainer.optimizer.param_groups]
        with no_grad():
            loss, *prediction = traced(*batch, *rates)
        found: dict[str, Any] = {"loss": loss, "done": True, "stepped": place.last}
        if prediction:
            found |= {"prediction": prediction[0], "target": batch[1]}
        return found

    def state(self) -> list[Any]:
        """Copies of what a step changes, and where they belong."""
        return [(t, t._array.copy()) for t in self._state()]
