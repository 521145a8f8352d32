"""A variational autoencoder (Kingma and Welling, 2014) of 8x8 digits: it learns to draw digits from noise.

Run `python examples/vae_digits.py`: under a minute. It needs scikit-learn and tqdm.
"""

import argparse
from typing import Any

import ingot
import numpy as np
from ingot import nn, train
from ingot.nn import functional as F
from ingot.utils.data import DataLoader, TensorDataset
from sklearn.datasets import load_digits


class Autoencoder(nn.Module):
    """(N, 64) pixels -> logits of pixels, mean and log variance of the code."""

    def __init__(self, code: int = 8) -> None:
        super().__init__()
        self.code = code
        self.encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 2 * code))
        self.decoder = nn.Sequential(nn.Linear(code, 128), nn.ReLU(), nn.Linear(128, 64))

    def forward(self, pixels: ingot.Tensor) -> tuple[ingot.Tensor, ingot.Tensor, ingot.Tensor]:
        mean, log_variance = self.encoder(pixels).chunk(2, dim=1)
        noise = ingot.randn_like(mean)
        return self.decoder(mean + noise * (0.5 * log_variance).exp()), mean, log_variance


def step(model: nn.Module, batch: Any) -> ingot.Tensor:
    """The negative evidence lower bound per example."""
    (pixels,) = batch
    logits, mean, log_variance = model(pixels)
    reconstruction = F.binary_cross_entropy_with_logits(logits, pixels, reduction="sum")
    divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
    return (reconstruction + divergence) / len(pixels)


def draw(images: np.ndarray) -> str:
    """Images side by side in characters."""
    return "\n".join(
        "  ".join("".join(" .:+#@"[int(5.99 * v)] for v in image[y]) for image in images) for y in range(8)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    train.seed_everything(0)
    pixels = ingot.from_numpy((load_digits().data / 16.0).astype(np.float32))
    model = Autoencoder()
    optimizer = ingot.optim.Adam(model.parameters(), lr=2e-3)
    trainer = train.Trainer(model, optimizer, step=step, callbacks=[train.ProgressBar()])
    history = trainer.fit(DataLoader(TensorDataset(pixels), batch_size=64, shuffle=True), epochs=options.epochs)
    print(f"loss per image {history[0]['train_loss']:.2f} -> {history[-1]['train_loss']:.2f}")
    with ingot.no_grad():
        drawn = model.decoder(ingot.randn(6, model.code)).sigmoid()
    print(draw(drawn.reshape(6, 8, 8).numpy()))


if __name__ == "__main__":
    main()
