"""Matrix multiplication kernels against numpy: every size, stride, tile shape, and both ways of running."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from generated_kernels import functions_of, run_in_pieces, table_of
from ingot.jit.codegen import gemm
from ingot.jit.codegen.gemm import GEMM_SLOTS, Epilogue, GemmSpec
from ingot.jit.codegen.target import AVX2, AVX512, NEON, SCALAR, SSE2, Target, tile_shape

GUARD = 1e30
BIAS_RELU = Epilogue(
    (("bias", "f32*"), ("scale", "f32"), ("residual", "f32*"), ("residual_row", "i64")),
    "v = v * scale + bias[j] + residual[i * residual_row + j]\nv = v if v > 0 or v != v else np.float32(0)",
)


class Gemm:
    """A generated kernel with its plan function, run on numpy arrays; the output sits between guard elements."""

    def __init__(self, spec: GemmSpec, epilogue: Epilogue | None = None, jit: bool = True) -> None:
        self.spec = spec
        source = gemm.gemm_source("product", spec, epilogue)
        functions = functions_of({"product": source, **spec.shared_sources()}, jit)
        self.kernel, self.plan = functions["product"], functions[f"{spec.name}_plan"]

    def __call__(
        self, a: Any, b: Any, extra: tuple[Any, ...] = (), threads: int = 2, row_gap: int = 0, pieces: int = 3
    ) -> np.ndarray[Any, Any]:
        spec, size = self.spec, a.itemsize
        batch = a.shape[:-2]
        (m, k), n = a.shape[-2:], b.shape[-1]
        memory = np.full(int(np.prod(batch)) * m * (n + row_gap) + 64, GUARD, a.dtype)
        c = memory[32 : memory.size - 32].reshape(*batch, m, n + row_gap)
        packed = gemm.pack_b_numpy(b, spec.tile) if spec.packed else b
        values = {
            "a": a.ctypes.data,
            "b": packed.ctypes.data,
            "c": c.ctypes.data,
            "m": m,
            "n": n,
            "k": k,
            "a_row_stride": a.strides[-2] // size,
            "a_k_stride": a.strides[-1] // size,
            "b_k_stride": b.strides[-2] // size,
            "b_column_stride": b.strides[-1] // size,
            "c_row_stride": n + row_gap,
        }
        if spec.batched:
            b_strides = [s // size for s in packed.strides[: len(batch)]]
            values |= {
                "batches": batch[0] * batch[1],
                "inner_batches": batch[1],
                "a_outer_stride": a.strides[0] // size,
                "a_inner_stride": a.strides[1] // size,
                "b_outer_stride": b_strides[0],
                "b_inner_stride": b_strides[1],
                "c_outer_stride": batch[1] * m * (n + row_gap),
                "c_inner_stride": m * (n + row_gap),
            }
        table = table_of(GEMM_SLOTS, values, extra)
        items = self.plan(table.ctypes.data, threads)
        run_in_pieces(self.kernel, table, items, pieces)
        assert (memory[:32] == GUARD).all() and (memory[memory.size - 32 :] == GUARD).all()
        assert (c[..., n:] == GUARD).all()
        return c[..., :n]


def assert_close(result: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], k: int) -> None:
    tolerance = 2e-6 * max(k, 1) ** 0.5 if result.dtype == np.float32 else 1e-14 * max(k, 1) ** 0.5
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * 10)


def operands(m: int, n: int, k: int, dtype: Any = np.float32, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    return random.standard_normal((m, k)).astype(dtype), random.standard_normal((k, n)).astype(dtype)


@pytest.fixture(scope="module")
def packed_gemm() -> Gemm:
    return Gemm(GemmSpec())


@pytest.fixture(scope="module")
def unpacked_gemm() -> Gemm:
    return Gemm(GemmSpec(packed=False))


@pytest.fixture(scope="module")
def epilogue_gemm() -> Gemm:
    return Gemm(GemmSpec(), BIAS_RELU)


SIZES = (0, 1, 2, 3, 5, 7, 13, 14, 15, 29, 31, 32, 33, 64, 97)


@pytest.mark.parametrize("which", ["packed_gemm", "unpacked_gemm"])
def test_every_small_size(which: str, request: pytest.FixtureRequest) -> None:
    product = request.getfixturevalue(which)
    for m, n in itertools.product(SIZES, SIZES):
        k = SIZES[(m * 7 + n * 3) % len(SIZES)]
        a, b = operands(m, n, k)
        assert_close(product(a, b), a.astype(np.float64) @ b, k)


@pytest.mark.parametrize("which", ["packed_gemm", "unpacked_gemm"])
@pytest.mark.parametrize(
    "m, n, k",
    [
        (1, 130, 1025),
        (43, 70, 3001),
        (300, 33, 129),
        (257, 523, 1031),
        (2, 2, 9001),
        (31, 97, 2048),
        (8, 8, 4096),
        (300, 60, 1024),
    ],
)
def test_sizes_beyond_one_block(which: str, m: int, n: int, k: int, request: pytest.FixtureRequest) -> None:
    product = request.getfixturevalue(which)
    a, b = operands(m, n, k)
    assert_close(product(a, b, pieces=5), a.astype(np.float64) @ b, k)


@pytest.mark.parametrize("which", ["packed_gemm", "unpacked_gemm"])
def test_strided_operands(which: str, request: pytest.FixtureRequest) -> None:
    product = request.getfixturevalue(which)
    a, b = operands(2 * 37, 3 * 45, 2 * 70)
    assert_close(product(a[::2, ::2], b[::2, ::3]), a[::2, ::2].astype(np.float64) @ b[::2, ::3], 70)
    assert_close(product(b.T, a.T), b.T.astype(np.float64) @ a.T, 140)
    assert_close(
        product(a[::-1, ::-1], b[::-1, ::-1], row_gap=5), a[::-1, ::-1].astype(np.float64) @ b[::-1, ::-1], 140
    )


@pytest.mark.parametrize("jit", [True, False])
def test_few_rows_times_a_transposed_weight(unpacked_gemm: Gemm, jit: bool) -> None:
    product = unpacked_gemm if jit else Gemm(GemmSpec(packed=False), jit=False)
    sizes = (0, 1, 13, 15, 16, 17, 33, 70) if jit else (1, 15, 33)
    for m, n, k in itertools.product((0, 1, 2, 3, 4, 5), sizes, sizes):
        a, weight = operands(m, n, k)[0], operands(n, 1, k, seed=1)[0]
        assert_close(product(a, weight.T), a.astype(np.float64) @ weight.T, k)
    a, weight = operands(2, 1, 40)[0], operands(35, 1, 40)[0]
    a[0, 39], weight[34, 3] = np.inf, np.nan
    result = product(a, weight.T)
    assert np.isinf(result[0, :34]).all() and np.isnan(result[:, 34]).all() and np.isfinite(result[1, :34]).all()


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_few_rows_or_columns_in_every_layout(dtype: str, jit: bool) -> None:
    product = Gemm(GemmSpec(dtype, packed=False), jit=jit)
    sizes = [
        (1, 70, 45),
        (2, 2100, 33),
        (3, 65, 40),
        (70, 1, 45),
        (2100, 2, 9),
        (75, 3, 40),
        (67, 4, 37),
        (15, 33, 100),
    ]
    sizes += [
        (67, 4, 37),
        (15, 33, 100),
        (16, 40, 31),
        (17, 40, 64),
        (40, 16, 300),
        (60, 17, 5),
        (40, 200, 1),
        (29, 70, 256),
    ]
    if not jit:
        sizes = [(1, 70, 9), (2, 40, 11), (20, 1, 9), (20, 2, 11), (17, 3, 5), (15, 16, 7)]
    real = np.float32 if dtype == "f32" else np.float64
    for m, n, k in sizes:
        a, b = operands(m, n, k, real)
        expected = a.astype(np.float64) @ b
        for left, right in itertools.product((a, np.asfortranarray(a)), (b, np.asfortranarray(b))):
            reference = product(left, right, threads=1, pieces=1)
            assert_close(reference, expected, k)
            for threads, pieces in ((2, 2), (5, 7)):
                np.testing.assert_array_equal(product(left, right, threads=threads, pieces=pieces), reference)
    a, b = operands(40, 2, 21, real)
    a[3, 20], b[4, 1] = np.inf, np.nan
    for left, right in ((a, b), (np.asfortranarray(a), b), (a, np.asfortranarray(b))):
        result = product(left, right)
        assert np.isinf(result[3, 0]) and np.isnan(result[:, 1]).all() and np.isfinite(np.delete(result[:, 0], 3)).all()


@pytest.mark.parametrize("which", ["packed_gemm", "unpacked_gemm"])
def test_result_does_not_depend_on_the_division_of_work(which: str, request: pytest.FixtureRequest) -> None:
    product = request.getfixturevalue(which)
    a, b = operands(57, 131, 1500)  # the last tile has one row: it keeps several partial sums
    reference = product(a, b, threads=1, pieces=1)
    for threads, pieces in ((2, 2), (7, 9), (64, 50)):
        np.testing.assert_array_equal(product(a, b, threads=threads, pieces=pieces), reference)


@pytest.mark.parametrize("which", ["packed_gemm", "unpacked_gemm"])
def test_infinity_and_nan_stay_in_their_rows_and_columns(which: str, request: pytest.FixtureRequest) -> None:
    product = request.getfixturevalue(which)
    a, b = operands(17, 35, 11)
    a[3, 4], b[2, 34], a[16, 0] = np.inf, np.nan, -np.inf
    with np.errstate(invalid="ignore"):
        expected = a @ b
    result = product(a, b)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    np.testing.assert_array_equal(np.isposinf(result), np.isposinf(expected))
    np.testing.assert_array_equal(np.isneginf(result), np.isneginf(expected))


def test_infinite_bias_beside_padding(epilogue_gemm: Gemm) -> None:
    a, b = operands(3, 33, 5)
    bias, residual = np.full(33, np.inf, np.float32), np.zeros((3, 33), np.float32)
    result = epilogue_gemm(a, b, (bias.ctypes.data, 1.0, residual.ctypes.data, 33))
    assert np.isposinf(result).all()


@pytest.mark.parametrize("m, n, k", [(1, 10, 128), (19, 40, 0), (33, 65, 77), (15, 32, 1100), (0, 3, 4)])
def test_epilogue(epilogue_gemm: Gemm, m: int, n: int, k: int) -> None:
    a, b = operands(m, n, k)
    random = np.random.default_rng(1)
    bias, residual = random.standard_normal(n).astype("f4"), random.standard_normal((m, n + 3)).astype("f4")
    result = epilogue_gemm(a, b, (bias.ctypes.data, 0.5, residual.ctypes.data, n + 3))
    expected = np.maximum((a.astype(np.float64) @ b) * 0.5 + bias + residual[:, :n], 0)
    assert_close(result, expected, k)


@pytest.mark.parametrize("packed", [True, False])
def test_batches_with_strides_and_broadcasting(packed: bool) -> None:
    epilogue = Epilogue((("shift", "f32*"),), "v = v + shift[batch]")
    product = Gemm(GemmSpec(packed=packed, batched=True), epilogue)
    random = np.random.default_rng(2)
    a = random.standard_normal((2, 19, 3, 40)).astype("f4").transpose(0, 2, 1, 3)
    b = random.standard_normal((2, 3, 40, 50)).astype("f4")
    shift = random.standard_normal(6).astype("f4")
    extra = (shift.ctypes.data,)
    assert_close(product(a, b, extra), a.astype(np.float64) @ b + shift.reshape(2, 3, 1, 1), 40)
    if not packed:
        b = np.broadcast_to(b[:, :1], b.shape)
        assert_close(product(a, b, extra), a.astype(np.float64) @ b + shift.reshape(2, 3, 1, 1), 40)
        keys = random.standard_normal((2, 3, 70, 40)).astype("f4").swapaxes(-1, -2)
        assert_close(product(a, keys, extra), a.astype(np.float64) @ keys + shift.reshape(2, 3, 1, 1), 40)


@pytest.mark.parametrize(
    "target, dtype", [(AVX512, "f64"), (AVX2, "f32"), (NEON, "f32"), (SSE2, "f64"), (SCALAR, "f32"), (SCALAR, "f64")]
)
def test_every_target(target: Target, dtype: str) -> None:
    product = Gemm(GemmSpec(dtype, target=target))
    numpy_dtype = np.float32 if dtype == "f32" else np.float64
    columns, rows = product.spec.tile.columns, product.spec.tile.rows
    for m, n in itertools.product({1, 2, 3, rows - 1, rows, 2 * rows + 1}, {1, columns - 1, columns, 3 * columns + 1}):
        a, b = operands(m, n, 23, numpy_dtype)
        assert_close(product(a, b), a.astype(np.float64) @ b, 23)


@pytest.mark.parametrize("n, k", [(10, 128), (8, 3), (4, 0), (64, 64), (45, 9)])
def test_constant_sizes(n: int, k: int) -> None:
    product = Gemm(GemmSpec(n=n))
    for m in (1, 9, 30):
        a, b = operands(m, n, k)
        assert_close(product(a, b), a.astype(np.float64) @ b, k)


@pytest.mark.parametrize("packed", [True, False])
def test_plain_python_gives_the_same(packed: bool) -> None:
    product = Gemm(GemmSpec(packed=packed), BIAS_RELU, jit=False)
    for m, n, k in ((1, 10, 7), (3, 32, 0), (17, 35, 1100), (30, 33, 70)):
        a, b = operands(m, n, k)
        a[0, : k // 2] = np.inf
        bias, residual = np.zeros(n, "f4"), np.zeros((m, n), "f4")
        with np.errstate(invalid="ignore"):
            expected = a.astype(np.float64) @ b
            expected = np.where(np.isnan(expected), expected, np.maximum(expected, 0))
        assert_close(product(a, b, (bias.ctypes.data, 1.0, residual.ctypes.data, n)), expected, k)


@pytest.mark.parametrize("batches, k, n", [(1, 0, 5), (1, 7, 33), (3, 5, 64), (2, 3, 1)])
@pytest.mark.parametrize("transposed", [False, True])
def test_packing_at_run_time_is_packing_ahead(batches: int, k: int, n: int, transposed: bool) -> None:
    tile = tile_shape(AVX512, "f32")
    sources = {"pack": gemm.pack_b_source("pack", tile, AVX512), **gemm.shared_sources((tile,), AVX512)}
    functions = functions_of(sources, jit=batches == 3)
    b = np.random.default_rng(3).standard_normal((batches, k, n)).astype("f4")
    if transposed:
        b = np.ascontiguousarray(b.swapaxes(1, 2)).swapaxes(1, 2)
    expected = gemm.pack_b_numpy(b, tile)
    assert expected.size == batches * gemm.packed_elements(k, n, tile)
    assert expected.size == 0 or expected.ctypes.data % 64 == 0
    packed = np.full(expected.size + 1, GUARD, "f4")
    table = table_of(
        gemm.PACK_SLOTS,
        {
            "b": b.ctypes.data,
            "packed": packed.ctypes.data,
            "n": n,
            "k": k,
            "b_k_stride": b.strides[1] // 4,
            "b_column_stride": b.strides[2] // 4,
            "b_batch_stride": b.strides[0] // 4,
        },
    )
    functions["pack"](table.ctypes.data, 0, batches * -(-n // tile.columns))
    np.testing.assert_array_equal(packed[:-1].reshape(expected.shape), expected)
    assert packed[-1] == np.float32(GUARD)


def test_plan_splits_work_for_the_threads(packed_gemm: Gemm) -> None:
    table = table_of(GEMM_SLOTS, {"m": 512, "n": 512, "k": 512})
    items = [packed_gemm.plan(table.ctypes.data, threads) for threads in (1, 2, 16)]
    assert items == sorted(items) and items[1] >= 8 and items[2] >= 64
    table = table_of(GEMM_SLOTS, {"m": 1, "n": 10, "k": 128})
    assert packed_gemm.plan(table.ctypes.data, 2) == 1
    assert table[GEMM_SLOTS["grain"]] >= 1


def test_kernels_share_modules() -> None:
    wide, narrow, plain = GemmSpec(n=64), GemmSpec(n=10), GemmSpec()
    assert wide.shared_sources() == plain.shared_sources()
    assert narrow.shared_sources()[narrow.core_name] == plain.shared_sources()[plain.core_name]
    assert narrow.name != plain.name
    source = gemm.gemm_source("linear", plain, BIAS_RELU)
    assert "multiply" not in source.split("def linear_finish")[1]  # the loops are elsewhere


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Epilogue((("a b", "f32*"),)), "not an identifier"),
        (lambda: Epilogue((("a", "f16*"),)), "kind 'f16\\*'"),
        (lambda: gemm.pack_b_numpy(np.zeros(3, "f4"), tile_shape(AVX512, "f32")), "expected \\(..., K, N\\)"),
        (lambda: gemm.pack_b_numpy(np.zeros((3, 3)), tile_shape(AVX512, "f32")), "float64"),
        (lambda: Target("t", 100, 16, True), "power of two"),
        (lambda: Target("t", 128, 2, True), "expected 8 to 32"),
    ],
)
def test_errors_say_what_was_expected(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
