"""What the library of a device multiplies: patches of images, and what is asked of cuBLAS; numpy stands in for it."""

import ctypes
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from device_cases import optimised
from ingot import backends, ir
from ingot.cuda import simulate
from ingot.eager.device import as_device, move_array
from ingot.jit import device_convolution
from ingot.jit.codegen.cuda.programs import SimulatorLauncher, device_program
from ingot.jit.runtime.cuda_launch import CupyLauncher

RANDOM = np.random.default_rng(5)


class LibraryLauncher(SimulatorLauncher):
    """The simulator, with numpy as a library that is preferred for every product."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[tuple[Any, ...]] = []

    def prefers_library(self, op: str, work: int) -> bool:
        return True

    def multiply(self, left: Any, right: Any, out: Any, tf32: bool) -> None:
        assert all(a.flags.c_contiguous for a in (left, right, out)) and left.ndim == 2 and right.ndim == 3
        self.products.append((left.shape, right.shape, tf32))
        out[...] = left @ right


@pytest.fixture(autouse=True)
def device() -> Iterator[None]:
    with simulate():
        yield


def convolved(attributes: str, x: Any, w: Any, more: str = "") -> LibraryLauncher:
    """Compare a convolution, with what follows it, with the interpreter's."""
    launcher, place = LibraryLauncher(), as_device("cuda")
    source = text(attributes, x, w, more)
    expected = ir.run(ir.parse(source), [x, w])
    found = device_program(optimised(source), place, launcher=launcher)([move_array(a, place) for a in (x, w)])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.get(), b, rtol=2e-5, atol=2e-5)
    return launcher


def text(attributes: str, x: Any, w: Any, more: str) -> str:
    given = dict(item.split("=", 1) for item in attributes.split("; ") if item)
    pair = lambda name, other: tuple(np.broadcast_to(eval(given.get(name, str(other))), 2))  # noqa: E731
    stride, pads, dilation = pair("stride", 1), pair("padding", 0), pair("dilation", 1)
    sizes = [(n + 2 * p - d * (k - 1) - 1) // s + 1
             for n, k, s, p, d in zip(x.shape[2:], w.shape[2:], stride, pads, dilation, strict=True)]  # fmt: skip
    kind = {"float32": "f32", "float64": "f64"}[str(x.dtype)]
    result = f"{kind}[n, {w.shape[0]}, {sizes[0]}, {sizes[1]}]"
    types = [f"{kind}[{', '.join(map(str, s))}]" for s in (("n", *x.shape[1:]), w.shape)]
    named = "{" + ", ".join(f"{k}={v}" for k, v in given.items()) + "}" if given else ""
    follow = f" %r: {result} = relu(%y)" if more else ""
    return (
        f"graph @f(%x: {types[0]}, %w: {types[1]}) -> ({result}) {{ %y: {result} = conv2d(%x, %w, _) {named}{follow} "
        f"return({'%r' if more else '%y'}) }}"
    )


def floats(*shape: int, dtype: str = "float32") -> Any:
    return RANDOM.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize(
    ("attributes", "images", "filters"),
    [
        ("", (2, 3, 5, 7), (4, 3, 3, 2)),
        ("padding=(1, 2); stride=(2, 1)", (1, 2, 6, 5), (3, 2, 3, 3)),
        ("padding=2; dilation=(2, 2)", (3, 1, 7, 6), (2, 1, 3, 3)),
        ("stride=(2, 2)", (2, 3, 4, 4), (5, 3, 1, 1)),
        ("padding=3; stride=(2, 2)", (1, 3, 8, 8), (2, 3, 7, 7)),
        ("", (0, 3, 5, 5), (4, 3, 3, 3)),
    ],
)
def test_patches_times_weights_are_the_convolution(attributes: str, images: Any, filters: Any) -> None:
    launcher = convolved(attributes, floats(*images), floats(*filters), "relu")
    patches = [name for name in launcher.launched if name.startswith("k_patches")]
    assert len(patches) == len(launcher.products) == min(images[0], 1)
    assert all(p[0] == (filters[0], int(np.prod(filters[1:]))) for p in launcher.products)


