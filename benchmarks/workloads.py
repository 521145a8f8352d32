"""The workloads of `make bench`: the same computation for Ingot (compiled) and for PyTorch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ingot
import numpy as np
from ingot import jit, nn
from ingot.nn import functional as F

Made = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True)
class Workload:
    """A name, and what makes the compiled function with its arguments for Ingot and the eager one for PyTorch."""

    name: str
    ingot: Callable[[], Made]
    torch: Callable[[], Made]
    tolerance: float = 1e-4


def _random(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def chain(x: Any, y: Any) -> Any:
    """Fifteen pointwise operations; runs on the tensors of either library."""
    a = x * 0.5
    b = (y + a).tanh()
    c = (b * x - 0.25).sigmoid()
    d = (c * c + y * y).exp()
    e = (d + 1.0).reciprocal()
    return (e * a - b).relu() + c / (d + 2.0)


def _pointwise(n: int) -> Workload:
    def make_ingot() -> Made:
        x, y = (ingot.from_numpy(_random(n, seed=i)) for i in range(2))
        return jit.trace(chain, (x, y), check_trace=False), (x, y)

    def make_torch() -> Made:
        import torch

        return chain, tuple(torch.from_numpy(_random(n, seed=i)) for i in range(2))

    return Workload(f"pointwise chain, {n} elements", make_ingot, make_torch)


def _with_weights(ingot_model: Any, make_torch_model: Callable[[], Any], shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Makers of a frozen trace of the model and of PyTorch's model with the same weights."""

    def make_ingot() -> Made:
        x = ingot.from_numpy(_random(*shape))
        return jit.freeze(jit.trace(ingot_model.eval(), x, check_trace=False)), (x,)

    def make_torch() -> Made:
        import torch

        model = make_torch_model()
        model.load_state_dict({k: torch.from_numpy(v.numpy()) for k, v in ingot_model.state_dict().items()})
        return model.eval(), (torch.from_numpy(_random(*shape)),)

    return make_ingot, make_torch


def _mlp(batch: int) -> Workload:
    ingot.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))

    def make_torch_model() -> Any:
        from torch import nn as tnn

        return tnn.Sequential(tnn.Linear(784, 256), tnn.ReLU(), tnn.Linear(256, 128), tnn.ReLU(), tnn.Linear(128, 10))

    return Workload(f"mlp 784-256-128-10, batch {batch}", *_with_weights(model, make_torch_model, (batch, 784)))


def _digits_layers(namespace: Any) -> Any:
    return namespace.Sequential(
        namespace.Conv2d(1, 16, 3, padding=1),
        namespace.ReLU(),
        namespace.Conv2d(16, 32, 3, padding=1),
        namespace.ReLU(),
        namespace.MaxPool2d(2),
        namespace.Flatten(),
        namespace.Linear(512, 64),
        namespace.ReLU(),
        namespace.Linear(64, 10),
    )


def _digits(batch: int) -> Workload:
    ingot.manual_seed(0)

    def make_torch_model() -> Any:
        from torch import nn as tnn

        return _digits_layers(tnn)

    return Workload(
        f"digits cnn, batch {batch}", *_with_weights(_digits_layers(nn), make_torch_model, (batch, 1, 8, 8))
    )


def _function(
    name: str, function: Callable[..., Any], peer: Callable[..., Any], *shapes: tuple[int, ...], scale: float = 1.0
) -> Workload:
    """A traced function of random tensors against PyTorch's."""

    def make_ingot() -> Made:
        arguments = tuple(ingot.from_numpy(_random(*s, seed=i) * np.float32(scale)) for i, s in enumerate(shapes))
        return jit.trace(function, arguments, check_trace=False), arguments

    def make_torch() -> Made:
        import torch

        arguments = tuple(torch.from_numpy(_random(*s, seed=i) * np.float32(scale)) for i, s in enumerate(shapes))
        return peer, arguments

    return Workload(name, make_ingot, make_torch)


def _torch_functional() -> Any:
    from torch.nn import functional

    return functional


def black_scholes(spot: Any, strike: Any, years: Any) -> Any:
    """Prices of European calls at fixed rate and volatility (Black and Scholes, 1973); for either library."""
    spot, strike, years = spot * spot + 1.0, strike * strike + 1.0, years * years + 0.1
    rate, volatility = 0.03, 0.2
    root = years.sqrt() * volatility
    d1 = ((spot / strike).log() + years * (rate + 0.5 * volatility * volatility)) / root
    d2 = d1 - root
    half = math.sqrt(0.5)
    return spot * ((d1 * half).erf() + 1.0) * 0.5 - strike * (years * -rate).exp() * ((d2 * half).erf() + 1.0) * 0.5


WORKLOADS: tuple[Workload, ...] = (
    _pointwise(1_000),
    _pointwise(1 << 20),
    _function("black-scholes, 2^20", black_scholes, black_scholes, *[(1 << 20,)] * 3),
    _function(
        "softmax 1024x1024",
        lambda x: F.softmax(x, dim=-1),
        lambda x: _torch_functional().softmax(x, dim=-1),
        (1024, 1024),
    ),
    _function(
        "layer norm and gelu, 1024x1024",
        lambda x: F.gelu(F.layer_norm(x, (1024,))),
        lambda x: _torch_functional().gelu(_torch_functional().layer_norm(x, (1024,))),
        (1024, 1024),
    ),
    _function("sum of rows, 1024x1024", lambda x: x.sum(1), lambda x: x.sum(1), (1024, 1024)),
    _function("sum of columns, 1024x1024", lambda x: x.sum(0), lambda x: x.sum(0), (1024, 1024)),
    _mlp(1),
    _mlp(256),
    _digits(1),
    _digits(64),
    _digits(256),
    _function("matmul 512x512x512", lambda a, b: a @ b, lambda a, b: a @ b, (512, 512), (512, 512)),
)
