"""The trainer: epochs of steps with validation, callbacks and logs, and checkpoints to go on from."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..eager.modes import no_grad
from ..eager.module import Module
from ..eager.tensor import Tensor
from ..nn.utils import clip_grad_norm_
from ..serialization import load, save
from .callbacks import Callback, ModelCheckpoint
from .compiled import CompiledStep
from .metrics import Mean, Metric
from .non_finite import first_non_finite
from .seeding import random_state, restore_random_state, seed_everything

__all__ = ["CheckpointError", "NonFiniteLossError", "Trainer"]


class NonFiniteLossError(RuntimeError):
    """A loss that is NaN or infinite: `epoch` and `batch` say where."""

    def __init__(self, message: str, epoch: int, batch: int) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.batch = batch


class CheckpointError(OSError):
    """A checkpoint could not be written or read; the file that was there before is as it was."""


class Trainer:
    """Trains a model on batches of (inputs, targets).

    loss: called with predictions and targets. A `step(model, batch)` that returns the loss, or a dictionary with "loss"
    and, for metrics, "prediction" and "target", replaces model, loss and batch form altogether. Without an error,
    `history` has the numbers of every epoch. `compile=True` runs forward, backward and optimiser as one compiled call
    where that can be done, and warns where it cannot. `locate_nan` finds the op that first gave a NaN or an
    infinity, with its module and line; a compiled step, which has changed the parameters by then, is taken back.

    >>> data = ingot.utils.data.TensorDataset(ingot.ones(8, 3), ingot.ones(8, 1))
    >>> loader = ingot.utils.data.DataLoader(data, batch_size=4)
    >>> model = ingot.nn.Linear(3, 1)
    >>> trainer = ingot.train.Trainer(model, ingot.optim.SGD(model.parameters(), lr=0.1), ingot.nn.MSELoss())
    >>> history = trainer.fit(loader, epochs=5)
    >>> len(history), history[-1]["train_loss"] < history[0]["train_loss"]
    (5, True)
    """

    def __init__(
        self,
        model: Module,
        optimizer: Any = None,
        loss: Callable[[Any, Any], Any] | None = None,
        *,
        step: Callable[[Module, Any], Any] | None = None,
        scheduler: Any = None,
        schedule_by: str = "epoch",
        metrics: Mapping[str, Metric] | None = None,
        callbacks: Sequence[Callback] = (),
        loggers: Sequence[Any] = (),
        accumulate: int = 1,
        clip_norm: float | None = None,
        compile: bool = False,
        locate_nan: bool = False,
        seed: int | None = None,
    ) -> None:
        if loss is None and step is None:
            raise ValueError("Trainer: expected a loss, or a step(model, batch) that computes it")
        if accumulate < 1:
            raise ValueError(f"Trainer: accumulate must be above 0, given {accumulate}")
        if schedule_by not in ("epoch", "step"):
            raise ValueError(f"Trainer: schedule_by must be 'epoch' or 'step', given {schedule_by!r}")
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.scheduler = scheduler
        self.schedule_by = schedule_by
        self.metrics = dict(metrics or {})
        # Checkpoints come last at each event: they hold what the others have made of it.
        self.callbacks = sorted(callbacks, key=lambda c: isinstance(c, ModelCheckpoint))
        self.loggers = list(loggers)
        self.accumulate = accumulate
        self.clip_norm = clip_norm
        self.locate_nan = locate_nan
        self.history: list[dict[str, Any]] = []
        self.epoch = 0
        self.batch = 0
        self.global_step = 0
        self.train_loader: Any = None
        self.stop_reason: str | None = None
        self._step = step
        self._running = Mean()
        self._epoch_state: dict[str, Any] = {}
        self._stepped = False
        self._compiled = CompiledStep(self) if compile else None
        if seed is not None:
            seed_everything(seed)

    # -- what is asked for --------------------------------------------------------------------------------------------

    def fit(
        self,
        train_loader: Iterable[Any],
        val_loader: Iterable[Any] | None = None,
        *,
        epochs: int,
        resume: str | os.PathLike[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Train up to `epochs` epochs in all; `resume` is a checkpoint or the directory of one, if it is there.

        NonFiniteLossError at the first loss that is not finite; ValueError for a loader without batches.
        """
        if self.optimizer is None:
            raise ValueError("Trainer.fit: the trainer has no optimizer")
        self.train_loader = train_loader
        self.stop_reason = None
        resumed = resume is not None and self._resume(Path(resume))
        for logger in self.loggers:
            logger.start(self.history)
        try:
            self._call("on_fit_start")
            while self.epoch < epochs and self.stop_reason is None:
                self._train_epoch(val_loader, resumed and self.batch > 0)
                resumed = False
        finally:
            self._call("on_fit_end")
            for logger in self.loggers:
                logger.close()
        return self.history

    def validate(self, loader: Iterable[Any], prefix: str = "val_") -> dict[str, Any]:
        """The loss and the metrics over a loader, in evaluation mode."""
        was_training = self.model.training
        self.model.eval()
        mean = Mean()
        for metric in self.metrics.values():
            metric.reset()
        batches = 0
        try:
            with no_grad():
                for batch in loader:
                    found = self._forward(batch)
                    mean.update(found["loss"].item(), _batch_size(batch))
                    self._measure(found)
                    batches += 1
        finally:
            self.model.train(was_training)
        _require_batches(batches, "validate")
        return {f"{prefix}loss": mean.compute(), **{f"{prefix}{k}": m.compute() for k, m in self.metrics.items()}}

    def test(self, loader: Iterable[Any]) -> dict[str, Any]:
        """The loss and the metrics over a loader, named test_..."""
        return self.validate(loader, "test_")

    def predict(self, loader: Iterable[Any]) -> list[Any]:
        """The model's outputs by batch, in evaluation mode; of (inputs, targets) the inputs are used."""
        was_training = self.model.training
        self.model.eval()
        try:
            with no_grad():
                return [self.model(b[0] if isinstance(b, (tuple, list)) else b) for b in loader]
        finally:
            self.model.train(was_training)

    def stop(self, reason: str = "stopped") -> None:
        """Let this epoch be the last."""
        self.stop_reason = reason

    # -- an epoch -----------------------------------------------------------------------------------------------------

    def _train_epoch(self, val_loader: Iterable[Any] | None, resumed: bool) -> None:
        begin = time.perf_counter()
        self.model.train()
        skip = self.batch if resumed else 0
        if resumed:
            middle = random_state(), self._generator_state()
            self._restore_random(self._epoch_state)
        else:
            self.batch = 0
            self._running.reset()
            for metric in self.metrics.values():
                metric.reset()
            self._epoch_state = {"random": random_state(), "generator": self._generator_state()}
        self._call("on_epoch_start")
        batches = iter(self.train_loader)
        for _ in range(skip):  # the same batches as before: they were drawn from the state at the epoch's beginning
            next(batches)
        if resumed:
            self._restore_random({"random": middle[0], "generator": middle[1]})
        pending = 0
        for batch in batches:
            loss = self._train_batch(batch, pending)
            self.batch += 1
            pending += 1
            if pending == self.accumulate:
                self._finish_step(loss)
                pending = 0
        _require_batches(self.batch, "fit")
        if pending:
            self._finish_step(loss)
        row: dict[str, Any] = {"epoch": self.epoch, "step": self.global_step, "train_loss": self._running.compute()}
        row |= {f"train_{k}": m.compute() for k, m in self.metrics.items()}
        if val_loader is not None:
            row |= self.validate(val_loader)
        row["seconds"] = time.perf_counter() - begin
        if self.scheduler is not None and self.schedule_by == "epoch":
            self._schedule(row)
        self.epoch += 1
        self.batch = 0
        self.history.append(row)
        self._call("on_epoch_end", row)
        for logger in self.loggers:
            logger.log(row, row["step"])

    def _train_batch(self, batch: Any, pending: int) -> float:
        before = self._before_batch() if self.locate_nan else None
        if self._compiled is not None and self._compiled.usable():
            found = self._compiled(batch, pending)
        else:
            if pending == 0:
                self.optimizer.zero_grad()
            found = self._forward(batch)
        value = float(found["loss"].detach())
        if not np.isfinite(value):
            self._refuse(value, batch, before)
        if "done" not in found:
            self.backward(found["loss"])
        self._running.update(value, _batch_size(batch))
        self._measure(found)
        self._stepped = found.get("stepped", False)
        return value

    def backward(self, loss: Any) -> None:
        """Add the gradients of a batch's loss to those of its step, of which they are the mean."""
        (loss if self.accumulate == 1 else loss / self.accumulate).backward()

    def _before_batch(self) -> tuple[dict[str, Any], list[Any]]:
        """What the same forward needs to run again: random streams, and tensors that a compiled step changes."""
        return random_state(), [] if self._compiled is None else self._compiled.state()

    def _finish_step(self, loss: float) -> None:
        if not self._stepped:
            if self.clip_norm is not None:
                clip_grad_norm_(self.model.parameters(), self.clip_norm)
            self.optimizer.step()
        self.global_step += 1
        if self.scheduler is not None and self.schedule_by == "step":
            self.scheduler.step()
        self._call("on_step_end", loss)

    def _schedule(self, row: dict[str, Any]) -> None:
        if hasattr(self.scheduler, "is_better"):  # it looks at a metric
            self.scheduler.step(row.get("val_loss", row["train_loss"]))
        else:
            self.scheduler.step()

    def _forward(self, batch: Any) -> dict[str, Any]:
        if self._step is not None:
            found = self._step(self.model, batch)
            found = dict(found) if isinstance(found, Mapping) else {"loss": found}
            if not isinstance(found.get("loss"), Tensor):
                raise TypeError("Trainer: step(model, batch) must return the loss, or a dictionary with 'loss'")
            return found
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise TypeError(
                f"Trainer: expected batches of (inputs, targets), given {type(batch).__name__}; pass "
                f"step=function(model, batch) for others"
            )
        assert self.loss is not None
        prediction = self.model(batch[0])
        return {"loss": self.loss(prediction, batch[1]), "prediction": prediction, "target": batch[1]}

    def _measure(self, found: dict[str, Any]) -> None:
        if self.metrics and "prediction" in found:
            prediction = found["prediction"].detach()
            for metric in self.metrics.values():
                metric.update(prediction, found["target"])

    def _refuse(self, value: float, batch: Any, before: tuple[dict[str, Any], list[Any]] | None) -> None:
        message = f"the loss is {value} in epoch {self.epoch}, batch {self.batch}"
        if before is not None:
            restore_random_state(before[0])
            for tensor, array in before[1]:
                tensor._array[...] = array
            message += f": {first_non_finite(self.model, batch, self._forward, value)}"
        else:
            message += "; Trainer(locate_nan=True) finds the op that gives it first"
        raise NonFiniteLossError(message, self.epoch, self.batch)

    def _call(self, event: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *args)

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def _generator_state(self) -> Any:
        generator = getattr(self.train_loader, "generator", None)
        return None if generator is None else generator.get_state()

    def _restore_random(self, state: dict[str, Any]) -> None:
        restore_random_state(state["random"])
        if state["generator"] is not None:
            self.train_loader.generator.set_state(state["generator"])

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write all that is needed to go on from here; CheckpointError where the file cannot be written."""
        state = {
            "format": 1,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "epoch": self.epoch,
            "batch": self.batch,
            "global_step": self.global_step,
            "history": self.history,
            "callbacks": [c.state_dict() for c in self.callbacks],
            "metrics": {k: m.state_dict() for k, m in self.metrics.items()},
            "running": self._running.state_dict(),
            "random": random_state(),
            "generator": self._generator_state(),
            "epoch_state": self._epoch_state,
            "stop_reason": self.stop_reason,
        }
        try:
            save(state, path)
        except OSError as error:
            before = "the one from before is intact" if Path(path).exists() else "there is none from before"
            raise CheckpointError(
                error.errno, f"the checkpoint could not be written ({error.strerror}); {before}", str(path)
            ) from error

    def _resume(self, path: Path) -> bool:
        """Go back to a checkpoint; False where there is none yet."""
        path = path / "last.ckpt" if path.is_dir() or path.suffix == "" else path
        if not path.exists():
            return False
        try:
            state = load(path)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"the checkpoint {path} cannot be read: {error}") from error
        if not isinstance(state, dict) or state.get("format") != 1:
            raise CheckpointError(f"{path} is not a checkpoint of a Trainer")
        if len(state["callbacks"]) != len(self.callbacks):
            raise CheckpointError(
                f"{path} was written with {len(state['callbacks'])} callbacks, and there are {len(self.callbacks)}"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None and state["scheduler"] is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        for callback, kept in zip(self.callbacks, state["callbacks"], strict=True):
            callback.load_state_dict(kept)
        for name, kept in state["metrics"].items():
            self.metrics[name].load_state_dict(kept)
        self._running.load_state_dict(state["running"])
        self.epoch, self.batch, self.global_step = state["epoch"], state["batch"], state["global_step"]
        self.history = state["history"]
        self.stop_reason = state["stop_reason"]
        self._epoch_state = state["epoch_state"]
        self._restore_random(state)
        return True


def _batch_size(batch: Any) -> int:
    first = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    if isinstance(first, Mapping):
        first = next(iter(first.values()))
    shape: Any = getattr(first, "shape", ())
    return int(shape[0]) if len(shape) else 1


def _require_batches(count: int, what: str) -> None:
    if not count:
        raise ValueError(
            f"Trainer.{what}: the loader gave no batches (an empty dataset, or drop_last with fewer examples)"
        )
