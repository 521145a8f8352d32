"""Native entries: arguments arrive unchanged, wrong ones never reach native code, the interpreter lock is released."""

import ctypes
import gc
import math
import struct
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest
from ingot.jit.runtime import call
from ingot.jit.runtime.call import ctypes_entry, native_entry
from ingot.jit.runtime.loader import emit_object, load_object


def digits(count: int) -> str:
    """A function that makes a number of its arguments, so that their order shows."""
    lines = [f"define i64 @digits{count}({', '.join(f'i64 %a{i}' for i in range(count))}) {{"]
    total = "7"
    for i in range(count):
        lines += [f"  %m{i} = mul i64 {total}, 10", f"  %s{i} = add i64 %m{i}, %a{i}"]
        total = f"%s{i}"
    return "\n".join([*lines, f"  ret i64 {total}", "}"])


# slot(table): table[table[0]]
MODULE = (
    "\n".join(digits(count) for count in range(9))
    + """
define i64 @slot(i64 %table) {
  %base = inttoptr i64 %table to ptr
  %index = load i64, ptr %base
  %at = getelementptr i64, ptr %base, i64 %index
  %value = load i64, ptr %at
  ret i64 %value
}
define i64 @first(i64 %table) {
  %base = inttoptr i64 %table to ptr
  %value = load i64, ptr %base
  ret i64 %value
}
define i64 @nothing(i64 %table) {
  ret i64 -5
}
"""
)
NAMES = [f"digits{count}" for count in range(9)] + ["slot", "first", "nothing"]

Maker = Callable[..., Callable[..., int]]


@pytest.fixture(scope="module")
def address() -> dict[str, int]:
    return load_object(emit_object(MODULE, cpu="", features="", keep=NAMES), NAMES)


@pytest.fixture(params=["native", "ctypes"])
def make(request: pytest.FixtureRequest) -> Maker:
    return native_entry if request.param == "native" else ctypes_entry


def test_the_fast_way_is_used_here() -> None:
    assert call._fast_calls_work()


@pytest.mark.parametrize("count", range(9))
def test_values_in_order(make: Maker, address: dict[str, int], count: int) -> None:
    entry = make(address[f"digits{count}"], "i" * count, table=False)
    assert entry(*range(1, count + 1)) == int("7" + "12345678"[:count])


@pytest.mark.parametrize("count", [1, 2, 9, 100, 1024])
def test_tables_in_order(make: Maker, address: dict[str, int], count: int) -> None:
    entry = make(address["slot"], "i" * count)
    for index in {0, 1, count // 2, count - 1} - {count}:
        values = [index, *range(1001, 1000 + count)]
        assert entry(*values) == values[index]


def test_no_arguments(make: Maker, address: dict[str, int]) -> None:
    assert make(address["nothing"], "")() == -5


@pytest.mark.parametrize("value", [0, 1, -1, 2**63 - 1, -(2**63), True, np.int32(-7), np.uint8(200)])
def test_integers(make: Maker, address: dict[str, int], value: int) -> None:
    assert make(address["first"], "i")(value) == int(value)


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1.5, -1.0, math.inf, -math.inf, 5e-324, 1e308, 3, -1, np.float32(0.1), np.float64(-1.0)]
)
def test_floats(make: Maker, address: dict[str, int], value: float) -> None:
    assert make(address["first"], "f")(value) == struct.unpack("q", struct.pack("d", value))[0]


def test_nan(make: Maker, address: dict[str, int]) -> None:
    bits = make(address["first"], "f")(math.nan)
    assert math.isnan(struct.unpack("d", struct.pack("q", bits))[0])


class Labelled(np.ndarray):
    pass


@pytest.mark.parametrize(
    "array", [np.arange(6.0), np.arange(6.0)[::-2], np.zeros((0, 3)), np.zeros(()), np.zeros(3).view(Labelled)]
)
def test_arrays(make: Maker, address: dict[str, int], array: np.ndarray) -> None:
    assert make(address["first"], "a")(array) == id(array)
    assert make(address["first"], "p")(array) == array.ctypes.data


def test_mixed_kinds(make: Maker, address: dict[str, int]) -> None:
    x, y = np.zeros(3), np.zeros(4)
    entry = make(address["slot"], "iapfi")
    results = [entry(index, x, y, 2.5, -9) for index in range(5)]
    assert results == [0, id(x), y.ctypes.data, 0x4004000000000000, -9]


