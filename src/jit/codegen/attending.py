"""Attention in the driver: queries, keys, values and masks as strides, and the result stored as its reader wants it."""

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.dims import Dim
from ...ir.ops._op import View
from ...ir.types import TensorType
from .access import StridedView, forward_view
from .attention import ATTENTION_SLOTS, AttentionSpec
from .contraction import (
    add_shared,
    run_contraction_kernel,
    store_strides,
    view_address,
)
from .driver import Driver
from .fusion import Group
from .indexing import element_count, row_major_strides
from .kernel_text import Text
from .module import KernelSource
from .products import batch_stride, view_strides
from .target import Target

__all__ = ["ATTENTION", "attention_reads", "is_native_attention", "run_attention", "stores_attention"]

ATTENTION = "scaled_dot_product_attention"


def _tensor(value: Value | None) -> TensorType:
    assert value is not None and isinstance(value.type, TensorType)
    return value.type


def is_native_attention(instruction: Instruction) -> bool:
    """Whether an attention op has the kernel; others are decomposed."""
    if instruction.op.name != ATTENTION:
        return False
    query, key, value = (_tensor(v) for v in instruction.operands[:3])
    result = _tensor(instruction.results[0])
    mask = instruction.operands[3]
    known = query.dtype in (dtypes.float32, dtypes.float64) and result.rank <= 4 and min(key.rank, value.rank) >= 2
    return known and (mask is None or _tensor(mask).dtype in (dtypes.bool_, query.dtype))


def attention_reads(instruction: Instruction) -> list[Value] | None:
    """What an attention op reads from memory, through views where strides express them; None for others."""
    if instruction.op.name != ATTENTION:
        return None
    tensors = [v for v in instruction.operands[:4] if v is not None]
    return [forward_view(v, instruction.block).base for v in tensors]


def stores_attention(instruction: Instruction, group: Group) -> bool:
    """Whether a group only rearranges the result, which can then be stored in its place."""
    value = instruction.results[0]
    (output,) = group.outputs
    members = [v for v in (*group.inlined, output) if v is not value]
    if not all(v.instruction is not None and isinstance(v.instruction.op.lower, View) for v in members):
        return False
    store = store_strides(group, value)
    last = _tensor(value).rank - 1
    return store is not None and (last not in store or store[last][1] == 1)


def run_attention(driver: Driver, instruction: Instruction, group: Group | None, target: Target) -> None:
    """Run attention; the group, if there is one, says how the result is stored."""
    result_value = instruction.results[0]
    result = _tensor(result_value)
    query, key, value, mask = instruction.operands[:4]
    spec = AttentionSpec(result.dtype.short, target)
    sources = spec.shared_sources()
    source = sources.pop(spec.name)
    add_shared(driver, sources)
    batches = result.shape[:-2]
    outer: Dim = batches[0] if len(batches) == 2 else 1
    inner: Dim = batches[-1] if batches else 1
    q, k = _tensor(query), _tensor(key)
    work = element_count([*result.shape[:-1], k.shape[-2]]) * (q.shape[-1] + result.shape[-1]) * 2
    where = f" ({instruction.location})" if instruction.location is not None else ""
    driver.add_kernel(KernelSource(spec.name, source, title=f"attention{where}", flops=work))
    output = next(iter(group.outputs)) if group is not None else result_value
    storage = driver.store(output)
    size = result.dtype.itemsize
    sizes: dict[str, Dim] = {
        "batches": outer * inner,
        "inner_batches": inner,
        "queries": result.shape[-2],
        "keys": k.shape[-2],
        "depth": q.shape[-1],
        "columns": result.shape[-1],
        "causal": 1 if instruction.attributes["is_causal"] else 0,
        "mask_kind": 0 if mask is None else 1 if _tensor(mask).dtype is dtypes.bool_ else 2,
    }
    addresses = {"mask": "0", "y": storage.address}
    for name, operand, last in (("q", query, "depth"), ("k", key, "depth"), ("v", value, "column")):
        view, strides = _view(instruction, operand)
        shape = _tensor(operand).shape
        addresses[name] = view_address(driver, view, size)
        share: Dim = 1
        if name != "q":
            heads = shape[-3] if len(shape) > 2 else 1
            if instruction.attributes["enable_gqa"] and heads != inner:
                share = inner // heads
            sizes[f"{name}_share"] = share
        whole = inner if share == 1 else shape[-3]
        sizes |= {
            f"{name}_outer": batch_stride(shape, strides, 3, outer),
            f"{name}_inner": batch_stride(shape, strides, 2, whole),
            f"{name}_row": strides[-2],
            f"{name}_{last}": strides[-1],
        }
    if mask is not None:
        view, strides = _view(instruction, mask)
        shape = _tensor(mask).shape
        addresses["mask"] = view_address(driver, view, _tensor(mask).dtype.itemsize)
        along = (("column", 0, k.shape[-2]), ("row", 1, result.shape[-2]), ("inner", 2, inner), ("outer", 3, outer))
        sizes |= {f"mask_{name}": batch_stride(shape, strides, place, whole) for name, place, whole in along}
    sizes |= _result_strides(group, result_value)
    slots = addresses | {slot: driver.size(dim) for slot, dim in sizes.items()}
    scale = instruction.attributes["scale"]
    driver.set_slot(ATTENTION_SLOTS["scale"], "f64", repr(float(scale)) if scale is not None else "0.0")
    if scale is not None and float(scale) == 0.0:
        # 0 stands for the usual scale; a number that rounds to 0 does the same.
        driver.set_slot(ATTENTION_SLOTS["scale"], "f64", "1e-300")
    run_contraction_kernel(driver, spec.name, spec, ATTENTION_SLOTS, slots, Text(), output)
    driver.clock += 1


def _view(instruction: Instruction, operand: Value | None) -> tuple[StridedView, list[Dim]]:
    assert operand is not None
    view = forward_view(operand, instruction.block)
    return view, view_strides(view, _tensor(operand).shape)


def _result_strides(group: Group | None, value: Value) -> dict[str, Dim]:
    """Where the kernel stores the result's rows."""
    shape = _tensor(value).shape
    strides = row_major_strides(shape)
    if group is not None:
        store = store_strides(group, value)
        assert store is not None
        strides = [store[axis][1] if axis in store else 0 for axis in range(len(shape))]
    padded = [0] * (4 - len(shape)) + strides
    return {"y_outer": padded[0], "y_inner": padded[1], "y_row": padded[2]}
