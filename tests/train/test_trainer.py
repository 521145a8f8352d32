"""The trainer: learning, callbacks, logs, errors that say where, and resuming to the same weights after a kill."""

import csv
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import nn, train
from ingot.utils.data import DataLoader, TensorDataset
from resumed_run import run


def problem(count: int = 24, batch_size: int = 5, **options: Any) -> tuple[Any, Any, DataLoader]:
    ingot.manual_seed(1)
    inputs = ingot.randn(count, 3)
    targets = (inputs.sum(1) > 0).long()
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=batch_size, **options)
    return model, ingot.optim.Adam(model.parameters(), lr=0.05), loader


def test_it_learns_and_measures() -> None:
    model, optimizer, loader = problem()
    metrics = {"accuracy": train.Accuracy(), "matrix": train.ConfusionMatrix(2)}
    trainer = train.Trainer(model, optimizer, nn.CrossEntropyLoss(), metrics=metrics)
    history = trainer.fit(loader, loader, epochs=20)
    assert [row["epoch"] for row in history] == list(range(20))
    assert history[-1]["val_loss"] < 0.5 * history[0]["val_loss"]
    assert history[-1]["val_accuracy"] > 0.9 and history[-1]["val_matrix"].sum() == 24
    assert trainer.test(loader)["test_accuracy"] == history[-1]["val_accuracy"]
    assert [tuple(p.shape) for p in trainer.predict(loader)] == [(5, 2)] * 4 + [(4, 2)]
    assert model.training and trainer.global_step == 100


COMPILED = pytest.param(8, "compiled", marks=pytest.mark.slow)


@pytest.mark.parametrize(("kill_at", "mode"), [(3, "eager"), (8, "eager"), COMPILED])
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path, kill_at: int, mode: str) -> None:
    script = Path(__file__).with_name("resumed_run.py")
    killed = subprocess.run([sys.executable, script, tmp_path / "killed", str(kill_at), mode], check=False)
    assert killed.returncode == -9
    resumed, whole = (run(tmp_path / name, -1, mode == "compiled") for name in ("killed", "whole"))
    for (name, a), b in zip(resumed.model.state_dict().items(), whole.model.state_dict().values(), strict=True):
        assert np.array_equal(a.numpy(), b.numpy()), name
    for a, b in zip(resumed.history, whole.history, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}


def test_accumulated_batches_are_one_large_batch() -> None:
    weights = []
    for accumulate, size in ((1, 12), (3, 4)):
        model, _, loader = problem(batch_size=size)
        optimizer = ingot.optim.SGD(model.parameters(), lr=0.1)
        trainer = train.Trainer(model, optimizer, nn.CrossEntropyLoss(), accumulate=accumulate, clip_norm=0.5)
        trainer.fit(loader, epochs=2)
        assert trainer.global_step == 4
        weights.append(np.concatenate([p.detach().numpy().reshape(-1) for p in model.parameters()]))
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-5, atol=1e-6)


# Batches of four, the last of one: steps of three batches, the last of which is cut short by the epoch's end.
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_compiled_step_trains_as_an_eager_one(accumulate: int) -> None:
    runs = []
    for compiled in (False, True):
        model, optimizer, loader = problem()
        scheduler = ingot.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)
        trainer = train.Trainer(
            model, optimizer, nn.CrossEntropyLoss(), scheduler=scheduler, clip_norm=1.0, compile=compiled,
            accumulate=accumulate,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            history = trainer.fit(loader, epochs=3)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * 0.8**3)
        runs.append([row["train_loss"] for row in history])
        if compiled:
            assert trainer._compiled is not None and trainer._compiled._traced  # what was recorded was used
            assert {place.last for place in trainer._compiled._traced} == {True} | {accumulate == 1}
    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-4)


def test_a_step_that_cannot_be_compiled_says_so() -> None:
    model, _, loader = problem()
    optimizer = ingot.optim.NAdam(model.parameters(), lr=0.05)

    def step(model: nn.Module, batch: Any) -> Any:
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        return loss / max(1.0, float(loss))  # a number of this batch, which a recording would keep

    trainer = train.Trainer(model, optimizer, step=step, compile=True)
    with pytest.warns(UserWarning, match="runs eagerly"):
        history = trainer.fit(loader, epochs=4)
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_early_stopping_counts_epochs_without_progress() -> None:
    model, _, loader = problem()
    optimizer = ingot.optim.SGD(model.parameters(), lr=0.0)
    stopping = train.EarlyStopping(patience=2)
    trainer = train.Trainer(model, optimizer, nn.CrossEntropyLoss(), callbacks=[stopping])
    assert len(trainer.fit(loader, loader, epochs=9)) == 3
    assert "val_loss" in str(trainer.stop_reason)
    trainer.callbacks = [train.EarlyStopping(monitor="accuracy")]
    with pytest.raises(KeyError, match="val_loss"):
        trainer.fit(loader, loader, epochs=9)


