"""The model that predict.c runs: a classifier of 8 x 8 images."""

import ingot
from ingot import nn


class Classifier(nn.Module):
    """Two layers and a softmax, with reproducible weights."""

    def __init__(self) -> None:
        super().__init__()
        ingot.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, image: ingot.Tensor) -> ingot.Tensor:
        return self.layers(image).softmax(-1)
