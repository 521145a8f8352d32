"""A character-level language model: a GRU that learns this repository's own documentation and then writes like it.

Run `python examples/character_gru.py`: a minute or two. It needs tqdm.
"""

import argparse
import math
from pathlib import Path

import ingot
import numpy as np
from ingot import nn, train
from ingot.utils.data import DataLoader, TensorDataset

ROOT = Path(__file__).resolve().parent.parent
LENGTH = 48


class Writer(nn.Module):
    """(N, T) characters -> (N, kinds, T) scores of the next one."""

    def __init__(self, kinds: int, width: int = 96) -> None:
        super().__init__()
        self.embedding = nn.Embedding(kinds, 32)
        self.gru = nn.GRU(32, width, batch_first=True)
        self.scores = nn.Linear(width, kinds)

    def forward(self, characters: ingot.Tensor) -> ingot.Tensor:
        return self.scores(self.gru(self.embedding(characters))[0]).transpose(1, 2)

    def write(self, kinds: str, start: str, count: int) -> str:
        """Go on with a text, one drawn character after another."""
        text, state = start, None
        characters = ingot.tensor([[kinds.index(c) for c in start]])
        with ingot.no_grad():
            for _ in range(count):
                outputs, state = self.gru(self.embedding(characters), state)
                chances = (self.scores(outputs[:, -1]) / 0.7).softmax(1).numpy()[0].astype(float)
                drawn = int(np.random.choice(len(kinds), p=chances / chances.sum()))
                text += kinds[drawn]
                characters = ingot.tensor([[drawn]])
        return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rows", type=int, help="how many pieces of text to learn from; all by default")
    parser.add_argument("--compile", action="store_true", help="run each step as one compiled call")
    options = parser.parse_args()
    train.seed_everything(0)
    text = "\n".join(
        (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/ir.md")
    )
    kinds = "".join(sorted(set(text)))
    numbers = np.array([kinds.index(c) for c in text])
    starts = np.arange(0, len(numbers) - LENGTH - 1, LENGTH // 2)
    rows = numbers[starts[: options.rows, None] + np.arange(LENGTH + 1)]
    data = TensorDataset(ingot.from_numpy(rows[:, :-1].copy()), ingot.from_numpy(rows[:, 1:].copy()))
    model = Writer(len(kinds))
    optimizer = ingot.optim.AdamW(model.parameters(), lr=5e-3)
    trainer = train.Trainer(
        model,
        optimizer,
        nn.CrossEntropyLoss(),
        callbacks=[train.ProgressBar()],
        clip_norm=1.0,
        compile=options.compile,
    )
    history = trainer.fit(DataLoader(data, batch_size=32, shuffle=True), epochs=options.epochs)
    bits = history[-1]["train_loss"] / math.log(2)
    print(f"{len(text)} characters of {len(kinds)} kinds: {bits:.2f} bits each")
    print(model.write(kinds, "The compiler ", 200))


if __name__ == "__main__":
    main()
