"""Objects mapped without LLVM: they compute what LLVM's loader makes them compute, and damage is found."""

import ctypes
import math
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ingot.jit.runtime import elf, loader
from ingot.jit.runtime.objects import ObjectError

pytestmark = pytest.mark.skipif(
    not elf.can_map() or loader.host_architecture() != "x86_64", reason="objects are mapped on x86-64 Linux"
)

MODULE = """
@table = internal constant [3 x i64] [i64 7, i64 11, i64 13]
@functions = internal constant [2 x ptr] [ptr @twice, ptr @thrice]
@count = internal global i64 5
declare double @hypot(double, double)
declare i64 @other(i64)
define internal i64 @twice(i64 %x) noinline { %y = mul i64 %x, 2 ret i64 %y }
define internal i64 @thrice(i64 %x) noinline { %y = mul i64 %x, 3 ret i64 %y }
define i64 @constant(i64 %i) {
  %at = getelementptr i64, ptr @table, i64 %i
  %value = load i64, ptr %at
  ret i64 %value
}
define i64 @chosen(i64 %i) {
  %at = getelementptr ptr, ptr @functions, i64 %i
  %function = load ptr, ptr %at
  %value = call i64 %function(i64 100)
  ret i64 %value
}
define i64 @counted(i64 %i) {
  %old = load i64, ptr @count
  %new = add i64 %old, %i
  store i64 %new, ptr @count
  ret i64 %new
}
define i64 @distance(i64 %i) {
  %x = sitofp i64 %i to double
  %y = call double @hypot(double %x, double 4.0)
  %z = fptosi double %y to i64
  ret i64 %z
}
define i64 @elsewhere(i64 %i) { %y = call i64 @other(i64 %i) ret i64 %y }
"""
OTHER = "define i64 @other(i64 %i) { %y = add i64 %i, 1000 ret i64 %y }"
NAMES = ["constant", "chosen", "counted", "distance", "elsewhere"]
INPUTS = {"constant": [0, 2], "chosen": [0, 1], "counted": [1, 10], "distance": [3, 0], "elsewhere": [5]}
EXPECTED = {"constant": [7, 13], "chosen": [200, 300], "counted": [6, 16], "distance": [5, 4], "elsewhere": [1005]}


@pytest.fixture(scope="module")
def objects() -> list[bytes]:
    first = loader.emit_object(MODULE, cpu="", features="", opt=0, keep=NAMES)
    return [first, loader.emit_object(OTHER, cpu="", features="", opt=0, keep=["other"])]


def external(name: str) -> int:
    return loader._external_address(name)


def function(address: int) -> Callable[[int], int]:
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)


def rights(address: int) -> str:
    """What the process may do with the page at an address."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) (....)", line)
        assert found is not None
        if int(found[1], 16) <= address < int(found[2], 16):
            return found[3]
    raise AssertionError("the address is not mapped")


def test_code_constants_variables_tables_and_far_calls(objects: list[bytes]) -> None:
    places = elf.map_objects(objects, external)
    for name in NAMES:
        assert [function(places[name])(x) for x in INPUTS[name]] == EXPECTED[name]


def test_llvm_computes_the_same(objects: list[bytes]) -> None:
    places = loader._load_by_llvm(objects, NAMES, {"hypot": external("hypot")})
    for name in NAMES:
        assert [function(places[name])(x) for x in INPUTS[name]] == EXPECTED[name]


def test_nothing_is_both_written_and_executed(objects: list[bytes]) -> None:
    before = set(Path("/proc/self/maps").read_text().splitlines())
    places = elf.map_objects(objects, external)
    assert rights(places["constant"]) == "r-xp"
    added = set(Path("/proc/self/maps").read_text().splitlines()) - before
    assert added and not any("wx" in line.split()[1] for line in added)


def test_images_have_variables_of_their_own(objects: list[bytes]) -> None:
    first, second = (function(elf.map_objects(objects, external)["counted"]) for _ in range(2))
    assert (first(1), first(1), second(1)) == (6, 7, 6)


def test_what_only_llvm_knows_is_left_to_it() -> None:
    module = "@x = thread_local global i64 1\ndefine i64 @read() { %y = load i64, ptr @x ret i64 %y }"
    blob = loader.emit_object(module, cpu="", features="", opt=0, keep=["x", "read"])
    with pytest.raises(elf.NotMappable):
        elf.map_objects([blob], external)


def test_symbols_that_nobody_provides(objects: list[bytes]) -> None:
    with pytest.raises(ObjectError, match="'other'"):
        elf.map_objects(objects[:1], external)


def test_loading_uses_no_llvm_for_such_objects(objects: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_load_by_llvm", lambda *_: pytest.fail("LLVM was asked"))
    places = loader.load_object(objects[1], ["other"])
    assert function(places["other"])(1) == 1001


def test_damaged_objects_are_refused_or_mapped_and_never_crash(objects: list[bytes]) -> None:
    blob = objects[0]
    chooser = random.Random(5)
    refused = 0
    for trial in range(400):
        damaged = bytearray(blob)
        for _ in range(chooser.choice([1, 1, 2, 4])):
            # Headers and tables lie at the end of the file.
            start = 0 if trial % 4 == 0 else len(blob) // 2
            damaged[chooser.randrange(start, len(blob))] = chooser.choice([0, 1, 0x7F, 0xFF, chooser.randrange(256)])
        if trial % 5 == 0:
            del damaged[chooser.randrange(len(damaged)) :]
        try:
            elf.map_objects([bytes(damaged), objects[1]], external)
        except (ObjectError, elf.NotMappable):
            refused += 1
    assert 50 < refused < 400
    places = elf.map_objects(objects, external)
    assert function(places["distance"])(3) == math.hypot(3, 4)
