"""A training run that may kill itself: `python resumed_run.py DIRECTORY KILL_AT_STEP COMPILED`; run by test_trainer."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import ingot
from ingot import nn, train
from ingot.utils.data import DataLoader, TensorDataset


class KillAt(train.Callback):
    """Kills the process at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Any, loss: float) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def run(directory: Path, kill_at: int, compiled: bool) -> Any:
    train.seed_everything(5)
    inputs = ingot.randn(22, 4)
    targets = (inputs.sum(1) > 0).long()
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=4, shuffle=True)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
    optimizer = ingot.optim.Adam(model.parameters(), lr=0.05)
    trainer = train.Trainer(
        model,
        optimizer,
        nn.CrossEntropyLoss(),
        scheduler=ingot.optim.lr_scheduler.StepLR(optimizer, 1, 0.7),
        metrics={"accuracy": train.Accuracy()},
        callbacks=[
            train.ModelCheckpoint(directory, monitor="val_loss", every_n_steps=2),
            train.EarlyStopping(patience=9),
            train.LearningRateMonitor(),
            KillAt(kill_at),
        ],
        compile=compiled,
    )
    trainer.fit(loader, loader, epochs=4, resume=directory)
    return trainer


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "compiled")
