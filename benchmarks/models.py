"""Models and functions of the benchmark, each written once for Ingot and PyTorch: `lib` is one of the two packages."""

import math
from typing import Any

from . import architectures

__all__ = [
    "black_scholes", "chain", "decoder_step", "depthwise_block", "digits", "function", "generator", "gru",
    "lenet", "lstm", "mlp", "residual_block", "resnet18", "resnext_block", "rnn", "transformer", "upsampler",
]  # fmt: skip

resnet18 = lambda lib: architectures.resnet18(lib.nn)  # noqa: E731


def function(call: Any) -> Any:
    """What makes a module without parameters that calls `call(lib, *inputs)`."""

    def make(lib: Any) -> Any:
        class Function(lib.nn.Module):  # type: ignore[misc, name-defined]
            def forward(self, *inputs: Any) -> Any:
                return call(lib, *inputs)

        return Function()

    return make


def chain(lib: Any, x: Any, y: Any) -> Any:
    """Fifteen pointwise operations."""
    a = x * 0.5
    b = (y + a).tanh()
    c = (b * x - 0.25).sigmoid()
    d = (c * c + y * y).exp()
    e = (d + 1.0).reciprocal()
    return (e * a - b).relu() + c / (d + 2.0)


def black_scholes(lib: Any, spot: Any, strike: Any, years: Any) -> Any:
    """Prices of European calls at fixed rate and volatility (Black and Scholes, 1973)."""
    spot, strike, years = spot * spot + 1.0, strike * strike + 1.0, years * years + 0.1
    rate, volatility = 0.03, 0.2
    root = years.sqrt() * volatility
    d1 = ((spot / strike).log() + years * (rate + 0.5 * volatility * volatility)) / root
    d2 = d1 - root
    half = math.sqrt(0.5)
    return spot * ((d1 * half).erf() + 1.0) * 0.5 - strike * (years * -rate).exp() * ((d2 * half).erf() + 1.0) * 0.5


def mlp(lib: Any) -> Any:
    """784-256-128-10."""
    nn = lib.nn
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


def lenet(lib: Any) -> Any:
    """Two 5x5 convolutions and three linear layers, after LeCun et al., 1998, for images of 1 x 28 x 28."""
    nn = lib.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def digits(lib: Any) -> Any:
    """The network of `make demo`, for images of 1 x 8 x 8."""
    return architectures.digits(lib.nn)


