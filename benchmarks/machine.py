"""The machine's limits, measured: multiply-adds in registers, and streams past all caches (read, copied, added)."""

import ctypes
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from ingot.jit.runtime.targets import llvm

__all__ = ["limits"]

# 24 accumulators hide the latency of multiply-adds; the sum keeps eight loads in flight beside each other.
_BYTES = 256 << 20
_REPEATS = 9


def _vectors(count: int, text: str) -> str:
    return "\n".join(text.replace("#", str(i)) for i in range(count))


def _source(lanes: int) -> str:
    v = f"<{lanes} x float>"
    fma = f"declare {v} @llvm.fma.v{lanes}f32({v}, {v}, {v})"
    return f"""
{fma}
define void @multiply(i64 %n, ptr %out) {{
start:
  br label %loop
loop:
  %i = phi i64 [ 0, %start ], [ %next, %loop ]
{_vectors(24, f"  %a# = phi {v} [ zeroinitializer, %start ], [ %b#, %loop ]")}
  %x = load volatile {v}, ptr %out
{_vectors(24, f"  %b# = call {v} @llvm.fma.v{lanes}f32({v} %x, {v} %x, {v} %a#)")}
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %done
done:
{_vectors(24, f"  %p# = getelementptr {v}, ptr %out, i64 #{chr(10)}  store volatile {v} %b#, ptr %p#")}
  ret void
}}
define void @read(i64 %n, ptr %in, ptr %out) {{
start:
  br label %loop
loop:
  %i = phi i64 [ 0, %start ], [ %next, %loop ]
{_vectors(8, f"  %a# = phi {v} [ zeroinitializer, %start ], [ %b#, %loop ]")}
{
        _vectors(
            8,
            f'''  %k# = add i64 %i, #
  %p# = getelementptr {v}, ptr %in, i64 %k#
  %x# = load {v}, ptr %p#
  %b# = fadd {v} %a#, %x#''',
        )
    }
  %next = add i64 %i, 8
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %done
done:
{_vectors(8, f"  %q# = getelementptr {v}, ptr %out, i64 #{chr(10)}  store volatile {v} %b#, ptr %q#")}
  ret void
}}
{_streams(v)}
!0 = !{{i32 1}}
"""


def _streams(v: str) -> str:
    """Copies and sums of two arrays, four vectors at a time; stores go through the caches or past them."""
    functions = []
    for name in ("copy", "add"):
        for suffix, store in (("", ""), ("_streaming", ", !nontemporal !0")):
            step = f"""  %k# = add i64 %i, #
  %p# = getelementptr {v}, ptr %left, i64 %k#
  %q# = getelementptr {v}, ptr %right, i64 %k#
  %r# = getelementptr {v}, ptr %out, i64 %k#
  %x# = load {v}, ptr %p#"""
            if name == "add":
                step += f"\n  %y# = load {v}, ptr %q#\n  %z# = fadd {v} %x#, %y#"
            step += f"\n  store {v} %{'z' if name == 'add' else 'x'}#, ptr %r#{store}"
            functions.append(f"""
define void @{name}{suffix}(i64 %n, ptr %left, ptr %right, ptr %out) {{
start:
  br label %loop
loop:
  %i = phi i64 [ 0, %start ], [ %next, %loop ]
{_vectors(4, step)}
  %next = add i64 %i, 4
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}""")
    return "\n".join(functions)


def _compiled(lanes: int) -> Any:
    binding = llvm()
    target = binding.Target.from_triple(binding.get_process_triple())
    features = binding.get_host_cpu_features().flatten()
    machine = target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=2)
    module = binding.parse_assembly(_source(lanes))
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine


def _best(work: Callable[[int], None], threads: int) -> float:
    """Seconds of the fastest run of `work(thread)` on all threads at once."""
    times = []
    for _ in range(_REPEATS):
        barrier = threading.Barrier(threads + 1)

        def run(number: int, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            work(number)

        workers = [threading.Thread(target=run, args=(n,)) for n in range(threads)]
        for worker in workers:
            worker.start()
        barrier.wait()
        start = time.perf_counter()
        for worker in workers:
            worker.join()
        times.append(time.perf_counter() - start)
    return min(times[1:]) if len(times) > 1 else median(times)


def limits(threads: int) -> dict[str, float]:
    """GFLOP/s of float32 ("compute"), and GB/s: "read", "copy" (read and written), "add" (two read, one written)."""
    features = llvm().get_host_cpu_features()
    lanes = 16 if features.get("avx512f") else 8 if features.get("avx2") else 4
    engine = _compiled(lanes)
    multiply = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(engine.get_function_address("multiply"))
    read = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(engine.get_function_address("read"))
    outs = [np.zeros(4096, np.uint8) for _ in range(threads)]
    aligned = [o.ctypes.data + -o.ctypes.data % 64 for o in outs]
    arrays = [np.ones(_BYTES // 4 + 16, np.float32) for _ in range(3)]
    first, second, third = (a.ctypes.data + -a.ctypes.data % 64 for a in arrays)
    share = _BYTES // threads // 4096 * 4096
    vectors = share // (4 * lanes)
    rounds = 3_000_000

    def streaming(name: str) -> float:
        """The faster of both kinds of stores."""
        stream = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * 3)
        seconds = []
        for suffix in ("", "_streaming"):
            run = stream(engine.get_function_address(name + suffix))

            def work(n: int, run: Callable[..., None] = run) -> None:
                run(vectors, *(a + n * share for a in (first, second, third)))

            seconds.append(_best(work, threads))
        return min(seconds)

    def copy(n: int) -> None:
        ctypes.memmove(third + n * share, first + n * share, share)

    compute = _best(lambda n: multiply(rounds, aligned[n]), threads)
    reading = _best(lambda n: read(vectors, first + n * share, aligned[n]), threads)
    copying = min(_best(copy, threads), streaming("copy"))
    return {
        "compute": 2 * 24 * lanes * rounds * threads / compute / 1e9,
        "read": share * threads / reading / 1e9,
        "copy": 2 * share * threads / copying / 1e9,
        "add": 3 * share * threads / streaming("add") / 1e9,
    }
