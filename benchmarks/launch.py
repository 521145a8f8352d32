"""What it costs to get native code going: calls, launches on the thread pool, loading objects, memory for results.

Run it on a quiet machine: python -m benchmarks.launch
"""

import contextlib
import ctypes
import functools
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ingot
import numpy as np
from ingot import jit
from ingot.jit.runtime import memory, pool
from ingot.jit.runtime.cache import Cache, cache_key
from ingot.jit.runtime.call import ctypes_entry, native_entry
from ingot.jit.runtime.loader import emit_object, feature_string, host_cpu_name, host_features, load_object

# `work` spins through p rounds per iteration; `triangle` through p rounds times the number of the iteration.
KERNELS = """
declare void @ingot_parallel_for(i64, i64, i64, i64, i64)

define internal void @rounds(i64 %n) noinline {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %following, %loop ]
  %x = phi double [ 1.0, %entry ], [ %y, %loop ]
  %root = call double @llvm.sqrt.f64(double %x)
  %y = fadd double %root, 1.5
  %following = add i64 %i, 1
  %more = icmp slt i64 %following, %n
  br i1 %more, label %loop, label %done
done:
  %bits = bitcast double %y to i64
  call void asm sideeffect "", "r"(i64 %bits)
  ret void
}
declare double @llvm.sqrt.f64(double)

define void @work(i64 %p, i64 %lo, i64 %hi) {
entry:
  %many = sub i64 %hi, %lo
  %n = mul i64 %p, %many
  call void @rounds(i64 %n)
  ret void
}

define void @triangle(i64 %p, i64 %lo, i64 %hi) {
entry:
  br label %test
test:
  %i = phi i64 [ %lo, %entry ], [ %following, %body ]
  %more = icmp slt i64 %i, %hi
  br i1 %more, label %body, label %done
body:
  %following = add i64 %i, 1
  %n = mul i64 %p, %following
  call void @rounds(i64 %n)
  br label %test
done:
  ret void
}

define void @many(i64 %pool, i64 %function, i64 %p, i64 %n, i64 %times) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %following, %loop ]
  call void @ingot_parallel_for(i64 %pool, i64 %function, i64 %p, i64 %n, i64 1)
  %following = add i64 %i, 1
  %more = icmp slt i64 %following, %times
  br i1 %more, label %loop, label %done
done:
  ret void
}

define i64 @values0() {
  ret i64 0
}
define i64 @values1(i64 %a) {
  ret i64 %a
}
define i64 @values4(i64 %a, i64 %b, i64 %c, i64 %d) {
  ret i64 %d
}
define i64 @values8(i64 %a, i64 %b, i64 %c, i64 %d, i64 %e, i64 %f, i64 %g, i64 %h) {
  ret i64 %h
}
"""
NAMES = ["work", "triangle", "many", "values0", "values1", "values4", "values8"]

LOAD = """
import sys, time
start = time.perf_counter()
import numpy
numpy_done = time.perf_counter()
from ingot.jit.runtime.cache import Cache
from ingot.jit.runtime import loader, pool
from ingot.jit.runtime.targets import native_llvm
imported = time.perf_counter()
native_llvm()
library = time.perf_counter()
pool.parallel_for_address()
pool.pool_address()
started = time.perf_counter()
loader.load_object(Cache(sys.argv[1]).get(sys.argv[2]), ["work"])
loaded = time.perf_counter()
print(*[1e3 * (b - a) for a, b in [(start, numpy_done), (numpy_done, imported), (imported, library),
                                   (library, started), (started, loaded)]])
"""


def nanoseconds(statement: str, names: dict[str, object], number: int = 100_000) -> float:
    """The fastest of five runs, per execution of the statement."""
    return min(timeit.repeat(statement, globals=names, number=number, repeat=5)) / number * 1e9


def median_microseconds(function: Callable[[], object], repeat: int = 60, per: int = 1) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        times.append((time.perf_counter() - start) * 1e6 / per)
    return statistics.median(times)


