"""Matrix products: generated kernels against numpy's BLAS and PyTorch.

Run: python benchmarks/gemm.py [--torch PYTHON] [--threads 2] [--only mlp]
"""

import os
import sys

# The BLAS threads are set before numpy is imported.
os.environ["OPENBLAS_NUM_THREADS"] = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv else "2"

import numpy as np
from ingot.jit.codegen.gemm import GEMM_SLOTS, Epilogue, GemmSpec, aligned_empty, gemm_source, pack_b_numpy
from kernel_harness import compare, compile_kernels, launcher, measure, native_timer, plan_function, report, start

BIAS_RELU = Epilogue((("bias", "f32*"),), "v = v + bias[j]\nv = v if v > 0 or v != v else np.float32(0)")

# name, kind, (batch,) m, n, k
CASES = [
    ("matmul 512", "matmul", (512, 512, 512)),
    ("matmul 512, run-time B", "matmul_unpacked", (512, 512, 512)),
    ("matmul 512, run-time B, transposed", "matmul_transposed", (512, 512, 512)),
    ("matmul 1024", "matmul", (1024, 1024, 1024)),
    ("matmul 128x128x4096", "matmul", (128, 128, 4096)),
    ("mlp 1 x 784 -> 256", "linear", (1, 256, 784)),
    ("mlp 1 x 256 -> 128", "linear", (1, 128, 256)),
    ("mlp 1 x 128 -> 10", "linear", (1, 10, 128)),
    ("mlp 256 x 784 -> 256", "linear", (256, 256, 784)),
    ("mlp 256 x 256 -> 128", "linear", (256, 128, 256)),
    ("mlp 256 x 128 -> 10", "linear", (256, 10, 128)),
    ("transformer 128 x 256 -> 256", "linear", (128, 256, 256)),
    ("transformer 128 x 256 -> 768", "linear", (128, 768, 256)),
    ("transformer 128 x 256 -> 1024", "linear", (128, 1024, 256)),
    ("transformer 128 x 1024 -> 256", "linear", (128, 256, 1024)),
    ("transformer 1024 x 256 -> 1024", "linear", (1024, 1024, 256)),
    ("attention 8 x 128 x 128 x 32", "bmm", (8, 128, 128, 32)),
    ("rnn 1 x 128 -> 512", "linear", (1, 512, 128)),
    ("small batch 4 x 512 -> 512", "linear", (4, 512, 512)),
    ("lstm gates 1 x 128 -> 512, run-time W", "linear_transposed", (1, 512, 128)),
    ("rnn 1 x 64 -> 64, run-time W", "linear_transposed", (1, 64, 64)),
    ("mlp 1 x 784 -> 256, run-time W", "linear_transposed", (1, 256, 784)),
    ("mlp 256 x 784 -> 256, run-time W", "linear_transposed", (256, 256, 784)),
    ("head 1 x 512 -> 1000", "linear", (1, 1000, 512)),
]


def main() -> None:
    """Print one line per case."""
    options, torch = start(__doc__ or "")
    launch = launcher()
    modules: dict[str, dict[str, int]] = {}
    for name, kind, shape in CASES:
        if options.only not in name:
            continue
        batch, (m, n, k) = shape[:-3], shape[-3:]
        packed = not batch and kind in ("matmul", "linear")
        spec = GemmSpec(packed=packed, batched=bool(batch), n=n if n < 32 else None)
        epilogue = BIAS_RELU if kind.startswith("linear") else Epilogue()
        key = f"{spec}{epilogue}"
        if key not in modules:
            print(f"kernels for {spec.name}:")
            sources = {"product": gemm_source("product", spec, epilogue), **spec.shared_sources()}
            modules[key] = compile_kernels(sources)
        module = modules[key]
        plan = plan_function(module, spec)
        a, b = aligned_empty((*batch, m, k), "f4"), aligned_empty((*batch, k, n), "f4")
        a[...], b[...] = np.random.randn(*a.shape), np.random.randn(*b.shape)
        if batch or kind in ("matmul_transposed", "linear_transposed"):
            b = np.ascontiguousarray(b.swapaxes(-1, -2)).swapaxes(-1, -2)
        bias, c = np.random.randn(n).astype("f4"), aligned_empty((*batch, m, n), "f4")
        operand = pack_b_numpy(b, spec.tile) if packed else b
        table = np.zeros(len(GEMM_SLOTS) + 1, np.int64)
        values = {"a": a.ctypes.data, "b": operand.ctypes.data, "c": c.ctypes.data, "m": m, "n": n, "k": k}
        values |= {"a_row_stride": k, "a_k_stride": 1, "c_row_stride": n}
        values |= {"b_k_stride": b.strides[-2] // 4, "b_column_stride": b.strides[-1] // 4}
        if batch:
            values |= {"batches": batch[0], "inner_batches": batch[0], "a_inner_stride": m * k}
            values |= {"b_inner_stride": n * k, "c_inner_stride": m * n}
        for slot, value in values.items():
            table[GEMM_SLOTS[slot]] = value
        table[-1] = bias.ctypes.data
        items = plan(table.ctypes.data, options.threads)
        call = (module["product"], table.ctypes.data, items, int(table[GEMM_SLOTS["grain"]]))
        launch(1, [call])
        expected = a @ b
        if kind.startswith("linear"):
            expected = np.maximum(expected + bias, 0)
        assert np.abs(c - expected).max() < 1e-5 * k, name

        linear = kind.startswith("linear")

        def blas(a=a, b=b, c=c, bias=bias, linear=linear) -> None:
            np.matmul(a, b, out=c)
            if linear:
                np.add(c, bias, out=c)
                np.maximum(c, 0, out=c)

        candidates = {"ingot": native_timer(launch, [call]), "numpy": lambda blas=blas: measure(blas)}
        if torch is not None:
            base = kind.split("_")[0]
            candidates["torch"] = lambda base=base, shape=shape: torch.time(base, shape)
        report(name, 2 * m * n * k * (batch[0] if batch else 1), compare(candidates))


if __name__ == "__main__":
    main()
