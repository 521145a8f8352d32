"""Kernels of discrete Fourier transforms against numpy: lengths, dimensions, cut and padded inputs, threads."""

from typing import Any

import numpy as np
import pytest
from ingot import ir
from ingot.jit.codegen.fourier_text import factors, split
from ingot.jit.codegen.generate import generate
from ingot.jit.runtime import pool
from lowering_cases import native, unjitted

NUMPY = {"f32": np.float32, "f64": np.float64, "c64": np.complex64, "c128": np.complex128}


def transform(
    op: str, shape: tuple[int, ...], dims: tuple[int, ...], sizes: tuple[int, ...], real: str, **options: Any
):  # type: ignore[no-untyped-def]
    """A graph with one transform, whose other dimensions are symbols, and an input for it."""
    whole = {"f32": "c64", "f64": "c128"}[real]
    reads = real if op == "rfftn" or options.pop("of_reals", False) else whole
    norm = options.pop("norm", "backward")
    out = list(shape)
    for dim, n in zip(dims, sizes, strict=True):
        out[dim] = n
    if op == "rfftn":
        out[dims[-1]] = sizes[-1] // 2 + 1
    symbols = "abcd"

    def text(dtype: str, sizes: Any) -> str:
        return f"{dtype}[{', '.join(str(n) if d in dims else symbols[d] for d, n in enumerate(sizes))}]"

    result = text(real if op == "irfftn" else whole, out)
    attributes = f's={tuple(sizes)!r}, dim={tuple(dims)!r}, norm="{norm}"'
    graph = ir.parse(
        f"graph @f(%x: {text(reads, shape)}) -> ({result}) {{ %0: {result} = {op}(%x) {{{attributes}}} return(%0) }}"
    )
    random = np.random.default_rng(1)
    x = random.standard_normal(shape)
    return graph, (x + 1j * random.standard_normal(shape) if reads == whole else x).astype(NUMPY[reads])


def compare(program: Any, graph: ir.Graph, x: Any) -> None:
    (found,), (expected,) = program([x]), ir.run(graph, [x])
    assert found.dtype == expected.dtype and found.shape == expected.shape
    scale = np.abs(expected).max() if expected.size else 0
    tolerance = 2e-6 if found.dtype in (np.float32, np.complex64) else 1e-14
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("op", ["fftn", "ifftn", "rfftn", "irfftn"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 11, 13, 30, 63, 64, 65, 130, 154])
def test_rows_of_every_kind_of_length(op: str, n: int) -> None:
    places = n // 2 + 1 if op == "irfftn" else n
    for rows, norm in ((3, "ortho"), (17, "backward")):
        graph, x = transform(op, (rows, places), (1,), (n,), "f32", norm=norm)
        assert "numpy" not in str(generate(graph).report)
        compare(unjitted(graph), graph, x)


CASES: list[Any] = [
    ("fftn", (3, 10, 4), (1,), (10,), {}),
    ("ifftn", (6, 2, 19), (0,), (6,), {"norm": "forward"}),
    ("rfftn", (5, 6, 7), (0, 1), (5, 6), {"norm": "ortho"}),
    ("irfftn", (4, 4, 3), (0, 1), (4, 6), {}),
    ("fftn", (3, 16, 4), (2, 1), (5, 16), {"norm": "ortho"}),  # padded in place would overwrite what is to be read
    ("irfftn", (7, 9), (0, 1), (5, 20), {"of_reals": True}),  # one dimension is cut, one padded
    ("fftn", (2, 70), (1,), (64,), {"of_reals": True}),
    ("rfftn", (2, 61), (1,), (128,), {}),
    ("rfftn", (2, 200), (1,), (135,), {}),
    ("irfftn", (2, 99), (1,), (130,), {}),
    ("irfftn", (2, 40), (1,), (135,), {}),
    ("rfftn", (0, 8), (1,), (8,), {}),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("real", ["f32", "f64"])
def test_dimensions_and_lengths_that_are_not_the_inputs(case: Any, real: str) -> None:
    op, shape, dims, sizes, options = case
    graph, x = transform(op, shape, dims, sizes, real, **dict(options))
    compare(unjitted(graph), graph, x)


NATIVE: list[Any] = [
    ("rfftn", (5, 1000), (1,), (1000,), "f32"),
    ("irfftn", (3, 257), (1,), (512,), "f64"),
    ("fftn", (20, 12, 35), (1, 2), (12, 35), "f32"),
]


@pytest.mark.parametrize("case", NATIVE)
def test_native_code_and_threads(case: Any) -> None:
    graph, x = transform(*case)
    program = native(graph)[1]
    compare(program, graph, x)
    threads, found = pool.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            pool.set_num_threads(count)
            found.append(program([x])[0])
    finally:
        pool.set_num_threads(threads)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    x[0] = np.nan
    assert np.isnan(program([x])[0][0]).all() and not np.isnan(program([x])[0][1:]).any()


def test_lengths_with_large_primes_are_numpys() -> None:
    graph, x = transform("fftn", (2, 34), (1,), (34,), "f32")
    assert "fftn is computed by numpy" in str(generate(graph).report)
    compare(unjitted(graph), graph, x)
    assert factors(34) is None and factors(2**3 * 13 * 11) == [4, 2, 11, 13]
    assert all(a * b == n for n in (64, 100, 1001) for a, b in [split(n)])