def calls(address: dict[str, int]) -> None:
    print("one call from Python, ns                         0 args   1      4      8")
    arrays = [np.zeros(3) for _ in range(8)]
    counts = (0, 1, 4, 8)

    def row(label: str, make: Callable[[int], Callable[..., int]], values: list[object]) -> None:
        costs = []
        for count in counts:
            arguments = {f"x{i}": value for i, value in enumerate(values[:count])}
            costs.append(nanoseconds(f"f({', '.join(arguments)})", {"f": make(count), **arguments}))
        print(f"  {label:45s}" + "".join(f"{cost:7.0f}" for cost in costs))

    numbers: list[object] = list(range(8))
    objects: list[object] = list(arrays)
    row("native_entry, ints as values", lambda k: native_entry(address[f"values{k}"], "i" * k, table=False), numbers)
    row("native_entry, arrays in a table", lambda k: native_entry(address["values1"], "a" * k), objects)
    row("native_entry, data pointers in a table", lambda k: native_entry(address["values1"], "p" * k), objects)
    integers = ctypes.c_int64
    row("ctypes, c_int64", lambda k: ctypes.CFUNCTYPE(integers, *[integers] * k)(address[f"values{k}"]), numbers)
    row(
        "ctypes, py_object",
        lambda k: ctypes.CFUNCTYPE(integers, *[ctypes.py_object] * k)(address[f"values{k}"]),
        objects,
    )
    row("ctypes_entry (the fallback), arrays in a table", lambda k: ctypes_entry(address["values1"], "a" * k), objects)
    print(f"  pool_address(){nanoseconds('f()', {'f': pool.pool_address}):38.0f}")


def launches(address: dict[str, int]) -> None:
    threads = pool.get_num_threads()
    print(f"thread pool, {threads} threads")
    code = pool._code()
    many = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(address["many"])

    def loop(name: str, p: int, n: int, times: int) -> Callable[[], None]:
        return lambda: many(pool.pool_address(), address[name], p, n, times)

    def one_and_all(measure: Callable[[], float]) -> tuple[float, float]:
        pool.set_num_threads(1)
        one = measure()
        pool.set_num_threads(threads)
        time.sleep(0.01)
        return one, measure()

    def after(pause: float) -> float:
        times = []
        for _ in range(300):
            resume = time.perf_counter() + pause
            while time.perf_counter() < resume:
                pass
            start = time.perf_counter()
            code.parallel_for(pool.pool_address(), address["work"], 300, 100, 1)
            times.append((time.perf_counter() - start) * 1e6)
        return statistics.median(times)

    one, all_ = one_and_all(lambda: median_microseconds(loop("work", 200, threads, 100), per=100))
    print(f"  launch overhead, workers spinning: {all_ - one / threads:.2f} us ({one:.2f} us of work in {all_:.2f} us)")
    one, all_ = one_and_all(lambda: after(0))
    asleep = after(0.001)
    print(f"  the same from Python, {one:.0f} us of work: {all_ - one / threads:.1f} us, workers asleep: ", end="")
    print(f"{asleep - one / threads:.1f} us ({all_:.1f} and {asleep:.1f} us)")
    for label, name, p, n in [
        ("balanced, 10 us", "work", 5, 400),
        ("balanced, 1 ms", "work", 500, 400),
        ("unbalanced (cost grows with the index), 1 ms", "triangle", 2, 447),
    ]:
        run = loop(name, p, n, 20)
        one, all_ = one_and_all(functools.partial(median_microseconds, run, per=20))
        print(f"  {label}: {one:.1f} us on one thread, {all_:.1f} us on {threads}: {one / all_:.2f}x")


def loading() -> None:
    print("objects")
    features = feature_string(host_features())

    def emit() -> bytes:
        return emit_object(KERNELS, cpu=host_cpu_name(), features=features, keep=NAMES)

    blob = emit()
    print(f"  emit {len(blob)} bytes: {median_microseconds(emit, 10) / 1e3:.2f} ms")
    print(f"  load it: {median_microseconds(lambda: load_object(blob, NAMES), 20) / 1e3:.2f} ms")
    with tempfile.TemporaryDirectory() as directory:
        cache, key = Cache(Path(directory) / "kernels"), cache_key("benchmark")
        put = median_microseconds(lambda: cache.put(key, blob), 20)
        get = median_microseconds(lambda: cache.get(key), 50)
        print(f"  cache: put {put:.0f} us (fsync included), get {get:.0f} us")
        command = [sys.executable, "-c", LOAD, str(cache.directory), key]
        runs = [list(map(float, subprocess.check_output(command, text=True).split())) for _ in range(5)]
        steps = [statistics.median(step) for step in zip(*runs, strict=True)]
        names = ["numpy", "runtime", "LLVM library", "pool", "cached object"]
        print(
            "  fresh process, ms: " + ", ".join(f"{name} {step:.1f}" for name, step in zip(names, steps, strict=True))
        )


