"""Generated modules written by hand, for tests of what comes after code generation."""

import numpy as np
from ingot import ir
from ingot.ir.dims import symbol
from ingot.ir.location import Location
from ingot.jit.codegen.module import ArgumentSpec, Buffer, ErrorSite, GeneratedModule, KernelSource, ResultSpec

KERNEL = """
@body
def add_square_body(x, y, out, lo, hi):
    for i in range(lo, hi):
        out[i] = x[i] + y[i] * y[i]

@kernel
def add_square(p, lo, hi):
    add_square_body(
        pointer_f32(slot_i64(p, 0)), pointer_f32(slot_i64(p, 1)), pointer_f32(slot_i64(p, 2)), lo, hi
    )
"""

DRIVER = """
def drive_add_square(frame):
    plan, p = slot_i64(frame, 0), slot_i64(frame, 6)
    set_slot_i64(p, 0, slot_i64(frame, 8))
    set_slot_i64(p, 1, slot_i64(frame, 9))
    set_slot_i64(p, 2, slot_i64(frame, 10))
    launch(add_square, p, slot_i64(plan, 0), 4096, slot_i64(frame, 2))
    return 0
"""

GRAPH = """
graph @add_square(%x: f32[n], %y: f32[n]) -> (f32[n]) {
  %0: f32[n] = mul(%y, %y)
  %1: f32[n] = add(%x, %0)
  return(%1)
}
"""


def add_square(graph_text: str = GRAPH) -> GeneratedModule:
    """x + y * y: one kernel."""
    graph = ir.parse(graph_text)
    return GeneratedModule(
        name="add_square",
        graph=graph,
        driver="drive_add_square",
        driver_source=DRIVER,
        kernels=[KernelSource("add_square", KERNEL, title="mul, add")],
        arguments=[ArgumentSpec(v.name or "", v.type) for v in graph.arguments],
        results=[ResultSpec(graph.results[0].type, "output")],
        sizes=[symbol("n")],
        buffers=[],
        constants=[],
    )


# Everything a frame can carry: numbers in and out, a workspace buffer, a constant, results of run-time size, a list, an
# argument written in place, and two kinds of error.
KITCHEN_GRAPH = """
graph @kitchen(%x: f32[n], %count: int, %scale: float, %flag: bool) -> (f32[n], int, float, bool) {
  return(%x, %count, %scale, %flag)
}
"""

KITCHEN_DRIVER = """
def drive_kitchen(frame):
    plan, workspace, arena = slot_i64(frame, 0), slot_i64(frame, 1), slot_i64(frame, 3)
    n = slot_i64(plan, 0)
    x = pointer_f32(slot_i64(frame, 8))
    count, scale, flag = slot_i64(frame, 9), slot_f64(frame, 10), slot_i64(frame, 11)
    if count < 0:
        set_slot_i64(frame, 4, count)
        set_slot_i64(frame, 5, n)
        return 1
    if count > 1000:
        return -1
    buffer = pointer_f32(workspace + slot_i64(plan, 1))
    constant = pointer_f32(slot_i64(plan, 2))
    for i in range(n):
        buffer[i] = x[i] * np.float32(scale) + constant[0]
    for i in range(n):
        x[i] = buffer[i]
    # result 0: the argument itself; result 1: a run-time tensor of `count` elements; 2, 3, 4: numbers; 5: a list
    address = arena_allocate(arena, 8 * count)
    wasted = arena_allocate(arena, 100)
    if address == 0 or wasted == 0:
        return -1
    arena_release(arena, wasted)
    values = pointer_i64(address)
    for i in range(count):
        values[i] = i * i
    set_slot_i64(frame, 13, address)
    set_slot_i64(frame, 14, count)
    set_slot_i64(frame, 15, count * 2)
    set_slot_f64(frame, 16, scale / 2)
    set_slot_i64(frame, 17, 1 - flag)
    items = arena_allocate(arena, 24 + 16 * 2)
    set_slot_i64(items, 0, 2)
    set_slot_i64(items, 1, 2)
    set_slot_i64(items, 2, items + 24)
    set_slot_i64(items, 3, address)
    set_slot_i64(items, 4, count)
    set_slot_i64(items, 5, address)
    set_slot_i64(items, 6, min(count, 1))
    set_slot_i64(frame, 18, items)
    return 0
"""


def kitchen() -> GeneratedModule:
    """A driver without kernels that uses every part of the frame."""
    graph = ir.parse(KITCHEN_GRAPH)
    x = graph.arguments[0].type
    integers = ir.TensorType(ir.dtypes.int64, (symbol("m"),))
    return GeneratedModule(
        name="kitchen",
        graph=graph,
        driver="drive_kitchen",
        driver_source=KITCHEN_DRIVER,
        kernels=[],
        arguments=[ArgumentSpec(v.name or "", v.type, written=v is graph.arguments[0]) for v in graph.arguments],
        results=[
            ResultSpec(x, "argument", 0),
            ResultSpec(integers, "runtime"),
            ResultSpec(ir.IntType(), "scalar"),
            ResultSpec(ir.FloatType(), "scalar"),
            ResultSpec(ir.BoolType(), "scalar"),
            ResultSpec(ir.ListType(integers), "list"),
            ResultSpec(ir.TensorType(ir.dtypes.float32, (1,)), "constant", 0),
        ],
        sizes=[symbol("n")],
        buffers=[Buffer(symbol("n") * 4, 0, 1)],
        constants=[np.array([0.5], np.float32)],
        errors=[
            ErrorSite(
                "ValueError",
                "count is {0}, and n is {1}",
                Location("model.py", 12, 4, function="forward", source="    raise ValueError(count)"),
            )
        ],
        uses_arena=True,
    )