def test_the_first_op_with_a_nan_is_named() -> None:
    class Logs(nn.Module):
        def forward(self, x: Any) -> Any:
            floor = ingot.full((1,), -float("inf"))  # meant: no op that gives an infinity from numbers
            return x.maximum(floor).log()

    model = nn.Sequential(nn.Linear(3, 3), Logs(), nn.Linear(3, 3))
    with ingot.no_grad():
        model[0].weight.fill_(-1.0)
        model[0].bias.fill_(0.0)
    optimizer = ingot.optim.SGD(model.parameters())
    loader = DataLoader(TensorDataset(ingot.ones(4, 3), ingot.zeros(4).long()), batch_size=2)
    for locate in (True, False):
        trainer = train.Trainer(model, optimizer, nn.CrossEntropyLoss(), locate_nan=locate)
        message = r"gives NaN is log of \[2, 3\] in 1 \(Logs\(\)\), called from .*test_trainer.py:\d+: return x.max"
        with pytest.raises(train.NonFiniteLossError, match=message if locate else "locate_nan=True"):
            trainer.fit(loader, epochs=1)


def test_the_first_op_with_a_nan_is_named_in_compiled_runs() -> None:
    class Logs(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.log()

    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Dropout(0.1), Logs())
    with ingot.no_grad():
        model[0].weight.fill_(1.0)
    inputs = ingot.ones(8, 1)
    inputs[6] = -1.0
    loader = DataLoader(TensorDataset(inputs, ingot.zeros(8, 1)), batch_size=2)
    optimizer = ingot.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)

    def loss(prediction: Any, target: Any) -> Any:
        return (prediction.clamp(min=-9.0) - target).square().mean()

    trainer = train.Trainer(model, optimizer, loss, compile=True, locate_nan=True)
    with pytest.raises(train.NonFiniteLossError, match=r"batch 3: the first op that gives NaN is log .* in 2 \(Logs"):
        trainer.fit(loader, epochs=1)
    assert model[0].weight.item() == 1.0


def test_the_first_batch_with_a_nan_is_named() -> None:
    model, optimizer, _ = problem()
    inputs = ingot.ones(6, 3)
    inputs[4, 0] = float("nan")
    loader = DataLoader(TensorDataset(inputs, ingot.zeros(6).long()), batch_size=2)
    trainer = train.Trainer(model, optimizer, nn.CrossEntropyLoss(), locate_nan=True)
    with pytest.raises(train.NonFiniteLossError, match=r"epoch 0, batch 2: a tensor of the batch") as caught:
        trainer.fit(loader, epochs=1)
    assert (caught.value.epoch, caught.value.batch) == (0, 2)


def test_loaders_without_batches_are_refused() -> None:
    model, optimizer, loader = problem()
    trainer = train.Trainer(model, optimizer, nn.CrossEntropyLoss())
    with pytest.raises(ValueError, match="no batches"):
        trainer.fit(DataLoader(loader.dataset, 50, drop_last=True), epochs=1)
    with pytest.raises(ValueError, match="no batches"):
        trainer.validate([])
    with pytest.raises(TypeError, match="inputs, targets"):
        trainer.fit([ingot.ones(2, 3)], epochs=1)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer, loader = problem()
    make = [train.ModelCheckpoint(tmp_path)]
    trainer = train.Trainer(model, optimizer, nn.CrossEntropyLoss(), callbacks=make)
    trainer.fit(loader, epochs=1)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ingot.serialization.os.fsync", full)
    with pytest.raises(train.CheckpointError, match="from before is intact"):
        trainer.fit(loader, epochs=2)
    monkeypatch.undo()
    other = train.Trainer(*problem()[:2], nn.CrossEntropyLoss(), callbacks=[train.ModelCheckpoint(tmp_path)])
    assert [row["epoch"] for row in other.fit(loader, epochs=2, resume=tmp_path)] == [0, 1]


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    model, optimizer, loader = problem()
    trainer = train.Trainer(model, optimizer, nn.CrossEntropyLoss())
    (tmp_path / "bad.ckpt").write_bytes(b"nonsense")
    with pytest.raises(train.CheckpointError, match="cannot be read"):
        trainer.fit(loader, epochs=1, resume=tmp_path / "bad.ckpt")
    ingot.save(model.state_dict(), tmp_path / "weights.ckpt")
    with pytest.raises(train.CheckpointError, match="not a checkpoint"):
        trainer.fit(loader, epochs=1, resume=tmp_path / "weights.ckpt")


def scalars(path: Path) -> dict[tuple[str, int], float]:
    """The scalars of an event file by name and step: records of a length, its CRC, an Event and its CRC."""
    from tensorboardX.proto.event_pb2 import Event

    data, found = path.read_bytes(), {}
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        found.update({(value.tag, event.step): value.simple_value for value in event.summary.value})
        data = data[16 + length :]
    return found


def test_logs_have_every_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="event files are written by tensorboardX")
    model, optimizer, loader = problem()
    loggers = [train.CSVLogger(tmp_path / "log.csv"), train.TensorBoardLogger(tmp_path / "events")]
    callbacks = [train.LearningRateMonitor()]
    trainer = train.Trainer(model, optimizer, nn.CrossEntropyLoss(), callbacks=callbacks, loggers=loggers)
    history = trainer.fit(loader, loader, epochs=2)
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["val_loss"]) for r in rows] == [r["val_loss"] for r in history]
    assert rows[0]["lr"] == "0.05"
    (path,) = (tmp_path / "events").iterdir()
    found = scalars(path)
    steps = sorted(step for name, step in found if name == "val_loss")
    assert len(steps) == 2
    for step, row in zip(steps, history, strict=True):
        assert found["val_loss", step] == pytest.approx(row["val_loss"])
        assert found["lr", step] == pytest.approx(0.05)


def test_a_plot_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot is drawn by matplotlib")
    train.plot_history([{"epoch": 0, "train_loss": 2.0, "val_accuracy": 0.5}], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
