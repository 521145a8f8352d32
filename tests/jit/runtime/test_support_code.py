"""The runtime's own native code: compiled once, then taken from the kernel cache."""

import ctypes
from pathlib import Path

import pytest
from ingot.jit.runtime import support
from ingot.jit.runtime.cache import default_cache
from ingot.jit.runtime.support import load_support

TEXT = "define i64 @ingot_test_add(i64 %x) {\n %y = add i64 %x, 40\n ret i64 %y }"


def run(address: int) -> int:
    result: int = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(2)
    return result


def test_the_second_time_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "kernels"))
    assert run(load_support(TEXT, ["ingot_test_add"])["ingot_test_add"]) == 42
    assert default_cache().info().entries == 1
    monkeypatch.setattr(support, "emit_object", None)
    assert run(load_support(TEXT, ["ingot_test_add"])["ingot_test_add"]) == 42


def test_other_text_is_other_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "kernels"))
    load_support(TEXT, ["ingot_test_add"])
    changed = TEXT.replace("40", "50")
    assert run(load_support(changed, ["ingot_test_add"])["ingot_test_add"]) == 52
    assert default_cache().info().entries == 2


def test_without_a_usable_cache_it_compiles_every_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kernels").write_text("a file")
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "kernels"))
    with pytest.warns(RuntimeWarning, match="kernel cache"):
        for _ in range(2):
            assert run(load_support(TEXT, ["ingot_test_add"])["ingot_test_add"]) == 42
