"""PTX of generated kernels on a machine without a GPU, for cc 7.5, 8.0 and 9.0, and what ptxas makes of it."""

import importlib.util
import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import ingot
import pytest
from device_cases import optimised, ptxas, real_kernels
from ingot.jit.codegen.cuda import frontend
from ingot.jit.codegen.cuda.device_text import DeviceKernel, Grid
from ingot.jit.codegen.cuda.flatten import flatten
from ingot.jit.codegen.cuda.programs import kernel_ptx
from ingot.jit.codegen.cuda.wide import widen
from ingot.jit.codegen.kernel_text import Parameter
from ptx_check import assemble, check, lowered_once, text_of

needs_nvvm = pytest.mark.skipif(bool(frontend.nvvm_problem()), reason=frontend.nvvm_problem() or "NVVM is here")

GRAPHS = {
    "pointwise": "graph @f(%x: f32[n]) -> (f32[n]) { %a: f32[n] = gelu(%x) %b: f32[n] = mul(%a, %x) return(%b) }",
    "doubles": "graph @f(%x: f64[n]) -> (f64[n]) { %a: f64[n] = erf(%x) %b: f64[n] = sub(%a, %x) return(%b) }",
    "softmax": "graph @f(%x: f32[m, n]) -> (f32[m, n]) { %a: f32[m, n] = softmax(%x) {dim=-1} return(%a) }",
    "layer_norm": "graph @f(%x: f32[m, 96], %w: f32[96], %b: f32[96]) -> (f32[m, 96]) { "
    "%a: f32[m, 96] = layer_norm(%x, %w, %b) {normalized_shape=(96,)} return(%a) }",
    "sum": "graph @f(%x: f32[n]) -> (f32[]) { %a: f32[] = sum(%x) return(%a) }",
    "columns": "graph @f(%x: f16[m, n]) -> (f16[n]) { %a: f16[n] = sum(%x) {dim=(0,)} return(%a) }",
    "linear": "graph @f(%x: f32[m, k], %w: f32[n, k], %b: f32[n]) -> (f32[m, n]) { "
    "%a: f32[m, n] = linear(%x, %w, %b) %r: f32[m, n] = relu(%a) return(%r) }",
    "doubles_multiplied": "graph @f(%x: f64[b, m, k], %w: f64[b, k, n]) -> (f64[b, m, n]) { "
    "%a: f64[b, m, n] = matmul(%x, %w) return(%a) }",
    "attention_of_doubles": "graph @f(%q: f64[s, 48], %k: f64[t, 48], %v: f64[t, 8]) -> (f64[s, 8]) { "
    "%a: f64[s, 8] = scaled_dot_product_attention(%q, %k, %v, _) return(%a) }",
    "conv2d": "graph @f(%x: f32[n, 3, h, w], %k: f32[8, 3, 3, 3], %b: f32[8]) -> (f32[n, 8, h, w]) { "
    "%a: f32[n, 8, h, w] = conv2d(%x, %k, %b) {padding=1} return(%a) }",
    "attention": "graph @f(%q: f32[b, h, s, 64], %k: f32[b, h, t, 64], %v: f32[b, h, t, 64]) -> (f32[b, h, s, 64]) { "
    "%a: f32[b, h, s, 64] = scaled_dot_product_attention(%q, %k, %v, _) {is_causal=True} return(%a) }",
    "scatter": "graph @f(%x: f32[m, n], %i: i64[k, n], %s: f32[k, n]) -> (f32[m, n]) { "
    "%a: f32[m, n] = scatter_add(%x, %i, %s) {dim=0} return(%a) }",
    "scan": "graph @f(%x: f32[m, n]) -> (f32[m, n]) { %a: f32[m, n] = cumsum(%x) {dim=1} return(%a) }",
    "signs": "graph @f(%a: f32[n], %b: f32[n], %c: f64[n], %d: f64[n]) -> (f32[n], f64[n], bool[n], f64[n]) { "
    "%r: f32[n] = remainder(%a, %b) %q: f64[n] = floor_divide(%c, %d) %s: bool[n] = signbit(%c) "
    "%g: f64[n] = digamma(%d) return(%r, %q, %s, %g) }",
    "special": "graph @f(%a: f32[n], %x: f32[n]) -> (f32[n]) { %g: f32[n] = gammainc(%a, %x) "
    "%r: f32[n] = modified_bessel_i0(%g) return(%r) }",
    "running": "graph @f(%x: f32[m, n]) -> (f32[m, n], i64[m, n], f32[m, n]) { "
    "%a: f32[m, n], %b: i64[m, n] = cummax(%x) {dim=1} %c: f32[m, n] = logcumsumexp(%x) {dim=0} return(%a, %b, %c) }",
    "searches": "graph @f(%x: f32[m], %v: f32[n], %i: i64[n], %s: f32[n]) -> (i64[n], f32[m]) { "
    '%p: i64[n] = searchsorted(%x, %v, _) %r: f32[m] = scatter_reduce(%x, %i, %s) {dim=0, reduce="mean"} '
    "return(%p, %r) }",
    "bfloat16": "graph @f(%x: bf16[n]) -> (bf16[n]) { %a: bf16[n] = exp(%x) return(%a) }",
}  # fmt: skip


