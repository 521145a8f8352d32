"""A traced training step beside PyTorch's eager and compiled ones and JAX's: forward, backward and Adam's update.

Run `python -m benchmarks.training_steps`: all candidates start from the same weights, their losses after some steps are
compared, and then they are timed in turns. It also shows the memory of planned graphs beside eager's, and what
compiling costs.
"""

import argparse
import os
import shutil
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ingot
import numpy as np
from ingot import jit

from . import architectures, models
from .measure import compare

try:
    import torch
except ImportError:  # the peers are optional: without them only Ingot's own figures are shown
    torch = None  # type: ignore[assignment]
try:
    import jax
    import jax.numpy as jnp
except ImportError:
    jax = None  # type: ignore[assignment]

LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8
CHECKED_STEPS = 5


@dataclass
class Step:
    """A training step: what makes the model of a library, the inputs and targets, the loss, and JAX's forward."""

    name: str
    make: Callable[[Any], Any]
    inputs: Callable[[], tuple[Any, Any]]
    loss: str
    jax_forward: Callable[[dict[str, Any], Any], Any]


# -- the same models for JAX -------------------------------------------------------------------------------------------


def _jax_linear(p: dict[str, Any], name: str, x: Any) -> Any:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def _jax_mlp(p: dict[str, Any], x: Any) -> Any:
    return _jax_linear(p, "2", jax.nn.relu(_jax_linear(p, "0", x)))


def _jax_conv(p: dict[str, Any], name: str, x: Any) -> Any:
    y = jax.lax.conv_general_dilated(x, p[f"{name}.weight"], (1, 1), ((1, 1), (1, 1)))
    return jax.nn.relu(y + p[f"{name}.bias"][:, None, None])


def _jax_digits(p: dict[str, Any], x: Any) -> Any:
    x = _jax_conv(p, "2", _jax_conv(p, "0", x))
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return _jax_linear(p, "8", jax.nn.relu(_jax_linear(p, "6", x.reshape(x.shape[0], -1))))


def _jax_norm(p: dict[str, Any], name: str, x: Any) -> Any:
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def _jax_block(heads: int) -> Callable[[dict[str, Any], Any], Any]:
    def block(p: dict[str, Any], x: Any) -> Any:
        batch, length, _ = x.shape

        def split(y: Any) -> Any:
            return y.reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)

        q, k, v = map(split, jnp.split(_jax_linear(p, "qkv", _jax_norm(p, "first", x)), 3, -1))
        weights = jax.nn.softmax(q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1]).astype(np.float32), -1)
        y = (weights @ v).transpose(0, 2, 1, 3).reshape(x.shape)
        x = x + _jax_linear(p, "out", y)
        up = jax.nn.gelu(_jax_linear(p, "up", _jax_norm(p, "second", x)), approximate=False)
        return x + _jax_linear(p, "down", up)

    return block


def _images(*shape: int) -> Callable[[], tuple[Any, Any]]:
    random = np.random.default_rng(0)
    return lambda: (random.standard_normal(shape).astype(np.float32), random.integers(0, 10, shape[0]))


def _sequences(*shape: int) -> Callable[[], tuple[Any, Any]]:
    random = np.random.default_rng(0)
    return lambda: tuple(random.standard_normal(shape).astype(np.float32) for _ in range(2))  # type: ignore[return-value]


def _mlp(lib: Any) -> Any:
    nn = lib.nn
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


STEPS = [
    Step("mlp 64-128-10, batch 64", _mlp, _images(64, 64), "cross_entropy", _jax_mlp),
    Step(
        "digits cnn, batch 64",
        lambda lib: architectures.digits(lib.nn),
        _images(64, 1, 8, 8),
        "cross_entropy",
        _jax_digits,
    ),
    Step("transformer 64, 8x32", models.transformer(64, 4), _sequences(8, 32, 64), "mse_loss", _jax_block(4)),
    Step("transformer 256, 8x128", models.transformer(256, 8), _sequences(8, 128, 256), "mse_loss", _jax_block(8)),
]


# -- candidates: functions that make one step and give the loss --------------------------------------------------------


def _python_step(lib: Any, step: Step, model: Any, optimizer: Any) -> Callable[[Any, Any], Any]:
    loss_function = getattr(lib.nn.functional, step.loss)

    def function(inputs: Any, targets: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_function(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    return function


def with_ingot(step: Step, state: dict[str, Any], data: tuple[Any, Any]) -> Callable[[], float]:
    model = step.make(ingot)
    model.load_state_dict({k: ingot.tensor(v) for k, v in state.items()})
    optimizer = ingot.optim.Adam(model.parameters(), LR)
    arguments = tuple(ingot.from_numpy(a) for a in data)
    traced = jit.trace(_python_step(ingot, step, model, optimizer), arguments, check_trace=False)
    return lambda: traced(*arguments)


def _torch_parts(step: Step, state: dict[str, Any], data: tuple[Any, Any]) -> tuple[Any, Any, tuple[Any, Any]]:
    model = step.make(torch)
    model.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    optimizer = torch.optim.Adam(model.parameters(), LR)
    return model, optimizer, tuple(torch.from_numpy(a) for a in data)  # type: ignore[return-value]


def with_torch(step: Step, state: dict[str, Any], data: tuple[Any, Any]) -> Callable[[], Any]:
    model, optimizer, arguments = _torch_parts(step, state, data)
    function = _python_step(torch, step, model, optimizer)
    return lambda: function(*arguments)


def with_inductor(step: Step, state: dict[str, Any], data: tuple[Any, Any]) -> Callable[[], Any]:
    """Forward and backward compiled, and the optimiser's update compiled."""
    if shutil.which("c++") is None:
        raise LookupError("no C++ compiler")
    model, optimizer, (inputs, targets) = _torch_parts(step, state, data)
    loss_function = getattr(torch.nn.functional, step.loss)
    forward = torch.compile(lambda x, y: loss_function(model(x), y))
    update = torch.compile(optimizer.step, fullgraph=False)

    def function() -> Any:
        optimizer.zero_grad()
        loss = forward(inputs, targets)
        loss.backward()
        update()
        return loss

    return function


def with_jax(step: Step, state: dict[str, Any], data: tuple[Any, Any]) -> Callable[[], Any]:
    def loss_of(parameters: Any, x: Any, y: Any) -> Any:
        found = step.jax_forward(parameters, x)
        if step.loss == "mse_loss":
            return ((found - y) ** 2).mean()
        return -jnp.take_along_axis(jax.nn.log_softmax(found), y[:, None], 1).mean()

    def update(parameters: Any, first: Any, second: Any, count: Any, x: Any, y: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, y)
        count = count + 1
        first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradients)
        second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradients)
        size, root = LR / (1 - BETA1**count), jnp.sqrt(1 - BETA2**count)
        parameters = jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) / root + EPS), parameters, first, second)
        return loss, parameters, first, second, count

    compiled = jax.jit(update, donate_argnums=(0, 1, 2, 3))
    held: list[Any] = [{k: jnp.asarray(v) for k, v in state.items()}]
    held += [jax.tree.map(jnp.zeros_like, held[0]), jax.tree.map(jnp.zeros_like, held[0]), jnp.zeros(())]
    inputs, targets = (jax.device_put(a) for a in data)

    def function() -> Any:
        loss, *held[:] = compiled(*held, inputs, targets)
        return loss.block_until_ready()

    return function


