"""Products of 8-bit integers: exact for every pair of types, size, layout and CPU, and chosen where they apply."""

import itertools
import warnings
from dataclasses import replace
from typing import Any

import ingot
import numpy as np
import pytest
from generated_kernels import functions_of, run_in_pieces, table_of
from ingot import jit
from ingot.jit.codegen.integer_products import INTEGER_SLOTS, IntegerSpec, integer_source, pack_bytes
from ingot.jit.codegen.target import AVX2, NEON, host_target

TYPES = {"i8": np.int8, "u8": np.uint8}
GUARD = 123456789


class Product:
    """A generated kernel on numpy arrays; its result lies between guard elements."""

    def __init__(self, spec: IntegerSpec, jit: bool = True) -> None:
        functions = functions_of({spec.name: integer_source(spec)}, jit)
        self.spec = spec
        self.kernel, self.plan = functions[spec.name], functions[f"{spec.name}_plan"]

    def __call__(self, a: Any, b: Any, threads: int = 1, pieces: int = 1, packed: bool = False) -> Any:
        (m, k), n = a.shape, b.shape[1]
        memory = np.full((m + 2, n + 3), GUARD, np.int32)
        matrix = pack_bytes(b, self.spec) if packed else b
        values = {
            "a": a.ctypes.data, "b": matrix.ctypes.data, "c": memory[1:].ctypes.data, "m": m, "n": n, "k": k,
            "a_row_stride": a.strides[0], "a_k_stride": a.strides[1], "b_k_stride": b.strides[0],
            "b_column_stride": b.strides[1], "c_row_stride": n + 3, "b_is_packed": int(packed),
        }  # fmt: skip
        table = table_of(INTEGER_SLOTS, values)
        items = self.plan(table.ctypes.data, threads)
        run_in_pieces(self.kernel, table, items, pieces)
        assert (memory[[0, -1]] == GUARD).all() and (memory[:, n:] == GUARD).all()
        return memory[1:-1, :n]


def bytes_of(kind: str, *shape: int, seed: int = 0) -> Any:
    info = np.iinfo(TYPES[kind])
    values = np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(TYPES[kind])
    values.ravel()[:1], values.ravel()[-1:] = info.min, info.max  # the extremes, whose products overflow 16 bits
    return values


@pytest.mark.parametrize("kinds", list(itertools.product(TYPES, TYPES)))
@pytest.mark.parametrize("form", ["host", "without dots", "python"])
def test_every_pair_of_types_is_exact(kinds: tuple[str, str], form: str) -> None:
    target = host_target() if form == "host" else replace(host_target(), byte_dots=False)
    product = Product(IntegerSpec(*kinds, target), jit=form != "python")
    sizes = [(1, 2, 1), (3, 5, 7), (14, 32, 4), (15, 33, 18), (61, 40, 515), (130, 70, 1032)]
    for m, n, k in sizes[: 4 if form == "python" else 6]:
        a, b = bytes_of(kinds[0], m, k), bytes_of(kinds[1], k, n, seed=1)
        expected = a.astype(np.int32) @ b.astype(np.int32)
        for left, right in itertools.product((a, np.asfortranarray(a)), (b, np.asfortranarray(b))):
            for threads, pieces in ((1, 1), (3, 5)):
                for packed in (False, True):
                    np.testing.assert_array_equal(product(left, right, threads, pieces, packed), expected)
    np.testing.assert_array_equal(product(bytes_of(kinds[0], 3, 0 + 2)[:, :0], bytes_of(kinds[1], 2, 4)[:0]), 0)
    a, b = bytes_of(kinds[0], 20, 30), bytes_of(kinds[1], 30, 40)
    # Pointers of plain Python have no elements before their first one.
    b = b[::3, ::2] if form == "python" else b[::-3, ::2]
    np.testing.assert_array_equal(product(a[::2, ::3], b), a[::2, ::3].astype(np.int32) @ b.astype(np.int32))


def test_saturated_bytes_do_not_overflow() -> None:
    product = Product(IntegerSpec("u8", "i8", host_target()))
    a, b = np.full((9, 4100), 255, np.uint8), np.full((4100, 33), -128, np.int8)
    assert (product(a, b) == -255 * 128 * 4100).all()


@pytest.mark.parametrize("target", [AVX2, NEON], ids=lambda t: t.name)
def test_other_vector_lengths(target: Any) -> None:
    product = Product(IntegerSpec("i8", "i8", target))
    a, b = bytes_of("i8", 17, 21), bytes_of("i8", 21, 19, seed=1)
    np.testing.assert_array_equal(product(a, b), a.astype(np.int32) @ b.astype(np.int32))


def test_casts_of_bytes_are_multiplied_as_bytes() -> None:
    a, b = (ingot.tensor(bytes_of("i8", 18, 24, seed=s)) for s in (0, 1))
    weight, int32 = ingot.tensor(bytes_of("u8", 24, 10, seed=2)), ingot.int32
    programs: list[tuple[Any, tuple[Any, ...]]] = [
        (lambda a, b: a.to(int32) @ b.to(int32).T, (a, b)),
        (lambda a, b: a.to(int32) @ b.T.to(int32) * 2 + 1, (a, b)),
        (lambda a: a.reshape(2, 9, 24).to(int32) @ weight.to(int32), (a,)),
        (lambda a, b: a[1].to(int32) @ b.flip(0).T.to(int32), (a, b)),
        (lambda a, b: a.reshape(3, 6, 24).to(int32) @ b.reshape(3, 6, 24).permute(0, 2, 1).to(int32), (a, b)),
    ]
    for program, arguments in programs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jit.TraceWarning)
            warnings.simplefilter("error", jit.FallbackWarning)
            compiled = jit.trace(program, arguments, check_trace=False)
            result = compiled(*arguments)
        np.testing.assert_array_equal(result.numpy(), program(*arguments).numpy())
        assert "product of i8 and" in str(compiled.explain())
    wide = ingot.arange(6, dtype=int32).reshape(2, 3) * 100_000
    compiled = jit.trace(lambda x: x @ x.T, (wide,), check_trace=False)
    np.testing.assert_array_equal(compiled(wide).numpy(), (wide @ wide.T).numpy())
    assert "product of" not in str(compiled.explain())
