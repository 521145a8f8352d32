"""`If`, `Loop` and `Scan` as the graph's own branches and loops; where sizes or sequences forbid it, unrolled."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir import dtypes
from ...ir.core import Block, Value
from ...ir.dims import Dim
from ...ir.ops._op import F
from ...ir.symbolic import SymbolicTensor, wrap
from ...ir.types import IntType, ListType, TensorType, Type
from ..registry import op
from ..values import Entry, Known, NeedsValue
from ..values import Sequence as KnownSequence

MAX_UNROLLED = 4096
_MAX_TRIALS = 12


def _subgraph(node: Any, name: str, scope: Any, inputs: Sequence[Entry]) -> list[Entry]:
    """The outputs of a nested graph, which sees the values outside."""
    graph = node.attribute(name)
    if len(inputs) > len(graph.input):
        raise node.error(f"{node.op_type}: its graph takes {len(graph.input)} inputs, given {len(inputs)}")
    inner = type(scope)(scope)
    for declared, entry in zip(graph.input, inputs, strict=False):
        inner.entries[declared.name] = entry
    outputs: list[Entry] = node.importer.graph(graph, inner, f"{node.op_type}.")
    return outputs


def _boolean(node: Any, entry: Entry) -> Value:
    """A condition as a Python bool of the graph."""
    if isinstance(entry, Known):
        return node.importer.builder.constant(bool(node.number(entry)))
    tensor = entry if entry.ndim == 0 else F.reshape(entry, ())  # type: ignore[union-attr]
    value: Value = F.item(F.cast(tensor, dtype=dtypes.bool_)).value
    return value


def _decided(entry: Entry) -> bool | None:
    """A condition that is known at import."""
    return bool(entry.array.reshape(-1)[0]) if isinstance(entry, Known) and entry.array.dtype != object else None


class _Snapshot:
    """The state of the builder, to come back to."""

    def __init__(self, node: Any) -> None:
        self.importer = node.importer
        builder = node.importer.builder
        self.block, self.length, self.sizes = builder.block, len(builder.block.instructions), builder.sizes.save()
        self.constants = dict(node.importer._constants)
        self.depth, self.inside = node.importer._depth, list(node.importer._inside)

    def restore(self) -> None:
        builder = self.importer.builder
        builder.block = self.block
        del self.block.instructions[self.length :]
        builder.sizes.load(self.sizes)
        self.importer._constants = dict(self.constants)
        self.importer._depth, self.importer._inside = self.depth, list(self.inside)


@op("If", raw=True)
def if_(node: Any, scope: Any, condition: Entry) -> Any:
    known = _decided(condition)
    if known is not None:
        return tuple(_subgraph(node, "then_branch" if known else "else_branch", scope, ()))
    builder = node.importer.builder
    before = _Snapshot(node)
    value = _boolean(node, condition)
    blocks, arms = [], list[Any]()
    for name in ("then_branch", "else_branch"):
        block = Block()
        with builder.inside(block):
            entries = _subgraph(node, name, scope, ())
            joinable = all(isinstance(e, (Known, SymbolicTensor)) for e in entries)
            arms.append([node.tensor(e) for e in entries] if joinable else None)
        blocks.append(block)
    types = None
    if arms[0] is not None and arms[1] is not None and len(arms[0]) == len(arms[1]):
        types = [_joined(builder, a.type, b.type) for a, b in zip(*arms, strict=True)]
    if types is None or None in types:
        before.restore()
        raise NeedsValue(condition, "If: its branches give values of different ranks, so the condition")  # type: ignore[arg-type]
    for block, arm in zip(blocks, arms, strict=True):
        with builder.inside(block):
            builder.yield_([tensor.value for tensor in arm])
    results = builder.emit_all("if", [value], {}, blocks, tuple(types))
    return tuple(SymbolicTensor(builder, r) for r in results)


def _joined(builder: Any, a: TensorType, b: TensorType) -> TensorType | None:
    """The type of either of two tensors: sizes that differ get their value at run time."""
    if a.dtype != b.dtype or a.rank != b.rank:
        return None
    shape = tuple(x if x == y else builder.sizes.fresh(prefix="d") for x, y in zip(a.shape, b.shape, strict=True))
    return TensorType(a.dtype, shape)


Body = Callable[[Any, list[Any]], tuple[Entry, list[Entry], list[Entry]]]


def run_loop(node: Any, trip: Value | None, first: Value, initial: list[Any], body: Body, count: Dim | None) -> Any:
    """A loop of the graph: carried results, then results of every iteration stacked.

    The body is built under assumptions about the sizes carried, which are given up one by one until they hold.
    """
    builder = node.importer.builder
    open_dims: set[tuple[int, int]] = set()
    before = _Snapshot(node)
    collected: list[TensorType] | None = None
    for _ in range(_MAX_TRIALS):
        before.restore()
        lists = []
        if collected:
            lists = [builder.emit_all("list.make", [], {"element": t}, None, (ListType(t),))[0] for t in collected]
        types: list[Type] = []
        for i, tensor in enumerate(initial):
            shape = tuple(
                builder.sizes.fresh(prefix="d") if (i, d) in open_dims else size for d, size in enumerate(tensor.shape)
            )
            types.append(TensorType(tensor.dtype, shape))
        block = Block((IntType(), *types))
        arguments = [SymbolicTensor(builder, v) for v in block.arguments[1:]]
        with builder.inside(block):
            iteration = F.scalar_tensor(wrap(builder, block.arguments[0]), dtype=dtypes.int64)
            condition, ends, rows = body(iteration, arguments)
            tensors = [node.tensor(e) for e in ends]
            values = [node.tensor(e) for e in rows]
            widened = _differing(node, arguments, tensors)
            if widened <= open_dims and (collected is not None or not values):
                for made, value in zip(lists, values, strict=True):
                    builder.emit_all("list.append", [made, value.value], {})
                again = _boolean(node, condition)
                builder.yield_([again, *(t.value for t in tensors)])
                break
        if widened <= open_dims:
            collected = [_fixed_row(node, v.type, before) for v in values]
        open_dims |= widened
    else:
        raise node.error(f"{node.op_type}: the types of carried values do not settle")
    result_types = []
    for i, tensor in enumerate(initial):
        shape = tuple(
            builder.sizes.fresh(prefix="d") if (i, d) in open_dims else size for d, size in enumerate(tensor.shape)
        )
        result_types.append(TensorType(tensor.dtype, shape))
    entry = [tensor.value for tensor in initial]
    results = builder.emit_all("loop", [trip, first, *entry], {}, [block], tuple(result_types))
    carried = [SymbolicTensor(builder, r) for r in results]
    stacked = []
    for made in lists:
        symbol = str(builder.sizes.fresh(prefix="d"))
        rows_ = SymbolicTensor(builder, builder.emit("list.stack", made, dim=0, symbol=symbol))
        # Where the number of iterations is a size, the result has it.
        stacked.append(rows_ if count is None else F.reshape(rows_, (count, *rows_.shape[1:])))
    return carried, stacked


def _differing(node: Any, arguments: list[Any], ends: list[Any]) -> set[tuple[int, int]]:
    found = set()
    for i, (argument, end) in enumerate(zip(arguments, ends, strict=True)):
        if argument.dtype != end.dtype or argument.ndim != end.ndim:
            raise _Unroll(f"{node.op_type}: carried value {i} is {argument.type} and becomes {end.type}")
        found |= {(i, d) for d, (a, b) in enumerate(zip(argument.shape, end.shape, strict=True)) if a != b}
    return found


def _fixed_row(node: Any, type: TensorType, before: _Snapshot) -> TensorType:
    """The type of what is stacked, whose sizes must have their values before the loop."""
    known = before.sizes[4]
    for dim in type.shape:
        if not isinstance(dim, int) and not dim.symbols() <= known:
            raise _Unroll(f"{node.op_type}: results of the iterations differ in size ({type})")
    return type


class _Unroll(Exception):
    """The loop has no form with types that stay the same."""


def _unrolled(node: Any, trip: Entry, condition: Entry, initial: list[Entry], body: Body, reason: str) -> Any:
    """The loop written out, where the number of iterations is known or can be made so."""
    if trip is None and _decided(condition) is None:
        raise node.error(f"{reason}; such a loop needs a known number of iterations")
    limit = int(node.number(trip, MAX_UNROLLED + 1, "the number of iterations"))
    carried, rows = list(initial), []
    for k in range(min(limit, MAX_UNROLLED + 1)):
        going = True if condition is None else bool(node.number(condition, what="the condition"))
        if not going:
            break
        if k == MAX_UNROLLED:
            raise node.error(f"{reason}; written out it would be more than {MAX_UNROLLED} iterations")
        condition, carried, row = body(Known.of(np.int64(k)), carried)
        rows.append(row)
    return carried, rows


@op("Loop", raw=True)
def loop(node: Any, scope: Any, trip: Entry = None, condition: Entry = None, *initial: Entry) -> Any:
    n = len(initial)

    def body(iteration: Any, carried: list[Any]) -> tuple[Entry, list[Entry], list[Entry]]:
        outputs = _subgraph(node, "body", scope, [iteration, _true(), *carried])
        return outputs[0], outputs[1 : 1 + n], outputs[1 + n :]

    before = _Snapshot(node)
    try:
        if any(isinstance(e, KnownSequence) or e is None for e in initial):
            raise _Unroll(f"{node.op_type}: it carries a sequence")
        builder = node.importer.builder
        count = None
        if trip is not None:
            count = builder.constant(int(node.number(trip))) if _is_number(trip) else _integer(node, trip)
        first = builder.constant(True) if condition is None else _boolean(node, condition)
        carried, stacked = run_loop(node, count, first, [node.tensor(e) for e in initial], body, None)
        return (*carried, *stacked)
    except (_Unroll, NeedsValue) as reason:
        before.restore()
        carried, rows = _unrolled(node, trip, condition, list(initial), body, str(reason))
    width = len(node.attribute("body").output) - 1 - n
    if not rows and width:
        raise node.error("Loop: without iterations the shapes of its stacked results are not known")
    return (*carried, *(F.stack([node.tensor(row[i]) for row in rows], 0) for i in range(width)))


def _true() -> Known:
    return Known.of(np.array(True))


def _is_number(entry: Entry) -> bool:
    return isinstance(entry, Known) and entry.array.dtype != object


def _integer(node: Any, entry: Entry) -> Value:
    if isinstance(entry, Known):
        (dim,) = entry.array.flat
        return node.importer.builder.dim(dim)
    tensor = node.tensor(entry)
    value: Value = F.item(tensor if tensor.ndim == 0 else F.reshape(tensor, ())).value
    return value


@op("Scan", raw=True)
def scan(node: Any, scope: Any, *inputs: Entry) -> Any:
    """Iterates over slices of its last inputs, carrying the first ones."""
    n_scanned = node.attribute("num_scan_inputs")
    if node.version < 9:
        return _batched_scan(node, scope, inputs, n_scanned)
    return _scan(node, scope, list(inputs), n_scanned)


def _scan(node: Any, scope: Any, inputs: list[Entry], n_scanned: int) -> tuple[Any, ...]:
    n = len(inputs) - n_scanned
    state, sources = [node.tensor(e) for e in inputs[:n]], [node.tensor(e) for e in inputs[n:]]
    n_rows = len(node.attribute("body").output) - n
    axes = [
        node.axis(a, t.ndim) for a, t in zip(node.attribute("scan_input_axes", (0,) * n_scanned), sources, strict=True)
    ]
    backwards = node.attribute("scan_input_directions", node.attribute("directions", (0,) * n_scanned))
    sources = [F.flip(t, (a,)) if b else t for t, a, b in zip(sources, axes, backwards, strict=True)]
    length = sources[0].shape[axes[0]]

    def body(iteration: Any, carried: list[Any]) -> tuple[Entry, list[Entry], list[Entry]]:
        index = iteration if isinstance(iteration, Known) else F.item(iteration)
        position = int(index.array) if isinstance(index, Known) else index
        slices = [F.select(t, position, dim=a) for t, a in zip(sources, axes, strict=True)]
        outputs = _subgraph(node, "body", scope, [*carried, *slices])
        return _true(), outputs[:n], outputs[n:]

    builder = node.importer.builder
    before = _Snapshot(node)
    try:
        carried, rows = run_loop(node, builder.dim(length), builder.constant(True), state, body, length)
    except (_Unroll, NeedsValue) as reason:
        before.restore()
        trips = Known.of(np.int64(node.fix(length)))
        carried, parts = _unrolled(node, trips, None, list(state), body, str(reason))
        if not parts and n_rows:
            raise node.error("Scan: over no slices the shapes of its results are not known") from None
        rows = [F.stack([node.tensor(part[i]) for part in parts], 0) for i in range(n_rows)]
    turned = node.attribute("scan_output_directions", (0,) * n_rows)
    targets = node.attribute("scan_output_axes", (0,) * n_rows)
    finished = []
    for tensor, target, turn in zip(rows, targets, turned, strict=True):
        tensor = F.flip(tensor, (0,)) if turn else tensor
        axis = node.axis(target, tensor.ndim)
        order = list(range(1, tensor.ndim))
        order.insert(axis, 0)
        finished.append(F.permute(tensor, tuple(order)) if axis else tensor)
    return (*carried, *finished)


def _batched_scan(node: Any, scope: Any, inputs: tuple[Entry, ...], n_scanned: int) -> tuple[Any, ...]:
    """The first version of the operator: every input has a batch dimension in front, and batches are scanned apart."""
    lengths, *tensors = inputs
    if lengths is not None:
        raise node.error("Scan with sequence_lens is not supported")
    given = [node.tensor(e) for e in tensors]
    results = []
    for b in range(node.fix(given[0].shape[0])):
        results.append(_scan(node, scope, [F.select(t, b, dim=0) for t in given], n_scanned))
    return tuple(F.stack(list(column), 0) for column in zip(*results, strict=True))
