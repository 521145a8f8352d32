"""The host's CPU and what an object file may ask of it.

LLVM is imported at first use, because it takes 30 ms; what it says of the host is kept in the cache.
"""

import functools
import os
import sys
from types import ModuleType
from typing import NamedTuple

from .cache import cache_key, default_cache

# The x86-64 psABI's micro-architecture levels ("Low Level System Information"), by LLVM's feature names.
_LEVEL_2 = ("cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3")
_LEVEL_3 = (*_LEVEL_2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
_LEVEL_4 = (*_LEVEL_3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
CPU_LEVELS: dict[str, tuple[str, ...]] = {
    "x86-64": (),
    "x86-64-v2": _LEVEL_2,
    "x86-64-v3": _LEVEL_3,
    "x86-64-v4": _LEVEL_4,
}

_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


@functools.cache
def native_llvm() -> ModuleType:
    """`llvmlite.binding`, ready for this machine's code (1 ms, once)."""
    import llvmlite.binding  # type: ignore[import-untyped]

    llvmlite.binding.initialize_native_target()
    llvmlite.binding.initialize_native_asmprinter()
    binding: ModuleType = llvmlite.binding
    return binding


@functools.cache
def llvm() -> ModuleType:
    """`llvmlite.binding`, ready for the code of every target in its wheel (4 ms, once)."""
    binding = native_llvm()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    return binding


class _Host(NamedTuple):
    """What LLVM says of the host, as text."""

    triple: str
    cpu: str
    features: str
    llvm_version: str


@functools.cache
def _host() -> _Host:
    import llvmlite  # not its `binding`, which is what takes long

    description = _processor()
    if not description:
        return _ask_llvm()
    key = cache_key("host", llvmlite.__version__, sys.platform, description)
    known = default_cache().get(key)
    if known is not None and len(lines := known.decode(errors="replace").split("\n")) == len(_Host._fields):
        return _Host._make(lines)
    host = _ask_llvm()
    default_cache().put(key, "\n".join(host).encode())
    return host


def _ask_llvm() -> _Host:
    binding = native_llvm()
    features = feature_string(dict(binding.get_host_cpu_features()))
    version = ".".join(map(str, binding.llvm_version_info))
    return _Host(binding.get_process_triple(), binding.get_host_cpu_name(), features, version)


# What tells processors apart in /proc/cpuinfo, on x86-64 and AArch64.
_FIELDS = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU ", "Features")


def _processor() -> str:
    """The system's description of the first processor, where there is one that costs nothing."""
    try:
        with open("/proc/cpuinfo", "rb") as file:
            text = file.read(1 << 14).decode(errors="replace")
    except OSError:
        return ""
    lines = text.partition("\n\n")[0].splitlines()
    chosen = [line for line in lines if line.startswith(_FIELDS) and not line.startswith("model name")]
    return "\n".join(chosen) if any(line.startswith(("flags", "Features")) for line in chosen) else ""


@functools.cache
def host_architecture() -> str:
    """`x86_64`, `aarch64`, or what the platform calls itself."""
    if sys.platform == "win32":
        import platform

        machine = platform.machine().lower()
    else:
        machine = os.uname().machine.lower()
    return _ARCHITECTURES.get(machine, machine)


@functools.cache
def host_triple() -> str:
    """The target triple of objects that this process can load."""
    triple = _host().triple
    # LLVM's MCJIT loads ELF on Windows, too, and nothing else there.
    if sys.platform == "win32" and not triple.endswith("-elf"):
        triple += "-elf"
    return triple


def host_cpu_name() -> str:
    """LLVM's name for the CPU of this machine, such as `znver4`."""
    return _host().cpu


def llvm_version() -> str:
    """The version of LLVM that compiles here, as `20.1.8`."""
    return _host().llvm_version


@functools.cache
def _host_features() -> dict[str, bool]:
    return {item[1:]: item[0] == "+" for item in _host().features.split(",") if item}


def host_features() -> dict[str, bool]:
    """LLVM's features of the CPU of this machine, such as `{"avx2": True, "avx512f": False, ...}`."""
    return dict(_host_features())


def feature_string(features: dict[str, bool]) -> str:
    """Features as LLVM's comma-separated list, sorted by name.

    >>> feature_string({"fma": True, "avx512f": False})
    '-avx512f,+fma'
    """
    return ",".join(f"{'+' if present else '-'}{name}" for name, present in sorted(features.items()))


def features_subset(required: str, host: dict[str, bool] | None = None) -> list[str]:
    """The features that `required` asks for and `host` (default: this machine) lacks; empty if the code can run.

    `required` lists features as LLVM does (`+avx2,+fma,-avx512f`: a minus asks for nothing) and may name x86-64 levels.

    >>> features_subset("+avx2,+fma,-avx512f", {"avx2": True, "fma": False})
    ['fma']
    """
    present = _host_features() if host is None else host
    missing: dict[str, None] = {}
    for item in (piece.strip() for piece in required.split(",")):
        if not item or item.startswith("-"):
            continue
        if item in CPU_LEVELS:
            names: tuple[str, ...] = ("64bit", *CPU_LEVELS[item])
        elif item.startswith("+") and len(item) > 1:
            names = (item[1:],)
        else:
            expected = f"'+feature', '-feature' or one of {', '.join(CPU_LEVELS)}"
            raise ValueError(f"CPU features {required!r}: {item!r} is not understood, expected {expected}")
        missing.update(dict.fromkeys(name for name in names if not present.get(name, False)))
    return list(missing)