def _kernels() -> list[DeviceKernel]:
    with ingot.cuda.simulate():
        found = {k.name: k for text in GRAPHS.values() for k in real_kernels(optimised(text))}
    return list(found.values())


@pytest.fixture(scope="module")
def kernels() -> list[DeviceKernel]:
    return _kernels()


@needs_nvvm
def test_every_kernel_becomes_ptx_and_is_assembled(kernels: list[DeviceKernel]) -> None:
    outcome = check([text_of(kernel) for kernel in kernels])
    assert not outcome.failures
    assert len({kernel.name for kernel in kernels}) == len(kernels) >= 21
    if ptxas() is not None:
        assert len(outcome.used) == len(kernels) * len(frontend.ARCHITECTURES)
        assert not [name for (name, _), used in outcome.used.items() if used[1]], "registers are spilled"


@needs_nvvm
def test_code_of_one_lowering_is_that_of_several(kernels: list[DeviceKernel]) -> None:
    kernel = next(k for k in kernels if "scatter_add" in k.name)
    arguments = kernel.source, kernel.name, kernel.kinds
    apart = [frontend.compile_ptx(*arguments, a) for a in frontend.ARCHITECTURES]
    with lowered_once():
        together = [frontend.compile_ptx(*arguments, a) for a in frontend.ARCHITECTURES]
    for one, other in zip(apart, together, strict=True):
        # Names that Numba counts, of an environment that is not used, are all that differs.
        assert re.sub(r"_ZN08NumbaEnv\w+", "", one) == re.sub(r"_ZN08NumbaEnv\w+", "", other)


@needs_nvvm
def test_what_does_not_compile_is_found() -> None:
    good = DeviceKernel("k_good", "def k_good(y):\n    y[0] = 1.0\n", [Parameter("y", "f32*", ())], Grid("elements", 1))
    bad = replace(good, name="k_bad", source="def k_bad(y):\n    y[0] = nothing(y[0])\n")
    outcome = check([good, bad])
    assert len(outcome.failures) == 3 and all("k_bad" in failure for failure in outcome.failures)
    if ptxas() is not None:
        assert {name for name, _ in outcome.used} == {"k_good"}
        broken = assemble(
            {"k_a": kernel_ptx(good, (8, 0)).replace("k_good", "k_a"), "k_b": ".version 8.0\nnonsense"}, "sm_80"
        )
        assert (
            {name for name, _ in broken.used} == {"k_a"} and len(broken.failures) == 1 and "k_b" in broken.failures[0]
        )


@needs_nvvm
def test_aligned_memory_is_read_and_written_16_bytes_at_a_time(kernels: list[DeviceKernel]) -> None:
    wide = [k for k in kernels if k.lanes > 1]
    assert {k.lanes for k in wide} == {2, 4} and {k.grid.kind for k in wide} == {"elements", "rows", "blocks"}
    for kernel in wide:
        ptx = kernel_ptx(kernel, (8, 0))
        assert re.search(r"ld\.global\.v4\.[fu]32" if kernel.lanes == 4 else r"ld\.global\.v2\.[fu]64", ptx)
        # One by one are read only what is the same for all neighbours, and the sums of chunks are stored.
        assert not re.search(r"ld\.global\.f", ptx) or kernel.most or "unsqueeze" in kernel.title
        assert kernel.grid.kind != "elements" or not re.search(r"st\.global\.f", ptx)


