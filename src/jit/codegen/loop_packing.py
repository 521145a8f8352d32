"""Matrices that are packed for the micro-kernel while a program runs: before a loop, or before a large product."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...ir.dims import dim_max, dim_min, symbols
from .driver import Driver, Storage
from .gemm import PACK_SLOTS, GemmSpec, pack_b_source, shared_sources
from .kernel_text import named_source
from .microkernel import TILES_PER_ITEM
from .module import KernelSource

if TYPE_CHECKING:
    from .products import Product

__all__ = ["packed_at_run_time", "packed_before_loop"]

# Products with more tiles of rows pack B before they start, if it has at most so many times the size of the L2 cache.
_FEW_TILES, _AT_HAND = 3, 8


def packed_before_loop(
    driver: Driver, product: "Product", spec: GemmSpec, add_shared: Callable[[Driver, dict[str, str]], None]
) -> str | None:
    """The address of B packed before the outermost loop, in which it does not change; None outside of loops."""
    base, columns, depth = product.b.base, product.columns.extent, product.depth
    place = base.block if base.instruction is None else base.instruction.block
    known = (columns, depth, product.b_depth, product.columns.b, product.b.offset)
    if not driver.loops or place is not driver.graph.block or product.batches:
        return None
    if any(not symbols(dim) <= driver.argument_symbols for dim in known) or driver.loops[0].depth != 1:
        return None
    size, width = spec.tile.element_bytes, spec.tile.columns
    key = (base, *known, spec.tile)
    if key in driver.packed:
        storage = driver.packed[key]
        driver.touch(storage)
        return storage.address
    frame, clock = driver.loops[0], driver.clock
    panels = (columns + width - 1) // width
    with driver.before(frame):
        # It lives from before the loop to its end.
        driver.clock = frame.first - 1
        storage = driver.new_buffer(panels * width * depth * size)
        driver.clock = clock
        _run_packing(driver, product, spec, storage, add_shared)
    driver.packed[key] = storage
    driver.touch(storage)
    return storage.address


def packed_at_run_time(
    driver: Driver, product: "Product", spec: GemmSpec, add_shared: Callable[[Driver, dict[str, str]], None]
) -> tuple[str, str] | None:
    """What packs B where a product has so many rows that its panels would be copied again and again.

    Returns the name of a variable of the driver, which is 1 where it does, and the address of the packed form; None
    where sizes are not known before the program runs, or the rows are known to be few.
    """
    rows, columns, depth = product.rows.extent, product.columns.extent, product.depth
    known = (rows, columns, depth, product.b_depth, product.columns.b, product.b.offset)
    if driver.loops or product.batches or any(not symbols(dim) <= driver.argument_symbols for dim in known):
        return None
    # An item of the loop nest that packs as it goes has at most `many` rows. A matrix that stays in a cache meanwhile
    # is better packed at once from some tiles of rows on, unless it is a single panel.
    few, many = _FEW_TILES * spec.tile.rows, TILES_PER_ITEM * spec.tile.rows
    if (isinstance(rows, int) and rows <= few) or (isinstance(columns, int) and columns <= spec.tile.columns):
        return None
    size, width = spec.tile.element_bytes, spec.tile.columns
    needed = dim_min(dim_max(rows - few, 0), 1)
    storage = driver.new_buffer(needed * ((columns + width - 1) // width) * width * depth * size)
    is_packed = driver.fresh("packed")
    at_hand = _AT_HAND * spec.target.l2_bytes // size
    enough = (
        f"({driver.size(rows)} > {few} and {driver.size(columns * depth)} <= {at_hand} or {driver.size(rows)} > {many})"
    )
    driver.line(f"{is_packed} = 1 if {driver.size(columns)} > {spec.tile.columns} and {enough} else 0")
    with driver.block(f"if {is_packed} != 0:"):
        _run_packing(driver, product, spec, storage, add_shared)
    driver.clock += 1
    driver.touch(storage)
    return is_packed, storage.address


def _run_packing(
    driver: Driver,
    product: "Product",
    spec: GemmSpec,
    storage: Storage,
    add_shared: Callable[[Driver, dict[str, str]], None],
) -> None:
    """Lines that pack B into a buffer."""
    base, columns, size = product.b.base, product.columns.extent, spec.tile.element_bytes
    name, source = named_source("k_pack_b", lambda n: pack_b_source(n, spec.tile, spec.target))
    driver.add_kernel(KernelSource(name, source, title="a matrix packed for its products (shared by all)"))
    add_shared(driver, shared_sources((spec.tile,), spec.target))
    address = driver.address(base)
    slots = {
        "b": address if product.b.offset == 0 else f"{address} + {driver.size(product.b.offset * size)}",
        "packed": storage.address,
        "n": driver.size(columns),
        "k": driver.size(product.depth),
        "b_k_stride": driver.size(product.b_depth),
        "b_column_stride": driver.size(product.columns.b),
        "b_batch_stride": "0",
    }
    for slot, text in slots.items():
        driver.set_slot(PACK_SLOTS[slot], "i64", text)
    width = spec.tile.columns
    driver.line(f"launch({name}, p, {driver.size((columns + width - 1) // width)}, 2, pool)")
