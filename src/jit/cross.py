"""CPUs by name, to compile for: what LLVM is told, and the tiles that fit their registers."""

import sys
from dataclasses import dataclass, replace

from .codegen.compile import CpuTarget
from .codegen.target import AVX2, AVX512, NEON, SSE2, Target
from .runtime.targets import CPU_LEVELS

__all__ = ["CpuChoice", "named_target", "target_names"]


@dataclass(frozen=True)
class CpuChoice:
    """A CPU to compile for: LLVM's view of it, and the code generator's."""

    cpu: CpuTarget
    tiles: Target


_LINUX_ARM = "aarch64-unknown-linux-gnu"
_MAC_ARM = "arm64-apple-macosx11.0.0"
# The features that code for these cores may use and that are checked before it is run (Arm's "Neoverse N1 Core
# Technical Reference Manual", and LLVM's AArch64 processor definitions for the names).
_N1 = "+neon,+crc,+lse,+fullfp16,+dotprod,+rdm"
_V1 = f"{_N1},+sve"
_ARM: dict[str, tuple[str, str, str, int]] = {
    "aarch64": (_LINUX_ARM, "generic", "+neon", 512 << 10),
    "aarch64-neoverse-n1": (_LINUX_ARM, "neoverse-n1", _N1, 1 << 20),
    "aarch64-neoverse-v1": (_LINUX_ARM, "neoverse-v1", _V1, 1 << 20),
    "apple-m1": (_MAC_ARM, "apple-m1", "+neon,+crc,+lse,+fullfp16,+dotprod,+rdm", 4 << 20),
}
_TILES = {"x86-64-v3": AVX2, "x86-64-v4": AVX512}


def target_names() -> list[str]:
    """The names that `named_target` knows."""
    return [*CPU_LEVELS, *_ARM]


def named_target(name: str) -> CpuChoice:
    """The CPU of a name, as `x86-64-v3`; ValueError, with the names that there are, for another.

    >>> named_target("x86-64-v4").tiles.vector_bits
    512
    """
    if name in CPU_LEVELS:
        system = {"win32": "pc-windows-msvc-elf", "darwin": "apple-macosx11.0.0"}.get(sys.platform, "unknown-linux-gnu")
        features = ",".join(f"+{feature}" for feature in CPU_LEVELS[name])
        tiles = replace(_TILES.get(name, SSE2), name=name)
        return CpuChoice(CpuTarget(name, features, f"x86_64-{system}"), tiles)
    if name in _ARM:
        triple, cpu, features, l2 = _ARM[name]
        return CpuChoice(CpuTarget(cpu, features, triple), replace(NEON, name=name, l2_bytes=l2))
    raise ValueError(f"{name!r} is not the name of a CPU to compile for, expected one of {', '.join(target_names())}")