@needs_nvvm
def test_no_kernel_calls_a_function(kernels: list[DeviceKernel]) -> None:
    plain = next(k for k in kernels if "gelu" in k.name and k.lanes == 1)
    assert "call" not in kernel_ptx(plain, (8, 0))


@needs_nvvm
def test_sums_in_rows_use_warps_and_no_atomics(kernels: list[DeviceKernel]) -> None:
    for kernel in kernels:
        if "softmax" in kernel.title or kernel.name.startswith("k_sum"):
            ptx = kernel_ptx(kernel, (9, 0))
            assert not re.search(r"\b(atom|red)\.", ptx)
    rows = next(k for k in kernels if k.name.startswith("k_peak"))
    assert "shfl.sync.down" in kernel_ptx(rows, (9, 0)) and "bar.sync" in kernel_ptx(rows, (9, 0))


def test_what_keeps_accesses_apart() -> None:
    load = "ld.global.f64 %fd{}, [%rd1{}];"
    together = "\n".join([load.format(1, ""), load.format(2, "+8")])
    assert "v2.f64" in widen(together)
    for between in (
        "add.s64 %rd1, %rd1, 8;",
        "st.global.f64 [%rd9], %fd9;",
        "$L1:",
        "bar.sync 0;",
        "mov.f64 %fd2, %fd7;",
    ):
        lines = together.splitlines()
        assert "v2" not in widen("\n".join([lines[0], between, lines[1]])), between
    assert "v2" not in widen("\n".join([load.format(1, ""), load.format(2, "+16")]))


def test_device_functions_are_written_out_with_names_of_their_own() -> None:
    source = """
@cuda.jit(device=True)
def clamp(x, low):
    x = x if x > low else low
    return x
@cuda.jit
def k(x, y, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        y[i] = clamp(clamp(x[i], 1.0), x[0])
"""
    flat = flatten(source, "k")
    assert "clamp(" not in flat and "def clamp" not in flat and "while" in flat
    space: dict[str, object] = {}
    fake = type("cuda", (), {"grid": staticmethod(lambda n: 0), "gridsize": staticmethod(lambda n: 1)})
    exec(flat, {"cuda": fake}, space)
    x, y = [2.0, -3.0, 5.0], [0.0] * 3
    space["k"](x, y, 3)  # type: ignore[operator]
    assert y == [2.0, 2.0, 5.0]
    with pytest.raises(ValueError, match="returns from the middle"):
        flatten("def f(x):\n    if x:\n        return 1\n    return 2\ndef k(y):\n    y[0] = f(y[0])", "k")


def test_no_nvvm_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise OSError("libNVVM cannot be found")

    monkeypatch.setattr(frontend, "compile_ptx", refuse)
    frontend.nvvm_problem.cache_clear()
    try:
        assert "pip install nvidia-cuda-nvcc-cu12" in frontend.nvvm_problem()
    finally:
        frontend.nvvm_problem.cache_clear()


def test_a_wheel_with_nvvm_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = tmp_path / "nvidia" / "cuda_nvcc" / "nvvm"
    for name in ("lib64/libnvvm.so", "libdevice/libdevice.10.bc"):
        (wheel / name).parent.mkdir(parents=True)
        (wheel / name).write_text(name)
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("CUDA_PATH", raising=False)
    monkeypatch.setenv("CUDA_HOME", "/elsewhere")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / "nvidia")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    frontend.find_toolkit()
    assert os.environ["CUDA_HOME"] == "/elsewhere"  # what the user chose
    monkeypatch.setenv("CUDA_HOME", "")
    frontend.find_toolkit()
    home = Path(os.environ["CUDA_HOME"])
    assert (home / "nvvm/lib64/libnvvm.so.4").read_text() == "lib64/libnvvm.so"
    assert (home / "nvvm/libdevice/libdevice.10.bc").read_text() == "libdevice/libdevice.10.bc"
