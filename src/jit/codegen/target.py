"""The CPU that kernels are generated for: vector width, register count, cache sizes, and the tiles that fit them."""

import ctypes
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm

from ..tuning import chosen_tiles

_ELEMENT_BYTES = {"f32": 4, "f64": 8}
# Limits of tiles: what 32 registers of 64 bytes hold.
MOST_ROWS, WIDEST_ROW, LARGEST_TILE = 28, 128, 2048


@dataclass(frozen=True)
class TileShape:
    """What one micro-kernel computes: `rows` x (`vectors` * `lanes`) elements of type `dtype` ("f32" or "f64").

    `fused` says that the CPU has fused multiply-add. With `per_channel`, element (i, j) takes A from column j of row i
    instead of one A for the whole row: a depthwise convolution. With `inputs` > 1 it takes them from the `inputs`
    columns that column j is in the group of, with a row of B for each: a convolution with groups of so many channels.
    """

    dtype: str
    rows: int
    vectors: int
    lanes: int
    fused: bool = True
    per_channel: bool = False
    inputs: int = 1

    def __post_init__(self) -> None:
        if self.dtype not in _ELEMENT_BYTES:
            raise ValueError(f"TileShape: dtype is {self.dtype!r}, expected one of {sorted(_ELEMENT_BYTES)}")
        for field in ("rows", "vectors", "lanes"):
            if getattr(self, field) < 1:
                raise ValueError(f"TileShape: {field} is {getattr(self, field)}, expected at least 1")
        if self.inputs < 1 or self.lanes % self.inputs or (self.inputs > 1 and not self.per_channel):
            raise ValueError(
                f"TileShape: {self.inputs} inputs with {self.lanes} lanes, expected a divisor, 1 unless per_channel"
            )
        # Kernels keep fixed stack memory for tiles and panels.
        if self.rows > MOST_ROWS or self.row_bytes > WIDEST_ROW or self.rows * self.row_bytes > LARGEST_TILE:
            raise ValueError(
                f"TileShape: {self.rows} rows of {self.row_bytes} bytes, expected at most {MOST_ROWS} rows, "
                f"{WIDEST_ROW} bytes in a row and {LARGEST_TILE} in all: fewer rows, vectors or lanes"
            )

    @property
    def columns(self) -> int:
        """The width of a panel, in elements."""
        return self.vectors * self.lanes

    @property
    def has_narrow(self) -> bool:
        """Whether the micro-kernel can leave out all vectors of a row but the first."""
        return self.vectors == 2 and not self.per_channel

    @property
    def element_bytes(self) -> int:
        """The size of one element in bytes."""
        return _ELEMENT_BYTES[self.dtype]

    @property
    def row_bytes(self) -> int:
        """The bytes of one row of a tile or a panel."""
        return self.columns * self.element_bytes

    @property
    def name(self) -> str:
        """A short identifier, such as `f32_14x2x16`."""
        return f"{self.dtype}_{self.rows}x{self.vectors}x{self.lanes}" + self._suffix

    @property
    def _suffix(self) -> str:
        grouped = f"_groups_of_{self.inputs}" if self.inputs > 1 else "_per_channel" if self.per_channel else ""
        return ("" if self.fused else "_unfused") + grouped


