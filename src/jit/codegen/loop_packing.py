"""Weights that a loop multiplies by in every iteration: packed for the micro-kernel once, before the loop."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...ir.dims import symbols
from .driver import Driver
from .gemm import PACK_SLOTS, GemmSpec, pack_b_source, shared_sources
from .kernel_text import named_source
from .module import KernelSource

if TYPE_CHECKING:
    from .contraction import Product

__all__ = ["packed_before_loop"]


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
        name, source = named_source("k_pack_b", lambda n: pack_b_source(n, spec.tile, spec.target))
        driver.add_kernel(KernelSource(name, source, title="weights packed before a loop"))
        add_shared(driver, shared_sources((spec.tile,), spec.target))
        address = driver.address(base)
        slots = {
            "b": address if product.b.offset == 0 else f"{address} + {driver.size(product.b.offset * size)}",
            "packed": storage.address,
            "n": driver.size(columns),
            "k": driver.size(depth),
            "b_k_stride": driver.size(product.b_depth),
            "b_column_stride": driver.size(product.columns.b),
            "b_batch_stride": "0",
        }
        for slot, text in slots.items():
            driver.set_slot(PACK_SLOTS[slot], "i64", text)
        driver.line(f"launch({name}, p, {driver.size(panels)}, 64, pool)")
    driver.packed[key] = storage
    driver.touch(storage)
    return storage.address
