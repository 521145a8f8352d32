"""Nanoseconds per element of each vector function on one thread, beside numpy and PyTorch, and the vector width.

Run `python benchmarks/vector_math.py [NAME ...]`; `--torch PYTHON` names an interpreter that has PyTorch, which is
measured in a process of its own. `--disassemble NAME DTYPE` prints the loop instead.
"""

import argparse
import json
import re
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from ingot.jit.codegen.vector_math import FUNCTIONS, JIT_OPTIONS, primitives, source

SIZES = (1000, 1 << 20)
KINDS: dict[str, tuple[Any, Any]] = {"f32": (np.float32, numba.types.float32), "f64": (np.float64, numba.types.float64)}
NUMPY = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10,
    "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "cbrt": np.cbrt, "sqrt": np.sqrt, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc,
    "round": np.rint, "pow": np.power, "atan2": np.arctan2, "fmod": np.fmod, "remainder": np.remainder,
}  # fmt: skip
# Runs in an interpreter with PyTorch: for each line of JSON (name, dtype, size) it prints nanoseconds per element or
# null.
TORCH = """
import json, sys, time
import torch
import torch.nn.functional as F
torch.set_num_threads(1)
torch.set_grad_enabled(False)
other = {"silu": F.silu, "mish": F.mish, "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
         "log_sigmoid": F.logsigmoid, "softplus": lambda x, beta, threshold: F.softplus(x),
         "fmod": torch.fmod, "remainder": torch.remainder, "pow": torch.pow}
for line in sys.stdin:
    name, dtype, size = json.loads(line)
    function = other.get(name) or getattr(torch, name, None)
    if function is None:
        print("null", flush=True)
        continue
    kind = {"f32": torch.float32, "f64": torch.float64}[dtype]
    x = torch.rand(size, dtype=kind) * 0.9 + 0.05
    if name == "acosh":
        x = x + 1
    arguments = [x] * {"pow": 2, "atan2": 2, "fmod": 2, "remainder": 2, "softplus": 3}.get(name, 1)
    best = float("inf")
    repeats = max(1, 200000 // size)
    for _ in range(15):
        start = time.perf_counter()
        for _ in range(repeats):
            function(*arguments)
        best = min(best, time.perf_counter() - start)
    print(json.dumps(best / repeats / size * 1e9), flush=True)
"""


def compiled(name: str, dtype: str) -> tuple[Any, float]:
    """A loop over arrays around the function, and the seconds it took to compile."""
    space: dict[str, Any] = {}
    names = ", ".join(primitives(name, dtype))
    exec("import numpy as np" + (f"\nfrom ingot.jit.codegen.bits import {names}" if names else ""), space)
    for part, text in source(name, dtype):
        exec(text, space)
        if text.startswith("def "):
            space[part] = numba.njit(**JIT_OPTIONS)(space[part])
    arguments = [f"x{i}" for i in range(FUNCTIONS[name][dtype].arity)]
    call = f"{name}_{dtype}({', '.join(f'{a}[i]' for a in arguments)})"
    exec(
        f"def loop({', '.join(arguments)}, out, size):\n    for i in range(size):\n        out[i] = {call}",
        space,
    )
    loop = numba.njit(error_model="numpy")(space["loop"])
    array = numba.types.Array(KINDS[dtype][1], 1, "C")
    start = time.perf_counter()
    loop.compile(numba.types.void(*[array] * (len(arguments) + 1), numba.types.uint64))
    return loop, time.perf_counter() - start


def nanoseconds(call: Callable[[], Any], size: int) -> float:
    """The best time of a call, per element."""
    repeats = max(1, 200_000 // size)
    best = float("inf")
    for _ in range(15):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        best = min(best, time.perf_counter() - start)
    return best / repeats / size * 1e9


def registers(loop: Any) -> str:
    """The widest vector registers in the loop's assembly."""
    (text,) = loop.inspect_asm().values()
    for name, pattern in (("512", r"%zmm"), ("256", r"%ymm"), ("128", r"\b[a-z]+p[sd]\s.*%xmm|\.[24][sd]\b")):
        if re.search(pattern, text):
            return name
    return "scalar"


def measure(name: str, dtype: str, size: int, loop: Any, other: "subprocess.Popen[str] | None") -> str:
    """The times of the loop, of numpy and of PyTorch for one size, as text."""
    x = (np.random.default_rng(0).random(size) * 0.9 + 0.05 + (name == "acosh")).astype(KINDS[dtype][0])
    arguments = [x] * FUNCTIONS[name][dtype].arity
    out, count = np.empty_like(x), np.uint64(size)
    mine = nanoseconds(lambda: loop(*arguments, out, count), size)
    theirs = NUMPY.get(name)
    numpy_time = nanoseconds(lambda: theirs(*arguments, out=out), size) if theirs else None
    torch_time = None
    if other is not None:
        assert other.stdin is not None and other.stdout is not None
        other.stdin.write(json.dumps([name, dtype, size]) + "\n")
        other.stdin.flush()
        torch_time = json.loads(other.stdout.readline())
    return f"{mine:13.2f} " + " ".join(f"{t:7.2f}" if t else "      -" for t in (numpy_time, torch_time))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="functions, by default all")
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter with PyTorch")
    parser.add_argument("--disassemble", nargs=2, metavar=("NAME", "DTYPE"))
    options = parser.parse_args()
    if options.disassemble:
        print(next(iter(compiled(*options.disassemble)[0].inspect_asm().values())))
        return
    other = None
    if options.torch:
        command = [options.torch, "-c", TORCH]
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    columns = "  ".join(f"{f'ingot {n}':>13} {'numpy':>7} {'torch':>7}" for n in SIZES)
    print(f"{'ns per element':15} {'bits':>6} {'compile':>8} {columns}")
    for name in options.names or FUNCTIONS:
        for dtype in FUNCTIONS[name]:
            loop, seconds = compiled(name, dtype)
            cells = "  ".join(measure(name, dtype, size, loop, other) for size in SIZES)
            print(f"{f'{name}_{dtype}':15} {registers(loop):>6} {seconds:7.2f}s {cells}", flush=True)
    if other is not None:
        other.terminate()


if __name__ == "__main__":
    main()
