"""Callbacks: what happens at the events of a run, with a state that is saved with the checkpoint."""

import math
import os
from pathlib import Path
from typing import Any

__all__ = ["Callback", "EarlyStopping", "LearningRateMonitor", "ModelCheckpoint", "ProgressBar"]


class Callback:
    """Override the events that matter; `trainer` has model, optimizer, epoch, global_step, history and stop()."""

    def on_fit_start(self, trainer: Any) -> None:
        """Before the first epoch, after a resume."""

    def on_epoch_start(self, trainer: Any) -> None:
        """Before the batches of an epoch."""

    def on_step_end(self, trainer: Any, loss: float) -> None:
        """After each step of the optimiser."""

    def on_epoch_end(self, trainer: Any, row: dict[str, Any]) -> None:
        """After an epoch's training and validation; `row` has its numbers."""

    def on_fit_end(self, trainer: Any) -> None:
        """At the end, also after an error."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what a checkpoint kept."""


def _value(row: dict[str, Any], monitor: str) -> float:
    if monitor not in row:
        raise KeyError(f"the monitored {monitor!r} is not among the numbers of the epoch: {', '.join(row)}")
    return float(row[monitor])


def _require_mode(mode: str) -> None:
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be 'min' or 'max', given {mode!r}")


class EarlyStopping(Callback):
    """Stops when a number has not become better by `min_delta` for `patience` epochs."""

    def __init__(self, monitor: str = "val_loss", mode: str = "min", patience: int = 3, min_delta: float = 0.0) -> None:
        _require_mode(mode)
        self.monitor = monitor
        self.mode = mode
        self.patience = patience
        self.min_delta = abs(min_delta)
        self.best = math.inf if mode == "min" else -math.inf
        self.bad_epochs = 0

    def on_epoch_end(self, trainer: Any, row: dict[str, Any]) -> None:
        value = _value(row, self.monitor)
        better = value < self.best - self.min_delta if self.mode == "min" else value > self.best + self.min_delta
        if better:
            self.best, self.bad_epochs = value, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs >= self.patience:
            trainer.stop(f"{self.monitor} has not become better than {self.best:g} for {self.bad_epochs} epochs")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.bad_epochs = state["best"], state["bad_epochs"]


class ModelCheckpoint(Callback):
    """Writes `last.ckpt` after each epoch (and every so many steps), and `best.ckpt` when a number is the best so far.

    Each file is there in full or as it was before, whatever happens. `Trainer.fit(..., resume=directory)` goes on from
    last.ckpt to the same weights as a run that was never interrupted.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        monitor: str | None = None,
        mode: str = "min",
        every_n_steps: int | None = None,
    ) -> None:
        _require_mode(mode)
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps must be above 0, given {every_n_steps}")
        self.directory = Path(directory)
        self.monitor = monitor
        self.mode = mode
        self.every_n_steps = every_n_steps
        self.best = math.inf if mode == "min" else -math.inf

    def on_fit_start(self, trainer: Any) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)

    def on_step_end(self, trainer: Any, loss: float) -> None:
        if self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0:
            trainer.save_checkpoint(self.directory / "last.ckpt")

    def on_epoch_end(self, trainer: Any, row: dict[str, Any]) -> None:
        improved = False
        if self.monitor is not None:
            value = _value(row, self.monitor)
            improved = value < self.best if self.mode == "min" else value > self.best
            if improved:
                self.best = value
        if improved:
            trainer.save_checkpoint(self.directory / "best.ckpt")
        trainer.save_checkpoint(self.directory / "last.ckpt")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state["best"]


class LearningRateMonitor(Callback):
    """Puts the learning rates with which each epoch began, of the optimiser's groups, among its numbers."""

    def __init__(self) -> None:
        self._rates: list[float] = []

    def on_epoch_start(self, trainer: Any) -> None:
        self._rates = [float(group["lr"]) for group in trainer.optimizer.param_groups]

    def on_epoch_end(self, trainer: Any, row: dict[str, Any]) -> None:
        for i, rate in enumerate(self._rates):
            row["lr" if len(self._rates) == 1 else f"lr_{i}"] = rate


class ProgressBar(Callback):
    """A bar for each epoch, in terminals and notebooks. Needs tqdm: ImportError says so."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_epoch_start(self, trainer: Any) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError("ProgressBar needs tqdm: pip install tqdm") from error
        try:
            total: int | None = -(-len(trainer.train_loader) // trainer.accumulate)
        except TypeError:
            total = None
        self._bar = tqdm(total=total, desc=f"epoch {trainer.epoch}", leave=True)

    def on_step_end(self, trainer: Any, loss: float) -> None:
        self._bar.update()
        self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)

    def on_epoch_end(self, trainer: Any, row: dict[str, Any]) -> None:
        shown = {k: f"{v:.4f}" for k, v in row.items() if isinstance(v, float) and k != "seconds"}
        self._bar.set_postfix(shown)
        self._bar.close()

    def on_fit_end(self, trainer: Any) -> None:
        if self._bar is not None:
            self._bar.close()
