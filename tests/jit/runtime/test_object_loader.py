"""Object files: emitted for any target, loaded on this one, refused with a reason when they could not run."""

import ctypes
import math
import re
import struct
import subprocess
import sys
import threading

import pytest
from ingot.jit.runtime import loader
from ingot.jit.runtime.loader import ObjectError, emit_object, load_object, provide_symbol
from ingot.jit.runtime.objects import object_symbols

MODULE = """
@table = internal constant [4 x i64] [i64 10, i64 20, i64 30, i64 40]
@visible = global i64 5
declare double @exp(double)
declare float @tanhf(float)
declare ptr @malloc(i64)
declare void @free(ptr)

define i64 @lookup(i64 %i) {
  %at = getelementptr [4 x i64], ptr @table, i64 0, i64 %i
  %value = load i64, ptr %at
  %more = call i64 @helper(i64 %value)
  ret i64 %more
}
define i64 @helper(i64 %x) noinline {
  %y = add i64 %x, 1
  ret i64 %y
}
define i64 @unused(i64 %x) {
  %y = call i64 @mystery(i64 %x)
  ret i64 %y
}
declare i64 @mystery(i64)
define double @mathematics(double %x) {
  %e = call double @exp(double %x)
  %f = fptrunc double %e to float
  %t = call float @tanhf(float %f)
  %r = fpext float %t to double
  ret double %r
}
define i64 @through_the_heap(i64 %x) {
  %p = call ptr @malloc(i64 8)
  store volatile i64 %x, ptr %p
  %y = load volatile i64, ptr %p
  call void @free(ptr %p)
  ret i64 %y
}
"""
NAMES = ["lookup", "mathematics", "through_the_heap"]
INTEGER = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)


@pytest.fixture(scope="module")
def blob() -> bytes:
    features = loader.feature_string(loader.host_features())
    return emit_object(MODULE, cpu=loader.host_cpu_name(), features=features, keep=NAMES)


def test_loaded_functions_run(blob: bytes) -> None:
    address = load_object(blob, NAMES)
    assert list(address) == NAMES
    assert [INTEGER(address["lookup"])(i) for i in range(4)] == [11, 21, 31, 41]
    assert INTEGER(address["through_the_heap"])(-7) == -7
    mathematics = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(address["mathematics"])
    assert mathematics(-1.0) == pytest.approx(math.tanh(math.exp(-1.0)), rel=1e-6)


def test_only_kept_symbols_are_visible(blob: bytes) -> None:
    symbols = object_symbols(blob)
    assert symbols.defined == set(NAMES)
    assert symbols.undefined == {"exp", "tanhf", "malloc", "free"}


def test_the_same_names_load_again_to_other_code() -> None:
    sources = [f"define i64 @f(i64 %x) {{\n %y = mul i64 %x, {factor}\n ret i64 %y }}" for factor in (2, 3)]
    addresses = [load_object(emit_object(text, cpu="", features="", keep=["f"]), ["f"])["f"] for text in sources]
    assert [INTEGER(address)(7) for address in addresses] == [14, 21]


def test_threads_load_at_the_same_time(blob: bytes) -> None:
    results: list[int] = []

    def load() -> None:
        for _ in range(5):
            results.append(INTEGER(load_object(blob, ["lookup"])["lookup"])(2))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [31] * 20


def test_an_undefined_symbol_is_refused_before_llvm_ends_the_process() -> None:
    blob = emit_object(MODULE, cpu="", features="", keep=["unused"])
    with pytest.raises(ObjectError, match="needs mystery, which neither"):
        load_object(blob, ["unused"])


def test_symbols_of_the_process_outside_the_list_are_refused() -> None:
    text = "declare i32 @system(ptr)\ndefine i32 @f(ptr %x) {\n %y = call i32 @system(ptr %x)\n ret i32 %y }"
    with pytest.raises(ObjectError, match="needs system"):
        load_object(emit_object(text, cpu="", features="", keep=["f"]), ["f"])


def test_a_symbol_that_the_object_does_not_define(blob: bytes) -> None:
    with pytest.raises(ObjectError, match=r"does not define nowhere; it defines lookup, mathematics, through_the_heap"):
        load_object(blob, ["lookup", "nowhere"])
    with pytest.raises(ObjectError, match="does not define helper"):
        load_object(blob, ["helper"])


