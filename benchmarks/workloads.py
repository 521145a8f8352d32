"""The workloads of `make bench`: models, their inputs, and how much work they do at least."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import models
from .models import function

__all__ = ["WORKLOADS", "Workload"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Workload:
    """A model for either library and its inputs, as arrays.

    `flops` and `nbytes` count what the task needs whoever does it: multiply-adds twice, each input read and each output
    written once. `kind` says which of the machine's limits it is compared with: "compute", "read", "copy", "add" or
    none (""). `loop` names the recurrence that JAX has a scan for; such models are scripted, not traced. `reasons` says
    why a bar is missed ("peer", "onnxruntime", "limit", "compile"; see `bars`).
    """

    name: str
    make: Callable[[Any], Any]
    inputs: Callable[[], tuple[Array, ...]]
    kind: str = ""
    flops: float = 0.0
    nbytes: float = 0.0
    tolerance: float = 1e-4
    loop: str = ""
    reasons: dict[str, str] = field(default_factory=dict)


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Array:
    """Normally distributed numbers, the same in each process."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def _normals(*shapes: tuple[int, ...]) -> Callable[[], tuple[Array, ...]]:
    return lambda: tuple(normal(*shape, seed=seed) for seed, shape in enumerate(shapes))


def _integers(high: int, *shape: int) -> Array:
    return np.random.default_rng(7).integers(0, high, shape)


def _pointwise(name: str, call: Any, *shapes: tuple[int, ...], outputs: float = 1, kind: str = "") -> Workload:
    """Functions without weights; `outputs` is the size of the result relative to the first input."""
    total = sum(math.prod(shape) for shape in shapes) + outputs * math.prod(shapes[0])
    return Workload(name, function(call), _normals(*shapes), kind, nbytes=4 * total)


def _dense(name: str, make: Any, shape: tuple[int, ...], flops: float = 0.0, kind: str = "", **more: Any) -> Workload:
    return Workload(name, make, _normals(shape), kind, flops=flops, **more)


def _mlp(batch: int) -> Workload:
    flops = 2 * batch * (784 * 256 + 256 * 128 + 1280)
    return _dense(
        f"mlp 784-256-128-10, batch {batch}", models.mlp, (batch, 784), flops, "compute" if batch > 64 else ""
    )


def _transformer(batch: int) -> Workload:
    rows = batch * 128
    flops = 2 * rows * 256 * 256 * 12 + 4 * batch * 128 * 128 * 256
    return _dense(f"transformer 256, {batch}x128", models.transformer(256, 8), (batch, 128, 256), flops)


def _attention(lib: Any, q: Any, k: Any, v: Any, mask: Any = None, *, causal: bool = False) -> Any:
    return lib.nn.functional.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)


def _padding(batch: int, heads: int, length: int, width: int) -> tuple[Array, ...]:
    lengths = np.arange(1, batch + 1) * length // batch
    mask = np.arange(length)[None, :] < lengths[:, None]
    return (*(normal(batch, heads, length, width, seed=i) for i in range(3)), mask[:, None, None, :])


def _scatter(lib: Any, x: Any, index: Any, source: Any) -> Any:
    return x.index_add(0, index, source)


def _quantised(lib: Any, x: Any, w: Any, scale: Any) -> Any:
    return lib.nn.functional.linear(x, w.to(lib.float32) * scale)


def _half(lib: Any, x: Any, w: Any) -> Any:
    return lib.nn.functional.linear(x, w.to(lib.float32))


def _half_chain(lib: Any, x: Any, y: Any) -> Any:
    a, b = x.to(lib.float32), y.to(lib.float32)
    return ((a * b).sigmoid() + a).to(lib.float16)


def _quantised_inputs() -> tuple[Array, ...]:
    weight = np.random.default_rng(3).integers(-127, 128, (4096, 1024)).astype(np.int8)
    return normal(1, 1024), weight, np.abs(normal(4096, 1)) * np.float32(0.01)


def _F(lib: Any) -> Any:
    return lib.nn.functional


MEGA = 1 << 20

