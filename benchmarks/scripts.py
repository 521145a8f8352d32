"""Scripted programs beside their peers: scalar programs beside Numba and Python, recurrent loops beside JAX's scan.

Run with `make bench` or `python -m benchmarks.scripts`. Times are the fastest of interleaved rounds, results compared.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import ingot
import numpy as np
from ingot import jit

from . import script_programs as programs

try:
    import jax
    import jax.numpy as jnp
except ImportError:  # the peers are optional
    jax = None

ROUNDS = 60


def fastest(candidates: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """Microseconds of the fastest call of each candidate; they take turns, so that noise meets them all."""
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(rounds):
        for name, function in candidates.items():
            start = time.perf_counter()
            function()
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: seconds * 1e6 for name, seconds in best.items()}


SCALAR: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (programs.sieve, (200_000,)),
    (programs.rk4, (20_000, 0.01)),
    (programs.gcd_sum, (300,)),
    (programs.knapsack, (200, 2000)),
    (programs.scan, ("The quick (brown) fox 12 ((jumps)) over 345 lazy dogs\n" * 2000,)),
    (programs.fib, (24,)),
]


def scalar_programs() -> None:
    """Sieve, Runge-Kutta, greatest common divisors, knapsack, string scanning and recursion."""
    import numba

    print(f"{'scalar program':<14} {'ingot':>10} {'numba':>10} {'python':>12} {'of numba':>9} {'of python':>10}")
    for function, arguments in SCALAR:
        # Numba finds a function that calls itself under its global name.
        copy = FunctionType(function.__code__, dict(function.__globals__), function.__name__)
        ours, theirs = jit.script(function), numba.njit(copy)
        copy.__globals__[function.__name__] = theirs
        results = {ours(*arguments), theirs(*arguments), function(*arguments)}
        if len(results) != 1:
            raise SystemExit(f"{function.__name__}: the results differ: {results}")
        times = fastest({"ingot": lambda f=ours, a=arguments: f(*a), "numba": lambda f=theirs, a=arguments: f(*a)})
        python = fastest({"python": lambda f=function, a=arguments: f(*a)}, 3)["python"]
        a, b = times["ingot"], times["numba"]
        print(f"{function.__name__:<14} {a:10,.0f} {b:10,.0f} {python:12,.0f} {a / b:8.2f}x {python / a:9.0f}x")


def rnn(xs: Any, h: Any, w_ih: Any, w_hh: Any, b: Any) -> Any:
    """An Elman network over a sequence."""
    for t in range(xs.shape[0]):
        h = ingot.tanh(xs[t] @ w_ih + h @ w_hh + b)
    return h


def lstm(xs: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, b: Any) -> Any:
    """A network of long short-term memory over a sequence."""
    n = h.shape[1]
    for t in range(xs.shape[0]):
        g = xs[t] @ w_ih + h @ w_hh + b
        i, f, o = ingot.sigmoid(g[:, :n]), ingot.sigmoid(g[:, n : 2 * n]), ingot.sigmoid(g[:, 3 * n :])
        c = f * c + i * ingot.tanh(g[:, 2 * n : 3 * n])
        h = o * ingot.tanh(c)
    return h


def jax_peers() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The same networks with `jax.lax.scan`."""

    @jax.jit
    def rnn_scan(xs: Any, h: Any, w_ih: Any, w_hh: Any, b: Any) -> Any:
        return jax.lax.scan(lambda h, x: (jnp.tanh(x @ w_ih + h @ w_hh + b), None), h, xs)[0]

    @jax.jit
    def lstm_scan(xs: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, b: Any) -> Any:
        n = h.shape[1]

        def step(state: Any, x: Any) -> Any:
            h, c = state
            g = x @ w_ih + h @ w_hh + b
            i, f, o = jax.nn.sigmoid(g[:, :n]), jax.nn.sigmoid(g[:, n : 2 * n]), jax.nn.sigmoid(g[:, 3 * n :])
            c = f * c + i * jnp.tanh(g[:, 2 * n : 3 * n])
            return (o * jnp.tanh(c), c), None

        return jax.lax.scan(step, (h, c), xs)[0][0]

    return rnn_scan, lstm_scan