def test_provided_symbols() -> None:
    seen: list[int] = []
    callback = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(lambda x: seen.append(x) or 5)
    provide_symbol("ingot_test_callback", lambda: ctypes.cast(callback, ctypes.c_void_p).value or 0)
    text = """declare i64 @ingot_test_callback(i64)
    define i64 @f(i64 %x) {
      %y = call i64 @ingot_test_callback(i64 %x)
      ret i64 %y
    }"""
    assert INTEGER(load_object(emit_object(text, cpu="", features="", keep=["f"]), ["f"])["f"])(99) == 5
    assert seen == [99]
    with pytest.raises(ValueError, match="must start with 'ingot_'"):
        provide_symbol("malloc", lambda: 1)


def test_another_machine_and_another_container_are_refused() -> None:
    text = "define i64 @f(i64 %x) {\n ret i64 %x }"
    foreign = "aarch64" if loader.host_architecture() == "x86_64" else "x86_64"
    blob = emit_object(text, cpu="", features="", triple=f"{foreign}-unknown-linux-gnu", keep=["f"])
    with pytest.raises(ObjectError, match=f"made for {foreign}, but this machine is"):
        load_object(blob, ["f"])
    system = "unknown-linux-gnu" if sys.platform == "darwin" else "apple-macosx11.0.0"
    blob = emit_object(text, cpu="", features="", triple=f"{loader.host_architecture()}-{system}", keep=["f"])
    with pytest.raises(ObjectError, match="this system loads"):
        load_object(blob, ["f"])


def test_coff_is_refused_with_the_way_out() -> None:
    text = "define i64 @f(i64 %x) {\n ret i64 %x }"
    blob = emit_object(text, cpu="", features="", triple="x86_64-pc-windows-msvc", keep=["f"])
    with pytest.raises(ObjectError, match="ends in '-elf'"):
        load_object(blob, ["f"])


@pytest.mark.parametrize("length", [0, 3, 4, 20, 63, 64, 200])
def test_truncated_objects_are_refused(blob: bytes, length: int) -> None:
    with pytest.raises(ObjectError, match="object file"):
        load_object(blob[:length], ["lookup"])


@pytest.mark.skipif(sys.platform == "darwin", reason="an ELF object")
def test_every_damaged_header_byte_is_survived(blob: bytes) -> None:
    refused = 0
    for position in range(64):
        damaged = bytearray(blob)
        damaged[position] ^= 0xFF
        try:
            object_symbols(bytes(damaged))
        except ObjectError:
            refused += 1
    # Bytes that say nothing about the symbols (the entry point, padding, flags) may change.
    assert refused >= 20


@pytest.mark.skipif(sys.platform == "darwin", reason="an ELF object")
def test_every_truncation_is_survived(blob: bytes) -> None:
    for length in range(len(blob)):
        with pytest.raises(ObjectError):
            object_symbols(blob[:length])


def test_executables_and_text_are_refused(blob: bytes) -> None:
    with pytest.raises(ObjectError, match="expected a 64-bit ELF or Mach-O"):
        load_object(b"define i64 @f()", ["f"])
    with pytest.raises(TypeError, match="bytes"):
        load_object("text", ["f"])  # type: ignore[arg-type]
    if blob[:4] == b"\x7fELF":
        executable = blob[:16] + struct.pack("<H", 2) + blob[18:]
        with pytest.raises(ObjectError, match="ELF of type 2, expected 1"):
            load_object(executable, ["lookup"])


@pytest.mark.parametrize(
    ("triple", "cpu", "container", "architecture"),
    [
        ("x86_64-unknown-linux-gnu", "x86-64-v3", "elf", "x86_64"),
        ("x86_64-unknown-linux-gnu", "x86-64-v4", "elf", "x86_64"),
        ("x86_64-pc-windows-msvc-elf", "x86-64-v3", "elf", "x86_64"),
        ("aarch64-unknown-linux-gnu", "neoverse-n1", "elf", "aarch64"),
        ("arm64-apple-macosx11.0.0", "apple-m1", "mach-o", "aarch64"),
        ("x86_64-apple-macosx11.0.0", "x86-64-v3", "mach-o", "x86_64"),
    ],
)
def test_cross_targets(triple: str, cpu: str, container: str, architecture: str) -> None:
    blob = emit_object(MODULE, cpu=cpu, features="", triple=triple, keep=NAMES)
    symbols = object_symbols(blob)
    assert (symbols.container, symbols.architecture) == (container, architecture)
    assert symbols.defined == set(NAMES)
    assert symbols.undefined == {"exp", "tanhf", "malloc", "free"}