@pytest.mark.parametrize(
    ("kinds", "arguments", "error", "message"),
    [
        ("i", (), TypeError, "expected 1 positional arguments, got 0"),
        ("i", (1, 2), TypeError, "expected 1 positional arguments, got 2"),
        ("", (1,), TypeError, "expected 0 positional arguments, got 1"),
        ("i", (1.5,), TypeError, "float"),
        ("i", ("1",), TypeError, "str"),
        ("i", (None,), TypeError, "NoneType"),
        ("i", (2**63,), OverflowError, "big|64 bits"),
        ("i", (-(2**63) - 1,), OverflowError, "big|64 bits"),
        ("f", ("1.0",), TypeError, "str"),
        ("f", (None,), TypeError, "NoneType"),
        ("f", (10**400,), OverflowError, "too large"),
        ("a", ([1.0],), TypeError, "must be a numpy array, not list|expected a numpy array, got list"),
        ("ia", (0, 3), TypeError, "argument 1 must be a numpy array, not int|got int"),
        ("p", (np.float64(1.0),), TypeError, "float64"),
        ("p", (None,), TypeError, "NoneType"),
    ],
)
def test_wrong_arguments(
    make: Maker,
    address: dict[str, int],
    kinds: str,
    arguments: tuple[object, ...],
    error: type[Exception],
    message: str,
) -> None:
    entry = make(address["nothing"], kinds)
    with pytest.raises(error, match=message):
        entry(*arguments)


def test_an_exception_of_a_conversion_comes_through(make: Maker, address: dict[str, int]) -> None:
    class Stubborn:
        def __index__(self) -> int:
            raise LookupError("no number today")

        def __float__(self) -> float:
            raise LookupError("no number today")

    for kind in "if":
        with pytest.raises(LookupError, match="no number today"):
            make(address["first"], kind)(Stubborn())


def test_keywords_are_refused(make: Maker, address: dict[str, int]) -> None:
    with pytest.raises(TypeError):
        make(address["first"], "i")(value=1)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((1, "x"), {}, "unknown kinds 'x'"),
        ((1, "i" * 1025), {}, "at most 1024"),
        ((1, "i" * 9), {"table": False}, "at most 8"),
        ((0, "i"), {}, "not the address of a function"),
    ],
)
def test_bad_entries(arguments: tuple[int, str], options: dict[str, bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        native_entry(*arguments, **options)


def test_references_are_balanced(address: dict[str, int]) -> None:
    entry = native_entry(address["first"], "a")
    wrong = native_entry(address["first"], "ai")
    array, big = np.zeros(3), 2**62 + 1
    before = sys.getrefcount(array), sys.getrefcount(big), sys.getrefcount(entry)
    for _ in range(1000):
        entry(array)
        with pytest.raises(TypeError):
            wrong(array, None)
    gc.collect()
    assert (sys.getrefcount(array), sys.getrefcount(big), sys.getrefcount(entry)) == before


def test_entries_are_freed(address: dict[str, int]) -> None:
    entries = [native_entry(address["nothing"], "i" * i) for i in range(100)]
    assert [entry(*range(i)) for i, entry in enumerate(entries)] == [-5] * 100
    descriptor = entries[7].__self__  # type: ignore[attr-defined]
    count = sys.getrefcount(descriptor)
    del entries
    assert sys.getrefcount(descriptor) == count - 1


def test_the_interpreter_lock_is_released(make: Maker) -> None:
    together = threading.Barrier(2, timeout=20)

    @ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    def meet(_: int) -> int:
        return together.wait() + 40

    entry = make(ctypes.cast(meet, ctypes.c_void_p).value or 0, "")
    results: list[int] = []
    other = threading.Thread(target=lambda: results.append(entry()))
    other.start()
    results.append(entry())
    other.join(20)
    assert sorted(results) == [40, 41]


def test_where_the_layout_is_unknown_ctypes_does_the_work(
    monkeypatch: pytest.MonkeyPatch, address: dict[str, int]
) -> None:
    monkeypatch.setattr(call, "_fast_calls_work", lambda: False)
    assert native_entry(address["digits2"], "ii", table=False)(3, 4) == 734
    assert native_entry(address["slot"], "ip")(0, np.zeros(1)) == 0