def test_images_are_their_own_patches_where_kernels_have_size_1() -> None:
    launcher = convolved("", floats(2, 3, 4, 5), floats(6, 3, 1, 1))
    assert not launcher.launched and launcher.products == [((6, 3), (2, 3, 20), True)]


def test_a_few_images_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_convolution, "_PATCH_BYTES", 2 * 27 * 9 * 4)
    launcher = convolved("", floats(5, 3, 5, 5), floats(4, 3, 3, 3), "relu")
    assert [p[1][0] for p in launcher.products] == [2, 2, 1]


def test_groups_have_the_kernel_that_needs_no_patches() -> None:
    launcher = convolved("groups=2", floats(1, 4, 5, 5), floats(4, 2, 3, 3))
    assert not launcher.products and launcher.launched


def test_rounding_is_asked_for_as_the_setting_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.cudnn, "allow_tf32", False)
    assert convolved("", floats(1, 3, 5, 5), floats(4, 3, 3, 3)).products[0][2] is False
    assert convolved("", floats(1, 3, 5, 5, dtype="float64"), floats(4, 3, 3, 3, dtype="float64")).products


class _Cublas:
    """cuBLAS's product of batches, by numpy on the addresses of host arrays, as its documentation has it."""

    CUBLAS_OP_N, CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_64F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_GEMM_DEFAULT = (
        0,
        1,
        2,
        3,
        -1,
    )

    def __init__(self) -> None:
        self.computes: list[int] = []

    def gemmStridedBatchedEx(
        self, handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, a: int, a_kind: int, lda: int,
        stride_a: int, b: int, b_kind: int, ldb: int, stride_b: int, beta: int, c: int, c_kind: int, ldc: int,
        stride_c: int, count: int, compute: int, algo: int,
    ) -> None:  # fmt: skip
        assert handle == 77 and transa == transb == 0 and a_kind == b_kind == c_kind
        number = {0: ctypes.c_float, 1: ctypes.c_double}[a_kind]
        assert number.from_address(alpha).value == 1 and number.from_address(beta).value == 0

        def matrix(address: int, rows: int, columns: int, leading: int) -> Any:
            flat = np.ctypeslib.as_array((number * (leading * columns)).from_address(address))
            return flat.reshape(columns, leading).T[:rows]

        size = ctypes.sizeof(number)
        for i in range(count):
            left = matrix(a + i * stride_a * size, m, k, lda)
            matrix(c + i * stride_c * size, m, n, ldc)[...] = left @ matrix(b + i * stride_b * size, k, n, ldb)
        self.computes.append(compute)


@pytest.mark.parametrize(
    ("dtype", "tf32", "compute"), [("float32", True, 3), ("float32", False, 1), ("float64", True, 2)]
)
def test_what_cublas_is_asked_for(dtype: str, tf32: bool, compute: int) -> None:
    cublas = _Cublas()
    runtime = SimpleNamespace(CUDA_R_32F=0, CUDA_R_64F=1)
    cupy = SimpleNamespace(cuda=SimpleNamespace(cublas=cublas, runtime=runtime, get_cublas_handle=lambda: 77))
    left, right = floats(4, 6, dtype=dtype), floats(3, 6, 5, dtype=dtype)
    out = np.zeros((3, 4, 5), dtype)

    def device_array(array: Any) -> Any:
        data = SimpleNamespace(ptr=array.ctypes.data)
        return SimpleNamespace(shape=array.shape, dtype=array.dtype, data=data)

    CupyLauncher(cupy, lambda *_: "").multiply(*map(device_array, (left, right, out)), tf32)
    np.testing.assert_allclose(out, left @ right, rtol=1e-5, atol=1e-5)
    assert cublas.computes == [compute]
