"""Each kind of CUDA kernel in the simulator against the interpreter: odd sizes, none, one, NaN, and memory."""

from collections.abc import Iterator
from typing import Any

import ingot
import numpy as np
import pytest
from device_cases import agree, on_device, optimised
from ingot.jit.codegen.cuda.device_text import SIMULATED
from ingot.jit.device_program import DeviceProgram

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def simulated() -> Iterator[None]:
    with ingot.cuda.simulate():
        yield


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RANDOM.standard_normal(shape).astype(np.float32)


def graph(head: str, results: str, body: str, values: str) -> str:
    lines = "\n  ".join(line.strip() for line in body.strip().splitlines())
    return f"graph @f({head}) -> ({results}) {{\n  {lines}\n  return({values})\n}}"


def names(program: DeviceProgram) -> str:
    return " ".join(kernel.name for kernel in program.kernels())


# -- pointwise ---------------------------------------------------------------------------------------------------------

CHAIN = graph("%x: f32[n]", "f32[n]", "%a: f32[n] = exp(%x)\n%b: f32[n] = add(%a, %x)", "%b")


@pytest.mark.parametrize("n", [0, 1, 7, 8, 32])
def test_a_chain_is_one_kernel_with_a_form_for_16_bytes(n: int) -> None:
    program = agree(CHAIN, floats(n))
    assert len(program.kernels()) == 2 and "_wide_" in names(program)


def test_the_wide_form_runs_only_where_memory_is_aligned_and_sizes_divide() -> None:
    for n, is_wide in ((8, True), (7, False)):
        _, program = on_device(optimised(CHAIN), [floats(n)])
        assert ("wide" in program.launcher.launched[-1]) is is_wide  # type: ignore[attr-defined]


@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (3, 0), (0, 3), (1, 9)])
def test_broadcasts_and_strides(shape: tuple[int, int]) -> None:
    body = """
    %t: f32[n, m] = transpose(%x) {dim0=0, dim1=1}
    %u: f32[m, n] = transpose(%t) {dim0=0, dim1=1}
    %a: f32[m, n] = mul(%u, %w)
    %s: f32[n, m] = transpose(%a) {dim0=0, dim1=1}
    %b: f32[n, m] = tanh(%s)
    """
    text = graph("%x: f32[m, n], %w: f32[n]", "f32[n, m]", body, "%b")
    agree(text, floats(*shape), floats(shape[1]))


def test_nan_infinity_and_signed_zero_pass_through() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5], np.float32)
    body = "%a: f32[n] = maximum(%x, %y)\n%b: f32[n] = minimum(%a, %x)\n%c: f32[n] = sign(%b)"
    agree(graph("%x: f32[n], %y: f32[n]", "f32[n], f32[n]", body, "%c, %a"), x, x[::-1].copy())


def test_integers_wrap_and_divide_toward_minus_infinity() -> None:
    body = "%a: i32[n] = mul(%x, %y)\n%b: i32[n] = floor_divide(%a, %y)\n%c: i32[n] = remainder(%x, %y)"
    x = np.array([2**30, -7, 7, -1], np.int32)
    agree(graph("%x: i32[n], %y: i32[n]", "i32[n], i32[n]", body, "%b, %c"), x, np.array([4, 2, -3, 5], np.int32))


def test_a_zero_divisor_is_reported() -> None:
    text = graph("%x: i64[n], %y: i64[n]", "i64[n]", "%a: i64[n] = floor_divide(%x, %y)", "%a")
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        on_device(optimised(text), [np.ones(3, np.int64), np.array([1, 0, 2])])


# -- reductions --------------------------------------------------------------------------------------------------------