def run_step(step: Step, seconds: float, quietest: bool) -> str:
    """One row of the table."""
    ingot.manual_seed(0)
    state = {k: np.array(v.numpy()) for k, v in step.make(ingot).state_dict().items()}
    data = step.inputs()
    makers: dict[str, Any] = {"ingot": with_ingot}
    if torch is not None:
        makers |= {"torch": with_torch, "inductor": with_inductor}
    if jax is not None:
        makers["jax"] = with_jax
    candidates: dict[str, Callable[[], Any]] = {}
    notes = []
    losses: dict[str, list[float]] = {}
    for name, make in makers.items():
        try:
            function = make(step, state, data)
            losses[name] = [float(function()) for _ in range(CHECKED_STEPS)]
            candidates[name] = function
        except Exception as error:
            if name == "ingot":
                raise
            notes.append(f"{name} left out: {type(error).__name__}")
    for name, found in losses.items():
        if not np.allclose(found, losses["ingot"], rtol=2e-3):
            raise SystemExit(f"{step.name}: the losses of {name} are {found}, of ingot {losses['ingot']}")
    times = compare(candidates, seconds=seconds, quietest=quietest)
    columns = "".join(
        f"{times[n]:11,.0f}" if n in times else f"{'-':>11}" for n in ("ingot", "torch", "inductor", "jax")
    )
    ratios = "  ".join(f"{n} {times[n] / times['ingot']:.2f}x" for n in times if n != "ingot")
    return f"{step.name:<26}{columns}   {ratios}  {'; '.join(notes)}"


# -- memory and compile times ------------------------------------------------------------------------------------------


def _resnet() -> tuple[Any, Any]:
    return architectures.resnet18(ingot.nn), ingot.randn(1, 3, 224, 224)


def _block() -> tuple[Any, Any]:
    return models.transformer(256, 8)(ingot), ingot.randn(8, 128, 256)


def memory_and_compile_time(name: str, make: Callable[[], tuple[Any, Any]]) -> str:
    """Peak memory of a call, eager and planned, and the seconds until the first result, cold and from the cache."""
    ingot.manual_seed(0)
    model, x = make()
    model.eval()
    with ingot.no_grad():
        model(x)
        tracemalloc.start()
        model(x)
        eager = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        seconds = []
        with tempfile.TemporaryDirectory() as folder:
            before = os.environ.get("INGOT_CACHE_DIR")
            os.environ["INGOT_CACHE_DIR"] = folder
            try:
                for _ in range(2):
                    function = jit.freeze(jit.trace(model, x, check_trace=False))
                    start = time.perf_counter()
                    result = function(x)
                    seconds.append(time.perf_counter() - start)
            finally:
                os.environ.pop("INGOT_CACHE_DIR")
                if before is not None:
                    os.environ["INGOT_CACHE_DIR"] = before
    planned = function.planned_bytes(x)
    return (
        f"{name:<26} peak memory: eager {eager / 2**20:.1f} MiB, planned {planned / 2**20:.1f} MiB "
        f"({planned / eager:.2f}); first call: cold {seconds[0]:.2f} s, cached {seconds[1]:.3f} s {list(result.shape)}"
    )


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="the steps whose name contains this text")
    parser.add_argument("--threads", type=int, default=ingot.get_num_threads())
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each row is measured")
    parser.add_argument("--quietest", action="store_true", help="the best round counts, not the median: a busy machine")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", jit.FallbackWarning)
    ingot.set_num_threads(options.threads)
    if torch is not None:
        torch.set_num_threads(options.threads)
    print(f"{options.threads} threads; microseconds per training step (medians, in turns), and ratios to ingot's")
    print(f"{'':<26}{'ingot':>11}{'torch':>11}{'inductor':>11}{'jax':>11}")
    for step in STEPS:
        if options.only in step.name:
            print(run_step(step, options.seconds, options.quietest), flush=True)
    for name, make in (("transformer 256, 8x128", _block), ("resnet-18, 1x224x224", _resnet)):
        if options.only in name:
            print(memory_and_compile_time(name, make), flush=True)


if __name__ == "__main__":
    main()
