"""A small Transformer encoder learns to sort: a row of digits in, the same digits in order out.

Run `python examples/transformer_sort.py`: about a minute with `--compile`.
"""

import argparse
from collections.abc import Iterator

import ingot
from ingot import nn, train
from ingot.utils.data import DataLoader, IterableDataset

LENGTH, KINDS = 8, 10


class Rows(IterableDataset):
    """Rows of random digits, and the rows sorted."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.generator = count, ingot.Generator()
        self.generator.manual_seed(seed)

    def __iter__(self) -> Iterator[tuple[ingot.Tensor, ingot.Tensor]]:
        rows = ingot.randint(0, KINDS, (self.count, LENGTH), generator=self.generator)
        yield from zip(rows, rows.sort(dim=1).values, strict=True)


class Sorter(nn.Module):
    """Embeddings of digits and places, encoder layers, and scores for each place: (N, L) -> (N, KINDS, L)."""

    def __init__(self, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.digits = nn.Embedding(KINDS, width)
        self.places = nn.Parameter(ingot.randn(LENGTH, width) * 0.1)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.scores = nn.Linear(width, KINDS)

    def forward(self, rows: ingot.Tensor) -> ingot.Tensor:
        return self.scores(self.encoder(self.digits(rows) + self.places)).transpose(1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rows", type=int, default=6400, help="rows of digits per epoch")
    parser.add_argument("--compile", action="store_true", help="run each step as one compiled call")
    options = parser.parse_args()
    train.seed_everything(0)
    model = Sorter()
    optimizer = ingot.optim.AdamW(model.parameters(), lr=3e-3)
    trainer = train.Trainer(
        model,
        optimizer,
        nn.CrossEntropyLoss(),
        scheduler=ingot.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs),
        metrics={"accuracy": train.Accuracy()},
        callbacks=[train.ProgressBar()],
        clip_norm=1.0,
        compile=options.compile,
    )
    check = DataLoader(Rows(512, seed=1), batch_size=256)
    history = trainer.fit(DataLoader(Rows(options.rows, seed=0), batch_size=128), check, epochs=options.epochs)
    print(f"{history[-1]['val_accuracy']:.1%} of the places are right")
    row = ingot.randint(0, KINDS, (1, LENGTH))
    (scores,) = trainer.predict([(row, row)])
    print(f"{row[0].tolist()} -> {scores.argmax(1)[0].tolist()}")


if __name__ == "__main__":
    main()