@dataclass(frozen=True)
class Target:
    """A CPU as the code generator sees it; sizes in bytes, `registers` counts vector registers.

    `byte_dots` says that it has `vpdpbusd` for its vectors, which multiplies bytes and adds four products at a time.
    `tile_rows` are the rows of tiles of products where they were measured (`jit.tune`); 0 leaves them to the model.

    >>> Target("example", vector_bits=256, registers=16, fused=True).lanes("f32")
    8
    """

    name: str
    vector_bits: int
    registers: int
    fused: bool
    l1_bytes: int = 32 << 10
    l2_bytes: int = 512 << 10
    l3_bytes: int = 8 << 20
    byte_dots: bool = False
    tile_rows: int = 0

    def __post_init__(self) -> None:
        if self.vector_bits not in (32, 64, 128, 256, 512):
            raise ValueError(f"Target: vector_bits is {self.vector_bits}, expected a power of two from 32 to 512")
        if not 8 <= self.registers <= 32:
            raise ValueError(f"Target: registers is {self.registers}, expected 8 to 32")

    def lanes(self, dtype: str) -> int:
        """How many elements of `dtype` ("f32" or "f64") one vector holds."""
        return max(1, self.vector_bits // 8 // _ELEMENT_BYTES[dtype])


AVX512 = Target("avx512", 512, 32, True)
AVX2 = Target("avx2", 256, 16, True)
SSE2 = Target("sse2", 128, 16, False)
NEON = Target("neon", 128, 32, True)
SCALAR = Target("scalar", 64, 16, False)


def tile_shape(target: Target, dtype: str, columns: int | None = None) -> TileShape:
    """The micro-kernel tile for matrices with `columns` columns, or for any number of columns when None.

    Two registers hold a row of B and one the broadcast element of A; the accumulators get the rest. Few columns take a
    narrower panel with more rows, so that lanes are not wasted on padding.

    >>> tile_shape(AVX512, "f32").name, tile_shape(AVX512, "f32", columns=10).name
    ('f32_14x2x16', 'f32_28x1x16')
    """
    lanes, vectors = target.lanes(dtype), 2
    if columns is not None and columns <= lanes:
        vectors = 1
        while lanes > 4 and columns <= lanes // 2:
            lanes //= 2
    accumulators = target.registers - vectors - 1
    if not target.fused:
        accumulators -= 1  # the product needs a register of its own
    rows = accumulators // vectors
    # A tile that is too high gives clumsy edges and long compile times; an even height splits better.
    rows = min(rows, 28) // 2 * 2
    if target.tile_rows and vectors == 2:
        rows = target.tile_rows
    return TileShape(dtype, rows, vectors, lanes, target.fused)


def _sysfs_caches() -> Iterator[tuple[int, int]]:
    for entry in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if (entry / "type").read_text().strip() == "Instruction":
            continue
        size = (entry / "size").read_text().strip()
        scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(size[-1:], 1)
        yield int((entry / "level").read_text()), int(size.rstrip("KMG")) * scale


def _sysctl_caches() -> Iterator[tuple[int, int]]:
    libc = ctypes.CDLL(None)
    names = ((1, "hw.perflevel0.l1dcachesize"), (1, "hw.l1dcachesize"), (2, "hw.perflevel0.l2cachesize"))
    for level, name in (*names, (2, "hw.l2cachesize"), (3, "hw.l3cachesize")):
        value, size = ctypes.c_int64(), ctypes.c_size_t(8)
        if libc.sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0) == 0 and value.value > 0:
            yield level, value.value


def _cache_sizes() -> dict[int, int]:
    """Data cache sizes by level, as far as the system says them."""
    read = {"Linux": _sysfs_caches, "Darwin": _sysctl_caches}.get(platform.system())
    sizes: dict[int, int] = {}
    if read is not None:
        try:
            for level, size in read():
                sizes.setdefault(level, size)
        except (OSError, ValueError, AttributeError):
            pass  # the defaults are sensible
    return sizes


def host_target() -> Target:
    """The CPU of this process, with the tiles that were measured on it, if they were."""
    choice = chosen_tiles()
    target = detected_target()
    return target if choice is None else replace(target, tile_rows=choice.rows, l2_bytes=choice.l2_bytes)


@cache
def detected_target() -> Target:
    """The CPU of this process, with the tiles that its description suggests."""
    features = llvm.get_host_cpu_features()
    architecture = llvm.get_process_triple().partition("-")[0]
    if features.get("avx512f") and features.get("avx512vl"):
        base = AVX512
    elif features.get("avx2") and features.get("fma"):
        base = AVX2
    elif architecture in ("x86_64", "amd64", "i686"):
        base = SSE2
    elif architecture in ("aarch64", "arm64"):
        base = NEON
    else:
        base = SCALAR
    sizes = _cache_sizes()
    l2 = sizes.get(2, base.l2_bytes)
    return Target(
        llvm.get_host_cpu_name() or base.name,
        base.vector_bits,
        base.registers,
        base.fused,
        sizes.get(1, base.l1_bytes),
        l2,
        sizes.get(3, max(l2, base.l3_bytes)),
        base is AVX512 and bool(features.get("avx512vnni")),
    )
