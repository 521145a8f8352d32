"""The description of the CPU and the tiles chosen for it."""

import pytest
from ingot.jit.codegen.gemm import k_block
from ingot.jit.codegen.microkernel import longest_row
from ingot.jit.codegen.microkernel_llvm import row_counts
from ingot.jit.codegen.target import AVX2, AVX512, NEON, SCALAR, SSE2, Target, TileShape, host_target, tile_shape

TARGETS = (AVX512, AVX2, SSE2, NEON, SCALAR)


def test_host_has_sensible_sizes() -> None:
    target = host_target()
    assert 4 << 10 <= target.l1_bytes <= target.l2_bytes <= target.l3_bytes
    assert target.lanes("f32") == 2 * target.lanes("f64") or target.lanes("f64") == 1


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("columns", [None, 1, 2, 5, 8, 16, 17, 1000])
def test_tile_fits_the_registers(target: Target, dtype: str, columns: int | None) -> None:
    tile = tile_shape(target, dtype, columns)
    assert tile.rows * tile.vectors + tile.vectors + 1 <= target.registers
    assert tile.rows >= 4 and tile.lanes <= target.lanes(dtype)
    assert tile.columns <= 2 * target.lanes(dtype)
    if columns is not None and columns <= target.lanes(dtype):
        assert columns <= tile.columns < max(2 * columns, 5)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_a_block_of_k_fits_the_row_buffer_and_the_cache(target: Target, dtype: str) -> None:
    tile = tile_shape(target, dtype)
    assert 0 < k_block(tile, target) <= longest_row(tile)
    assert longest_row(tile) * tile.rows * tile.element_bytes <= 64 << 10


@pytest.mark.parametrize("rows", range(1, 33))
def test_heights_cover_every_row_count(rows: int) -> None:
    heights = row_counts(rows)
    assert heights[0] == 1 and heights[-1] == rows and len(set(heights)) == len(heights)
    for count in range(1, rows + 1):
        assert min(h for h in heights if h >= count) < 2 * count or count == 1


def test_names_tell_tiles_apart() -> None:
    shapes = [
        TileShape(dtype, rows, vectors, 4, fused, per_channel)
        for dtype in ("f32", "f64")
        for rows in (4, 6)
        for vectors in (1, 2)
        for fused in (True, False)
        for per_channel in (True, False)
    ]
    assert len({shape.name for shape in shapes}) == len(shapes)
    assert all(shape.name.isidentifier() for shape in shapes)


@pytest.mark.parametrize(
    "arguments", [("f16", 1, 1, 1), ("f32", 0, 1, 1), ("f32", 1, 0, 1), ("f32", 1, 1, 0), ("f32", 14, 4, 16)]
)
def test_bad_shapes_are_refused(arguments: tuple[str, int, int, int]) -> None:
    with pytest.raises(ValueError, match="TileShape"):
        TileShape(*arguments)