def recurrent() -> None:
    """100 steps of an RNN (1 x 64) and an LSTM (1 x 128)."""
    random = np.random.RandomState(0)
    peers = jax_peers() if jax is not None else (None, None)
    for name, function, peer, size, states, gates in (
        ("RNN 100 steps, 1 x 64", rnn, peers[0], 64, 1, 1),
        ("LSTM 100 steps, 1 x 128", lstm, peers[1], 128, 2, 4),
    ):
        shapes = [(100, 1, size), *[(1, size)] * states, *[(size, gates * size)] * 2, (gates * size,)]
        arrays = [(random.randn(*s) * 0.2).astype(np.float32) for s in shapes]
        ours = [ingot.from_numpy(a) for a in arrays]
        scripted = jit.script(function)
        with ingot.no_grad():
            candidates: dict[str, Callable[[], Any]] = {"ingot": lambda f=scripted, a=ours: f(*a)}
            if peer is not None:
                theirs = [jnp.asarray(a) for a in arrays]
                if not np.allclose(np.asarray(peer(*theirs)), scripted(*ours).numpy(), atol=1e-4):
                    raise SystemExit(f"{name}: the results differ")
                candidates["jax"] = lambda f=peer, a=theirs: f(*a).block_until_ready()
            times = fastest(candidates, 300)
        other = f"JAX scan {times['jax']:,.0f} us: {times['jax'] / times['ingot']:.2f}x" if "jax" in times else "no JAX"
        print(f"{name}: {times['ingot']:,.0f} us; {other}")


def overhead() -> None:
    """A call of a scripted function of two small tensors."""

    def add(x: Any, y: Any) -> Any:
        return x + y

    scripted, x, y = jit.script(add), ingot.ones(4), ingot.ones(4)
    with ingot.no_grad():
        best = float("inf")
        for _ in range(200):
            start = time.perf_counter()
            for _ in range(1000):
                scripted(x, y)
            best = min(best, time.perf_counter() - start)
    print(f"a call with two small tensors: {best * 1e3:.2f} us")


def long_function() -> str:
    """The source of a function of 100 lines with three nested loops."""
    lines = ["def long(n: int, m: int) -> float:", "    total = 0.0", "    x0 = x1 = x2 = x3 = x4 = 1"]
    for depth, name in enumerate("ijk"):
        lines.append(f"{'    ' * (depth + 1)}for {name} in range(n + {depth}):")
    for line in range(94):
        value = (f"total + {line}.5 * j", f"total - x{line % 5}", f"i * {line} + k", f"total * 0.5 + x{(line + 1) % 5}")
        target = "total" if line % 4 != 2 else f"x{line % 5}"
        lines.append(f"                {target} = {value[line % 4]}")
    return "\n".join([*lines, "    return total", ""])


def compile_time() -> None:
    """A function of 100 lines with three nested loops: compiled, and found in the cache by another object."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long_function.py"
        path.write_text(long_function() + f"# {time.time()}\n")
        sys.path.insert(0, folder)
        module = __import__("long_function")
        sys.path.remove(folder)
        jit.script(programs.sieve)(10)  # what the compiler itself needs is loaded
        times = []
        for _ in range(2):
            start = time.perf_counter()
            jit.script(module.long)(2, 3)
            times.append((time.perf_counter() - start) * 1e3)
    print(f"a function of 100 lines with three nested loops: {times[0]:,.0f} ms, from the cache {times[1]:,.0f} ms")


def main() -> None:
    """Run everything."""
    scalar_programs()
    recurrent()
    overhead()
    compile_time()


if __name__ == "__main__":
    main()