def test_a_cpu_that_llvm_does_not_know_does_not_end_the_process() -> None:
    code = (
        "from ingot.jit.runtime.loader import emit_object\n"
        "text = 'define i64 @f(i64 %x) {\\n ret i64 %x }'\n"
        "print(len(emit_object(text, cpu='cpu-of-2040', features='', keep=['f'])) > 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "True", result.stderr


def test_modules_are_linked_and_bitcode_is_accepted() -> None:
    caller = "declare i64 @g(i64)\ndefine i64 @f(i64 %x) {\n %y = call i64 @g(i64 %x)\n ret i64 %y }"
    callee = "define i64 @g(i64 %x) {\n %y = add i64 %x, 100\n ret i64 %y }"
    bitcode = loader.llvm().parse_assembly(callee).as_bitcode()
    blob = emit_object([caller, bitcode], cpu="", features="", keep=["f"])
    assert object_symbols(blob).defined == {"f"}
    assert INTEGER(load_object(blob, ["f"])["f"])(11) == 111
    with pytest.raises(ValueError, match="do not link"):
        emit_object([callee, callee], cpu="", features="", keep=["g"])


@pytest.mark.parametrize("opt", [0, 1, 2, 3])
def test_optimisation_levels_give_the_same_results(opt: int) -> None:
    blob = emit_object(MODULE, cpu="", features="", opt=opt, keep=["lookup"])
    assert INTEGER(load_object(blob, ["lookup"])["lookup"])(3) == 41


def test_loops_are_vectorised_for_the_cpu() -> None:
    text = """
    define void @scale(ptr noalias %x, ptr noalias %y, i64 %n) {
    entry:
      br label %loop
    loop:
      %i = phi i64 [ 0, %entry ], [ %j, %loop ]
      %a = getelementptr float, ptr %x, i64 %i
      %v = load float, ptr %a
      %w = fmul float %v, 3.0
      %b = getelementptr float, ptr %y, i64 %i
      store float %w, ptr %b
      %j = add i64 %i, 1
      %more = icmp slt i64 %j, %n
      br i1 %more, label %loop, label %done
    done:
      ret void
    }"""
    triple = "x86_64-unknown-linux-gnu"
    # vmulps on 256-bit registers: a VEX prefix (C5) whose next byte ends in 100 (L = 1, pp = 0), then opcode 59.
    # On 512-bit registers: an EVEX prefix (62 F1). Intel SDM volume 2, sections 2.3 and 2.7.
    narrow = emit_object(text, cpu="x86-64-v2", features="", triple=triple, keep=["scale"])
    assert not re.search(rb"\xc5.\x59", narrow, re.DOTALL)
    wide = emit_object(text, cpu="x86-64-v3", features="", triple=triple, keep=["scale"])
    assert any(match[0][1] & 7 == 4 for match in re.finditer(rb"\xc5.\x59", wide, re.DOTALL))
    widest = emit_object(text, cpu="x86-64-v4", features="-prefer-256-bit", triple=triple, keep=["scale"])
    assert b"\x62\xf1" in widest and b"\x62\xf1" not in wide


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modules": "nonsense"}, "does not parse"),
        ({"modules": b"BC\xc0\xdenonsense"}, "does not parse"),
        ({"modules": []}, "no module"),
        ({"keep": ["absent"]}, "absent, which the module does not define"),
        ({"keep": ["mystery"]}, "mystery, which the module does not define"),
        ({"triple": "pdp11-dec-none"}, "unknown target 'pdp11-dec-none'"),
        ({"opt": 4}, "expected 0, 1, 2 or 3"),
    ],
)
def test_bad_requests(arguments: dict[str, object], message: str) -> None:
    request: dict[str, object] = {"modules": MODULE, "keep": ["lookup"], **arguments}
    modules = request.pop("modules")
    with pytest.raises(ValueError, match=message):
        emit_object(modules, cpu="", features="", **request)  # type: ignore[arg-type]


def test_ir_that_does_not_verify() -> None:
    # The text parses, but a value is used where its definition does not reach.
    text = """define i64 @f(i1 %c) {
      br i1 %c, label %a, label %b
    a:
      %x = add i64 1, 2
      br label %b
    b:
      ret i64 %x
    }"""
    with pytest.raises(ValueError, match=r"does not (verify|parse)"):
        emit_object(text, cpu="", features="", keep=["f"])