SHAPES = [(5, 7), (1, 1), (3, 40), (4, 0), (0, 4)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dim", [0, 1])
def test_sums_and_means(shape: tuple[int, int], dim: int) -> None:
    kept = "n" if dim == 0 else "m"
    body = f"%s: f32[{kept}] = sum(%x) {{dim=({dim},)}}\n%m: f32[{kept}] = mean(%x) {{dim=({dim},)}}"
    with np.errstate(all="ignore"):
        agree(graph("%x: f32[m, n]", f"f32[{kept}], f32[{kept}]", body, "%s, %m"), floats(*shape))


@pytest.mark.parametrize("n", [0, 1, 6, 50])
def test_few_results_are_reduced_in_chunks(n: int) -> None:
    program = agree(graph("%x: f32[n]", "f32[]", "%s: f32[] = sum(%x)", "%s"), floats(n))
    assert "_chunks_" in names(program) and "_join_" in names(program)


def test_a_sum_in_chunks_is_the_same_every_time() -> None:
    text, x = graph("%x: f32[n]", "f32[]", "%s: f32[] = sum(%x)", "%s"), floats(200)
    first, second = (on_device(optimised(text), [x])[0][0] for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_reductions_of_other_dtypes_and_kinds() -> None:
    body = "%a: bool[m] = all(%x) {dim=(1,)}\n%b: bool[m] = any(%x) {dim=(1,)}\n%c: i64[m] = sum(%x) {dim=(1,)}"
    x = RANDOM.integers(0, 2, (5, 21)).astype(bool)
    x[0], x[1] = True, False
    agree(graph("%x: bool[m, n]", "bool[m], bool[m], i64[m]", body, "%a, %b, %c"), x)


def test_nan_wins_in_a_maximum() -> None:
    x = floats(3, 30)
    x[1, 17] = np.nan
    agree(graph("%x: f32[m, 30]", "f32[m]", "%a: f32[m] = amax(%x) {dim=(1,)}", "%a"), x)


# -- rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [*SHAPES, (2, 300)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_rows(name: str, shape: tuple[int, int]) -> None:
    text = graph("%x: f32[m, n]", "f32[m, n]", f"%a: f32[m, n] = {name}(%x) {{dim=-1}}", "%a")
    _, program = on_device(optimised(text), [floats(*shape)])
    forms = program.kernels()  # each faster than the one before: by fours, in shared memory, and both
    assert [(k.lanes, k.shared != 0) for k in forms] == [(1, False), (4, False), (1, True), (4, True)]
    if 0 not in shape:
        chosen = forms[(shape[1] % 4 == 0) + 2 * (shape[1] * 4 <= SIMULATED.row_bytes)]
        assert program.launcher.launched[-1] == chosen.name  # type: ignore[attr-defined]
    agree(text, floats(*shape))


def test_softmax_of_columns_and_of_infinities() -> None:
    x = floats(4, 5)
    x[2], x[1, 1] = -np.inf, np.inf
    for dim in (0, 1):
        agree(graph("%x: f32[m, n]", "f32[m, n]", f"%a: f32[m, n] = softmax(%x) {{dim={dim}}}", "%a"), x)


def test_layer_norm_and_rms_norm() -> None:
    body = "%a: f32[m, 6] = layer_norm(%x, %w, %b) {normalized_shape=(6,)}\n%c: f32[m, 6] = add(%a, %x)"
    agree(graph("%x: f32[m, 6], %w: f32[6], %b: f32[6]", "f32[m, 6]", body, "%c"), floats(5, 6), floats(6), floats(6))
    body = "%a: f32[m, 6] = rms_norm(%x, %w) {normalized_shape=(6,)}"
    agree(graph("%x: f32[m, 6], %w: f32[6]", "f32[m, 6]", body, "%a"), floats(5, 6), floats(6))


# -- products ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 7, 3), (9, 4, 11), (2, 0, 3), (0, 2, 3)])
def test_products_with_what_follows(sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    body = "%a: f32[m, n] = matmul(%x, %w)\n%b: f32[m, n] = add(%a, %c)\n%d: f32[m, n] = relu(%b)"
    program = agree(
        graph("%x: f32[m, k], %w: f32[k, n], %c: f32[n]", "f32[m, n]", body, "%d"),
        floats(m, k),
        floats(k, n),
        floats(n),
    )
    assert "k_matmul_add_relu" in names(program)


def test_batches_vectors_and_transposed_operands() -> None:
    body = "%t: f32[b, k, n] = transpose(%w) {dim0=1, dim1=2}\n%a: f32[b, m, n] = matmul(%x, %t)"
    agree(graph("%x: f32[b, m, k], %w: f32[b, n, k]", "f32[b, m, n]", body, "%a"), floats(2, 3, 5), floats(2, 4, 5))
    agree(graph("%x: f32[m, k], %w: f32[k]", "f32[m]", "%a: f32[m] = matmul(%x, %w)", "%a"), floats(3, 5), floats(5))
    agree(graph("%x: f64[k], %w: f64[k]", "f64[]", "%a: f64[] = matmul(%x, %w)", "%a"), *RANDOM.standard_normal((2, 9)))
    body = "%a: f32[b, n] = linear(%x, %w, %c)\n%y: f32[b, n] = tanh(%a)"
    agree(
        graph("%x: f32[b, k], %w: f32[n, k], %c: f32[n]", "f32[b, n]", body, "%y"),
        floats(3, 5),
        floats(4, 5),
        floats(4),
    )


@pytest.mark.parametrize(
    ("weight", "attributes", "size"),
    [
        ((4, 3, 3, 3), "padding=1", "h, w"),
        ((6, 1, 3, 2), "groups=3, dilation=(2, 2)", "h - 4, w - 2"),
        ((2, 3, 1, 1), "padding=0", "h, w"),
    ],
)
def test_convolutions(weight: tuple[int, ...], attributes: str, size: str) -> None:
    o, c, a, b = weight
    result = f"f32[n, {o}, {size}]"
    body = f"%a: {result} = conv2d(%x, %k, %c) {{{attributes}}}\n%r: {result} = relu(%a)"
    head = f"%x: f32[n, 3, h, w], %k: f32[{o}, {c}, {a}, {b}], %c: f32[{o}]"
    program = agree(graph(head, result, body, "%r"), floats(2, 3, 6, 5), floats(*weight), floats(o))
    assert "conv2d" in names(program)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("keys", [1, 5, 7])
def test_attention(causal: bool, keys: int) -> None:
    head = "%q: f32[b, h, s, 4], %k: f32[b, h, t, 4], %v: f32[b, h, t, 3]"
    body = f"%a: f32[b, h, s, 3] = scaled_dot_product_attention(%q, %k, %v, _) {{is_causal={causal}}}"
    text = graph(head, "f32[b, h, s, 3]", body, "%a")
    program = agree(text, floats(2, 2, 5, 4), floats(2, 2, keys, 4), floats(2, 2, keys, 3))
    assert "attention" in names(program)


def test_attention_with_heads_wider_than_the_kernel_runs_op_by_op() -> None:
    head = "%q: f32[s, 40], %k: f32[t, 40], %v: f32[t, 3]"
    text = graph(head, "f32[s, 3]", "%a: f32[s, 3] = scaled_dot_product_attention(%q, %k, %v, _)", "%a")
    program = agree(text, floats(3, 40), floats(4, 40), floats(4, 3))
    assert program.kernels() and not program.launcher.launched  # type: ignore[attr-defined]


# -- places that data says ---------------------------------------------------------------------------------------------


def test_gather_embedding_and_indices_outside() -> None:
    text = graph("%i: i64[k], %w: f32[n, d]", "f32[k, d]", "%a: f32[k, d] = embedding(%i, %w)", "%a")
    agree(text, np.array([2, 0, 2, 1]), floats(3, 5))
    with pytest.raises(IndexError, match="out of bounds"):
        on_device(optimised(text), [np.array([2, 3]), floats(3, 5)])


def test_rows_keep_nothing_that_is_outside_of_a_border() -> None:
    for name in ("softmax(%p) {dim=-1}", "var(%p) {dim=(1,), correction=0, keepdim=True}"):
        shape = "n + 3" if "softmax" in name else "1"
        agree(
            "graph @f(%x: f32[m, n], %y: f32[m, n]) -> (f32[m, SHAPE]) { %w: f32[m, n] = minimum(%x, %y) "
            "%i: int<1> = constant() {value=1} %j: int<2> = constant() {value=2} "
            "%p: f32[m, n + 3] = pad(%w, %i, %j) {value=0.5} %s: f32[m, SHAPE] = NAME return(%s) }".replace(
                "SHAPE", shape
            ).replace("NAME", name),
            *(np.random.default_rng(seed).standard_normal((1, 11), np.float32) for seed in (0, 1)),
        )


def test_tensors_without_elements_are_read_nowhere() -> None:
    text = "graph @f(%x: i32[3, 0], %y: i32[0, 2]) -> (i32[3, 2]) { %r: i32[3, 2] = matmul(%x, %y) return(%r) }"
    program = agree(text, np.ones((3, 0), np.int32), np.ones((0, 2), np.int32))
    assert program.kernels()
    text = "graph @f(%x: f32[n], %i: i64[m]) -> (f32[m]) { %r: f32[m] = gather(%x, %i) {dim=0} return(%r) }"
    with pytest.raises((IndexError, RuntimeError), match=r"out of (bounds|range)"):
        on_device(optimised(text), [np.ones(0, np.float32), np.zeros(2, np.int64)])


def test_scatters_add_with_atomics() -> None:
    head = "%x: f32[m, n], %i: i64[k, n], %s: f32[k, n]"
    program = agree(
        graph(head, "f32[m, n]", "%a: f32[m, n] = scatter_add(%x, %i, %s) {dim=0}", "%a"),
        floats(3, 4),
        RANDOM.integers(0, 3, (6, 4)),
        floats(6, 4),
    )
    assert any("cuda.atomic.add" in kernel.source for kernel in program.kernels())
    head = "%x: f32[m, n], %i: i64[k], %s: f32[k, n]"
    body = "%a: f32[m, n] = index_add(%x, %i, %s) {dim=0, alpha=2}"
    agree(graph(head, "f32[m, n]", body, "%a"), floats(3, 4), np.array([1, 1, 0, 1]), floats(4, 4))


@pytest.mark.parametrize("dim", [0, 1])
def test_running_sums_and_places_of_extremes(dim: int) -> None:
    x = floats(6, 11)
    agree(graph("%x: f32[6, 11]", "f32[6, 11]", f"%a: f32[6, 11] = cumsum(%x) {{dim={dim}}}", "%a"), x)
    x[2, 3] = np.nan
    kept = 11 if dim == 0 else 6
    for name in ("argmax", "argmin"):
        agree(graph("%x: f32[6, 11]", f"i64[{kept}]", f"%a: i64[{kept}] = {name}(%x) {{dim={dim}}}", "%a"), x)


def test_what_has_no_kernel_is_computed_by_the_array_module_and_reported() -> None:
    body = "%a: f32[n], %i: i64[n] = sort(%x) {dim=0, descending=False, stable=True}\n%b: f32[n] = mul(%a, 2.0)"
    program = agree(graph("%x: f32[n]", "f32[n]", body.replace(", 2.0", ", %a"), "%b"), floats(9))
    assert any("sort" in line and "array module" in line for plan in program.plans() for line in plan.report)