TABLE: tuple[Workload, ...] = (
    _pointwise("pointwise chain, 1,000", models.chain, (1000,), (1000,)),
    _pointwise("pointwise chain, 2^20", models.chain, (MEGA,), (MEGA,)),
    _pointwise("black-scholes, 2^20", models.black_scholes, (MEGA,), (MEGA,), (MEGA,)),
    _pointwise("softmax 1024x1024", lambda lib, x: x.softmax(-1), (1024, 1024)),
    _pointwise("layer norm, gelu 1024x1024", lambda lib, x: _F(lib).gelu(_F(lib).layer_norm(x, (1024,))), (1024, 1024)),
    _mlp(1),
    _mlp(256),
    _dense("lenet, batch 1", models.lenet, (1, 1, 28, 28), 2 * 416_520),
    _dense("lenet, batch 64", models.lenet, (64, 1, 28, 28), 2 * 416_520 * 64),
    _dense("resnet-18, 1x3x224x224", models.resnet18, (1, 3, 224, 224), 3.63e9, "compute", tolerance=1e-3),
    _transformer(1),
    _transformer(8),
    Workload("rnn loop, 100 steps 1x64", models.rnn(64), _normals((100, 1, 64)), loop="rnn"),
    Workload("lstm loop, 100 steps 1x128", models.lstm(128), _normals((100, 1, 128)), loop="lstm"),
    Workload(
        "matmul 512x512x512", function(lambda lib, a, b: a @ b), _normals((512, 512), (512, 512)), "compute", 2 * 512**3
    ),
)

MORE: tuple[Workload, ...] = (
    *(_mlp(batch) for batch in (2, 8, 32)),
    _dense("digits cnn, batch 64", models.digits, (64, 1, 8, 8)),
    _dense("matmul 2048, transposed", function(lambda lib, a: a @ a.transpose(0, 1)), (2048, 2048), 2 * 2048**3,
           "compute"),
    _dense("conv 3x3, 128 channels 28x28", lambda lib: lib.nn.Conv2d(128, 128, 3, padding=1), (8, 128, 28, 28),
           2 * 8 * 28 * 28 * 128 * 128 * 9, "compute"),
    _dense("conv 1d, 64 channels x 1024", lambda lib: lib.nn.Conv1d(64, 64, 5, padding=2), (4, 64, 1024),
           2 * 4 * 1024 * 64 * 64 * 5),
    _dense("conv 3d, 16 channels 16^3", lambda lib: lib.nn.Conv3d(16, 32, 3, padding=1), (1, 16, 16, 16, 16),
           2 * 4096 * 16 * 32 * 27),
    _dense("depthwise block, 56x56", models.depthwise_block, (1, 32, 56, 56), 2 * 3136 * 192 * (64 + 9)),
    _dense("grouped block, 28x28", models.resnext_block, (1, 256, 28, 28), 2 * 784 * 128 * (512 + 36)),
    _dense("transposed convolutions, 8x8 to 32x32", models.generator, (4, 128, 8, 8),
           2 * 4 * (64 * 128 * 4096 + 256 * 3072)),
    _dense("group norm block, 32x32", models.residual_block, (1, 64, 32, 32), 4 * 1024 * 64 * 64 * 9),
    _dense("upsampling, 32x32 to 64x64", models.upsampler, (1, 32, 32, 32), 2 * 4096 * 32 * 16 * 9),
    Workload("gru loop, 100 steps 1x128", models.gru(128), _normals((100, 1, 128)), loop="gru"),
    Workload("decoding, cache of 512", models.decoder_step(256, 8),
             _normals((1, 1, 256), (1, 8, 512, 32), (1, 8, 512, 32))),
    Workload("attention, causal 8x512x64", function(lambda lib, *a: _attention(lib, *a, causal=True)),
             _normals(*[(1, 8, 512, 64)] * 3), flops=2 * 8 * 512 * 512 * 64),
    Workload("attention, masked 4x8x256x32", function(_attention), lambda: _padding(4, 8, 256, 32),
             flops=4 * 32 * 256 * 256 * 32),
    Workload("embedding and sum, 64x32 of 50k x 128",
             function(lambda lib, w, i: _F(lib).embedding(i, w).sum(1)),
             lambda: (normal(50_000, 128), _integers(50_000, 64, 32)), nbytes=4 * 128 * 65 * 32),
    Workload("gather 1024 of 4096, 256 rows", function(lambda lib, x, i: x.gather(1, i) * 2.0),
             lambda: (normal(256, 4096), _integers(4096, 256, 1024)), nbytes=256 * 1024 * 16),
    Workload("index_add 8192 rows into 1024", function(_scatter),
             lambda: (normal(1024, 64), _integers(1024, 8192), normal(8192, 64, seed=1)), nbytes=4 * 64 * 10_240),
    _pointwise("sort 64x4096", lambda lib, x: x.sort(-1)[0], (64, 4096)),
    _pointwise("top 10 of 64x32768", lambda lib, x: x.topk(10, -1)[0], (64, 32_768), outputs=0),
    _pointwise("argmax of rows, 1024x1024", lambda lib, x: x.argmax(-1), (1024, 1024), outputs=0),
    _pointwise("sum of all, 4096x4096", lambda lib, x: x.sum(), (4096, 4096), outputs=0, kind="read"),
    _pointwise("sum of rows, 4096x4096", lambda lib, x: x.sum(1), (4096, 4096), outputs=0, kind="read"),
    _pointwise("sum of columns, 4096x4096", lambda lib, x: x.sum(0), (4096, 4096), outputs=0, kind="read"),
    _pointwise("mean over the middle, 64x512x512", lambda lib, x: x.mean(1), (64, 512, 512), outputs=0, kind="read"),
    _pointwise("add, 2^24", lambda lib, x, y: x + y, (16 * MEGA,), (16 * MEGA,), kind="add"),
    _pointwise("prefix sums of rows, 1024x1024", lambda lib, x: x.cumsum(1), (1024, 1024)),
    _pointwise("prefix sums of columns, 1024x1024", lambda lib, x: x.cumsum(0), (1024, 1024)),
    _pointwise("transpose 4096x4096", lambda lib, x: x.transpose(0, 1).contiguous(), (4096, 4096), kind="copy"),
    _pointwise("channels last, 16x64x56x56", lambda lib, x: x.permute(0, 2, 3, 1).contiguous(), (16, 64, 56, 56)),
    _pointwise("rms norm, 512x1024", lambda lib, x: _F(lib).rms_norm(x, (1024,)), (512, 1024)),
    _pointwise("log-sum-exp, 512x10000", lambda lib, x: x.logsumexp(-1), (512, 10_000), outputs=0),
    Workload("cross entropy, 256x10000", function(lambda lib, x, t: _F(lib).cross_entropy(x, t)),
             lambda: (normal(256, 10_000), _integers(10_000, 256)), nbytes=4 * 256 * 10_000),
    Workload("float16 weights, 1x1024 to 4096", function(_half),
             lambda: (normal(1, 1024), normal(4096, 1024, dtype=np.float16)), nbytes=2 * 4096 * 1024),
    Workload("float16 chain, 2^22", function(_half_chain),
             lambda: (normal(4 * MEGA, dtype=np.float16), normal(4 * MEGA, seed=1, dtype=np.float16)),
             kind="add", nbytes=6 * 4 * MEGA, tolerance=2e-3),
    Workload("int8 weights with scales, 1x1024 to 4096", function(_quantised), _quantised_inputs, nbytes=4096 * 1024),
)  # fmt: skip