def allocation() -> None:
    array = np.zeros((3, 4))
    print("memory, ns")
    print(f"  address_of {nanoseconds('f(x)', {'f': memory.address_of, 'x': array}):.0f}")
    print(f"  array.ctypes.data {nanoseconds('x.ctypes.data', {'x': array}):.0f}")
    lease = nanoseconds("w.release(w.acquire(1000))", {"w": memory.workspace})
    print(f"  workspace acquire and release {lease:.0f}")
    print("results, us                 numpy.empty  recycled   with fill: numpy.empty  recycled")
    recycler = memory.ArrayRecycler(smallest=0)
    f32 = np.dtype(np.float32)
    for label, nbytes in [("1 KB", 1 << 10), ("1 MB", 1 << 20), ("16 MB", 1 << 24), ("64 MB", 1 << 26)]:
        number = max(5, min(20_000, (1 << 28) // nbytes))
        costs = [
            nanoseconds(statement, {"make": make, "shape": (nbytes // 4,), "f32": f32}, number) / 1e3
            for statement in ("x = make(shape, f32)", "x = make(shape, f32); x.fill(1)")
            for make in (np.empty, recycler.empty)
        ]
        print(f"  {label:25s}{costs[0]:12.2f}{costs[1]:10.2f}{costs[2]:24.2f}{costs[3]:10.2f}")


def graphs() -> None:
    """Calls of compiled graphs on 16 numbers: what a call costs and each kernel in it adds; and other libraries'.

    A sum of prefixes is a kernel of its own here, and one operation everywhere.
    """
    x = ingot.ones(4, 4)
    seconds = []
    for kernels in (1, 2, 3, 4):
        compiled = jit.trace(functools.partial(_sums, kernels=kernels), x, check_trace=False)
        compiled(x)
        seconds.append(_seconds(functools.partial(compiled, x)))
    each = (seconds[-1] - seconds[0]) / 3
    print("graphs, us: " + ", ".join(f"{n} kernels {s * 1e6:.2f}" for n, s in enumerate(seconds, 1)))
    print(f"  a kernel more: {each * 1e6:.2f}, so the call itself: {(seconds[0] - each) * 1e6:.2f}")
    others = {"eager": functools.partial(_sums, x, 3), **_peers()}
    print("  three kernels elsewhere, us: " + ", ".join(f"{who} {_seconds(f) * 1e6:.2f}" for who, f in others.items()))


def _sums(x: Any, kernels: int = 3) -> Any:
    for n in range(kernels):
        x = x.cumsum(n % 2)
    return x


def _seconds(function: Callable[[], object], number: int = 1000) -> float:
    function()
    return min(timeit.repeat(function, number=number, repeat=30)) / number


def _peers() -> dict[str, Callable[[], object]]:
    """The same three prefix sums in the libraries that are installed."""
    found: dict[str, Callable[[], object]] = {}
    ones = np.ones((4, 4), np.float32)
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(pool.get_num_threads())
        tensor = torch.from_numpy(ones)
        traced = torch.jit.trace(_sums, tensor, check_trace=False)
        found["PyTorch eager"] = functools.partial(_sums, tensor)
        found["TorchScript"] = functools.partial(traced, tensor)
    with contextlib.suppress(ImportError):
        import jax

        array = jax.numpy.asarray(ones)
        jitted = jax.jit(_sums)
        found["JAX"] = lambda: jitted(array).block_until_ready()
    with contextlib.suppress(ImportError):
        import onnxruntime

        import onnx

        nodes = [onnx.helper.make_node("CumSum", [f"x{n}", f"axis{n % 2}"], [f"x{n + 1}"]) for n in range(3)]
        kinds = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (4, 4)) for name in ("x0", "x3")]
        axes = [onnx.numpy_helper.from_array(np.int64(axis), f"axis{axis}") for axis in (0, 1)]
        graph = onnx.helper.make_graph(nodes, "sums", kinds[:1], kinds[1:], axes)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        found["ONNX Runtime"] = lambda: session.run(None, {"x0": ones})
    return found


def main() -> None:
    address = load_object(emit_object(KERNELS, cpu="", features="", keep=NAMES), NAMES)
    start = time.perf_counter()
    pool.pool_address()
    print(f"pool start: {(time.perf_counter() - start) * 1e3:.2f} ms")
    calls(address)
    launches(address)
    loading()
    allocation()
    graphs()


if __name__ == "__main__":
    main()
