"""Kernels that handle neighbours together, and those of products with few rows, in the simulator; and when they run."""

import numpy as np
import pytest
from device_cases import agree, on_device, optimised
from ingot.cuda import simulate
from ingot.eager.device import as_device, move_array
from ingot.jit.codegen.cuda.lanes import repeated, vector_form
from ingot.jit.codegen.cuda.programs import device_program
from ingot.jit.codegen.indexing import loop_variable

RANDOM = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def device():
    with simulate():
        yield


def graph(arguments: str, result: str, body: str) -> str:
    return f"graph @f({arguments}) -> ({result}) {{ {body} return(%r) }}"


BROADCAST = graph(
    "%x: f32[n, c, w], %b: f32[c, 1], %s: f32[w]",
    "f32[n, c, w]",
    "%a: f32[n, c, w] = mul(%x, %b) %r: f32[n, c, w] = add(%a, %s)",
)
LINEAR = graph("%x: f32[m, k], %w: f32[n, k], %b: f32[n]", "f32[m, n]",
               "%a: f32[m, n] = linear(%x, %w, %b) %r: f32[m, n] = relu(%a)")  # fmt: skip
BATCHED = graph("%x: f32[b, m, k], %y: f32[b, n, k]", "f32[b, m, n]",
                "%t: f32[b, k, n] = transpose(%y) {dim0=-1, dim1=-2} %r: f32[b, m, n] = matmul(%x, %t)")  # fmt: skip
NORM = graph("%x: f32[m, n], %w: f32[n], %b: f32[n]", "f32[m, n]",
             "%r: f32[m, n] = layer_norm(%x, %w, %b) {normalized_shape=(n,)}")  # fmt: skip


def chosen(text: str, *arguments: np.ndarray) -> list[str]:
    """The kernels that run, after the results were compared with the interpreter's."""
    program = agree(text, *arguments)
    return list(program.launcher.launched)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("shape", "wide"), [((2, 3, 8), True), ((1, 1, 4), True), ((2, 3, 7), False)])
def test_broadcast_operands_do_not_keep_neighbours_apart(shape: tuple[int, int, int], wide: bool) -> None:
    (name,) = chosen(BROADCAST, floats(*shape), floats(shape[1], 1), floats(shape[2]))
    assert ("_wide_" in name) is wide


@pytest.mark.parametrize("length", [4, 12, 40, 200, 300])
def test_rows_by_fours_are_the_rows(length: int) -> None:
    x = floats(3, length)
    x[1, 2], x[2, 3] = np.nan, np.inf
    text = graph(f"%x: f32[m, {length}]", f"f32[m, {length}]", f"%r: f32[m, {length}] = softmax(%x) {{dim=1}}")
    assert "_wide_" in chosen(text, x)[-1]
    norm = NORM.replace("[n]", f"[{length}]").replace(", n]", f", {length}]").replace("(n,)", f"({length},)")
    assert "_wide_" in chosen(norm, floats(3, length), floats(length), floats(length))[-1]


def test_memory_that_is_not_aligned_is_read_one_by_one() -> None:
    text = graph("%x: f32[n]", "f32[n]", "%r: f32[n] = exp(%x)")
    place = as_device("cuda")
    whole = move_array(floats(9), place)
    for start, wide in ((0, True), (1, False)):
        program = device_program(optimised(text), place)
        given = whole[start : start + 8]
        (found,) = program([given])
        np.testing.assert_allclose(found.get(), np.exp(given.get()), rtol=1e-6)
        assert ("_wide_" in program.launcher.launched[-1]) is wide  # type: ignore[attr-defined]


@pytest.mark.parametrize(("m", "k", "n"), [(1, 8, 5), (1, 7, 3), (8, 24, 2), (3, 1, 1), (1, 0, 4), (2, 64, 3)])
def test_products_with_few_rows_take_a_team_for_each_element(m: int, k: int, n: int) -> None:
    (name,) = chosen(LINEAR, floats(m, k), floats(n, k), floats(n))
    assert "_thin" in name and ("_wide_" in name) is (k % 4 == 0)


def test_other_products_take_tiles() -> None:
    (name,) = chosen(LINEAR, floats(9, 8), floats(3, 8), floats(3))
    assert "_thin" not in name


@pytest.mark.parametrize("k", [8, 5])
def test_batches_of_thin_products(k: int) -> None:
    (name,) = chosen(BATCHED, floats(2, 3, k), floats(2, 5, k))
    assert "_thin" in name


def test_thin_products_of_doubles_and_of_infinities() -> None:
    text = graph("%x: f64[1, 6], %w: f64[3, 6]", "f64[1, 3]", "%r: f64[1, 3] = linear(%x, %w, _)")
    x = RANDOM.standard_normal((1, 6))
    x[0, 5] = np.inf
    (name,) = chosen(text, x, RANDOM.standard_normal((3, 6)))
    assert "_thin_wide_" in name


def test_forms_of_a_kernel_have_parameters_of_their_own() -> None:
    _, program = on_device(optimised(LINEAR), [floats(1, 8), floats(5, 8), floats(5)])
    tiled, thin, wide = program.kernels()[:3]
    assert tiled.parameters != thin.parameters and thin.most == wide.most and wide.lanes == 4


def test_what_keeps_neighbours_apart() -> None:
    i, j, n = loop_variable("i"), loop_variable("j"), 8
    name = next(iter(i.symbols()))
    assert vector_form([(j * n + i, 4), (j, 4)], name, 12) == (4, ())
    assert vector_form([(j * n + i, 8)], name, 12) == (2, ())
    assert vector_form([(j * n + i, 4), (i, 1)], name, 12) == (4, ())
    apart = [[(i * 2, 4)], [(i // 2, 4)], [(j * 6 + i, 4)], [(i + 1, 4)], [(i, 2)], [(i * j, 4)]]
    for accesses in apart:
        assert vector_form(accesses, name, 12) == (1, ()), accesses
    assert vector_form([(i, 4)], name, 10) == (1, ())


def test_statements_are_repeated_side_by_side_and_sums_in_order() -> None:
    body = ["u = s[j]", "v = x[i] * u", "k[i] = v", "b = a + v", "a = b * 2"]
    assert repeated(body, "i", 2) == [
        "u = s[j]", "v = x[i] * u", "v_1 = x[(i + 1)] * u", "k[i] = v", "k[(i + 1)] = v_1",
        "b = a + v", "a = b * 2", "b_1 = a + v_1", "a = b_1 * 2",
    ]  # fmt: skip
    assert repeated(["if x[i]:", "    v = 1"], "i", 2) is None
    assert repeated(["k[i] = v", "w = k[i]", "y[i] = w"], "i", 2) is None