def _heads(x: Any, heads: int) -> Any:
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def transformer(width: int, heads: int, *, causal: bool = False) -> Any:
    """An encoder block that normalises first: attention, and a GELU network four times as wide."""

    def make(lib: Any) -> Any:
        nn, attention = lib.nn, lib.nn.functional.scaled_dot_product_attention

        class Block(nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
                self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
                self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

            def forward(self, x: Any) -> Any:
                q, k, v = self.qkv(self.first(x)).chunk(3, -1)
                y = attention(_heads(q, heads), _heads(k, heads), _heads(v, heads), is_causal=causal)
                x = x + self.out(y.transpose(1, 2).reshape(x.shape[0], x.shape[1], width))
                return x + self.down(nn.functional.gelu(self.up(self.second(x))))

        return Block()

    return make


def decoder_step(width: int, heads: int) -> Any:
    """One token against a cache of keys and values: RMS norm, attention, and a gated network (as in Llama)."""

    def make(lib: Any) -> Any:
        nn, F = lib.nn, lib.nn.functional

        class Step(nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = nn.RMSNorm(width), nn.RMSNorm(width)
                self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
                self.gate, self.up = (nn.Linear(width, 3 * width, bias=False) for _ in range(2))
                self.down = nn.Linear(3 * width, width, bias=False)

            def forward(self, x: Any, keys: Any, values: Any) -> Any:
                h = self.first(x)
                keys = lib.cat((keys, _heads(self.k(h), heads)), 2)
                values = lib.cat((values, _heads(self.v(h), heads)), 2)
                y = F.scaled_dot_product_attention(_heads(self.q(h), heads), keys, values)
                x = x + self.out(y.transpose(1, 2).reshape(x.shape[0], x.shape[1], width))
                h = self.second(x)
                return x + self.down(F.silu(self.gate(h)) * self.up(h))

        return Step()

    return make


def depthwise_block(lib: Any) -> Any:
    """An inverted residual block (Sandler et al., "MobileNetV2", 2018)."""
    nn = lib.nn
    return nn.Sequential(
        nn.Conv2d(32, 192, 1),
        nn.ReLU6(),
        nn.Conv2d(192, 192, 3, padding=1, groups=192),
        nn.ReLU6(),
        nn.Conv2d(192, 32, 1),
    )


def resnext_block(lib: Any) -> Any:
    """A bottleneck whose middle convolution has 32 groups (Xie et al., 2017)."""
    nn = lib.nn
    return nn.Sequential(
        nn.Conv2d(256, 128, 1),
        nn.ReLU(),
        nn.Conv2d(128, 128, 3, padding=1, groups=32),
        nn.ReLU(),
        nn.Conv2d(128, 256, 1),
    )


def generator(lib: Any) -> Any:
    """Transposed convolutions from 8x8 to 32x32 (Radford et al., "DCGAN", 2016)."""
    nn = lib.nn
    return nn.Sequential(
        nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 3, 4, stride=2, padding=1),
        nn.Tanh(),
    )


def residual_block(lib: Any) -> Any:
    """Group norm, SiLU and a convolution, twice (the block of diffusion models; Ho et al., 2020)."""
    nn = lib.nn
    return nn.Sequential(
        nn.GroupNorm(8, 64),
        nn.SiLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.GroupNorm(8, 64),
        nn.SiLU(),
        nn.Conv2d(64, 64, 3, padding=1),
    )


def upsampler(lib: Any) -> Any:
    """Bilinear upsampling in front of a convolution, as decoders of segmentation models have it."""
    nn = lib.nn
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(32, 16, 3, padding=1), nn.ReLU())


def _loop(kind: str, width: int) -> Any:
    def make(lib: Any) -> Any:
        class Loop(lib.nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
                self.inner = lib.nn.Linear(width, gates * width)
                self.hidden = lib.nn.Linear(width, gates * width)

        def forward_rnn(self, x):  # type: ignore[no-untyped-def]
            h = x[0] * 0.0
            for i in range(x.shape[0]):
                h = (self.inner(x[i]) + self.hidden(h)).tanh()
            return h

        def forward_gru(self, x):  # type: ignore[no-untyped-def]
            h = x[0] * 0.0
            for i in range(x.shape[0]):
                a, b, c = self.inner(x[i]).chunk(3, -1)
                d, e, f = self.hidden(h).chunk(3, -1)
                r = (a + d).sigmoid()
                z = (b + e).sigmoid()
                n = (c + r * f).tanh()
                h = n + z * (h - n)
            return h

        def forward_lstm(self, x):  # type: ignore[no-untyped-def]
            h = x[0] * 0.0
            c = x[0] * 0.0
            for i in range(x.shape[0]):
                a, b, g, o = (self.inner(x[i]) + self.hidden(h)).chunk(4, -1)
                c = b.sigmoid() * c + a.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
            return h

        Loop.forward = {"rnn": forward_rnn, "gru": forward_gru, "lstm": forward_lstm}[kind]
        return Loop()

    return make


def rnn(width: int) -> Any:
    """A plain recurrent loop over the first dimension."""
    return _loop("rnn", width)


def gru(width: int) -> Any:
    """A gated recurrent loop (Cho et al., 2014)."""
    return _loop("gru", width)


def lstm(width: int) -> Any:
    """A loop of long short-term memory (Hochreiter and Schmidhuber, 1997)."""
    return _loop("lstm", width)
