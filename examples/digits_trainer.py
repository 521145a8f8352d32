"""A digits classifier with the Trainer: augmentation, early stopping, TensorBoard and CSV logs, a plot, and resuming.

Run `python examples/digits_trainer.py`; stop it (Ctrl-C, or worse) and run it again: it goes on where it was. It needs
scikit-learn and tqdm, and matplotlib for the plot.
"""

import argparse
from pathlib import Path

import ingot
import numpy as np
from ingot import nn, train
from ingot.utils.data import DataLoader, Dataset, Subset, random_split
from sklearn.datasets import load_digits


class Digits(Dataset):
    """1,797 scans of 8x8 pixels, optionally moved by up to a pixel."""

    def __init__(self, shift: bool) -> None:
        digits = load_digits()
        self.images = (digits.images / 16.0).astype(np.float32)
        self.labels = digits.target.astype(np.int64)
        self.shift = shift

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        image = self.images[index]
        if self.shift:
            down, right = np.random.randint(0, 3, 2)
            image = np.pad(image, 1)[down : down + 8, right : right + 8]
        return image[None], self.labels[index]


def make_model() -> nn.Module:
    """Two convolutions with batch norm, dropout, and two linear layers: (N, 1, 8, 8) -> (N, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(32 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--directory", type=Path, default=Path("runs/digits"))
    parser.add_argument("--compile", action="store_true", help="run each step as one compiled call")
    options = parser.parse_args()

    train.seed_everything(0)
    parts = random_split(Digits(shift=False), [0.7, 0.15, 0.15])
    learn = Subset(Digits(shift=True), parts[0].indices)
    generator = ingot.Generator()
    generator.manual_seed(0)
    loader = DataLoader(learn, batch_size=64, shuffle=True, generator=generator)
    check, final = (DataLoader(part, batch_size=256) for part in parts[1:])

    model = make_model()
    optimizer = ingot.optim.AdamW(model.parameters(), lr=3e-3)
    trainer = train.Trainer(
        model,
        optimizer,
        nn.CrossEntropyLoss(label_smoothing=0.05),
        scheduler=ingot.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs),
        metrics={"accuracy": train.Accuracy()},
        callbacks=[
            train.ProgressBar(),
            train.LearningRateMonitor(),
            train.EarlyStopping("val_loss", patience=5),
            train.ModelCheckpoint(options.directory, monitor="val_accuracy", mode="max"),
        ],
        loggers=[
            train.CSVLogger(options.directory / "log.csv"),
            train.TensorBoardLogger(options.directory / "events"),
        ],
        clip_norm=5.0,
        compile=options.compile,
    )
    history = trainer.fit(loader, check, epochs=options.epochs, resume=options.directory)
    model.load_state_dict(ingot.load(options.directory / "best.ckpt")["model"])
    result = trainer.test(final)
    print(f"{len(history)} epochs; test accuracy {result['test_accuracy']:.3f}, loss {result['test_loss']:.3f}")
    try:
        train.plot_history(history, options.directory / "history.png")
    except ImportError as error:
        print(error)


if __name__ == "__main__":
    main()
