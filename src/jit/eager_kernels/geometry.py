"""The micro-kernel's tile on this CPU, known without asking LLVM."""

from typing import NamedTuple

from ..runtime.targets import host_architecture, host_features

__all__ = ["Tile", "host_tile"]


class Tile(NamedTuple):
    """Lanes of a vector, heights for which there is code, and whether the CPU has a fused multiply-add."""

    lanes: int
    heights: tuple[int, ...]
    fused: bool

    @property
    def columns(self) -> int:
        """A tile is two vectors wide."""
        return 2 * self.lanes

    @property
    def table(self) -> int:
        """Slots of the table of rows, in whole cache lines."""
        return -(-self.heights[-1] // 8) * 8


def host_tile(dtype: str) -> Tile:
    """The tile for float32 ("f32") or float64 ("f64"): the accumulators fill the registers (see `codegen.target`)."""
    features = host_features()
    high, low = (4, 8, 14), (2, 4, 6)
    if features.get("avx512f") and features.get("avx512vl"):
        tile = Tile(16, high, True)
    elif features.get("avx2") and features.get("fma"):
        tile = Tile(8, low, True)
    elif host_architecture() in ("aarch64", "arm64"):
        tile = Tile(4, high, True)
    else:
        tile = Tile(4, low, False)
    return tile if dtype == "f32" else tile._replace(lanes=tile.lanes // 2)