_WAKING = "the second thread starts some microseconds late, and the last panels are not divided"
_BETWEEN_RUNS = "bound by memory, whose speed changes between runs by more: 0.75 to 1.03 in two of them"
_FIRST_TOUCH = "the limit is measured over pages of 2 MiB, which the arrays of a caller need not have"

# Why a workload misses a bar, as far as it is known; measured on the machine of docs/benchmarks.json.
REASONS: dict[str, dict[str, str]] = {
    "mlp 784-256-128-10, batch 256": {"limit": _WAKING},
    "matmul 512x512x512": {
        "peer": "the second matrix is packed at each call, and " + _WAKING + "; with packed weights it is at 92 %",
        "limit": "alone in a process it takes 1.25 ms (92 %); between peers it finds its panels and pages cold",
    },
    "matmul 2048, transposed": {"peer": "level, within what runs differ by", "limit": "packing of both operands"},
    "sum of all, 4096x4096": {"peer": _BETWEEN_RUNS, "limit": _FIRST_TOUCH},
    "sum of rows, 4096x4096": {"peer": _BETWEEN_RUNS, "limit": _FIRST_TOUCH},
    "sum of columns, 4096x4096": {"limit": "partial sums of columns are read and written again for each block of rows"},
    "mean over the middle, 64x512x512": {"limit": "partial sums of columns, and " + _FIRST_TOUCH},
    "add, 2^24": {"limit": _FIRST_TOUCH},
    "transpose 4096x4096": {"limit": "rows 16 KiB apart share sets of the caches"},
    "float16 chain, 2^22": {"limit": "bound by the arithmetic of the sigmoid and of conversions, not by memory"},
}

WORKLOADS = tuple(replace(w, reasons=REASONS.get(w.name, {})) for w in TABLE + MORE)
