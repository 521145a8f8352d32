"""Walks an ONNX graph and builds Ingot's: known values are folded, the rest is emitted operator by operator."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ..eager.tensor import Tensor
from ..eager.tensor import wrap as wrap_array
from ..ir.builder import Builder
from ..ir.core import Array, Value
from ..ir.dtypes import from_numpy
from ..ir.location import Location
from ..ir.ops._op import F
from ..ir.symbolic import SymbolicTensor, building
from ..ir.types import TensorType
from ..jit.errors import JitError
from .errors import OnnxError
from .node import Node
from .proto import array_of, nested_graphs, onnx
from .registry import Emitter, find_emitter
from .sizes import fold_sizes
from .values import Entry, Known, NeedsValue, has_symbols
from .values import Sequence as KnownSequence

__all__ = ["Importer", "check_graph", "schema_body"]

MAX_DEPTH = 64
# More nodes than any model has, once functions are written out: a few that call each other can stand for 2**60.
MAX_NODES = 500_000
MAX_TENSOR_BYTES = 1 << 36
# Folding makes constants; past this many bytes an operation is left to run time.
MAX_FOLDED_BYTES = 1 << 28
_NEVER_FOLDED = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial",
                           "Bernoulli", "Dropout"})  # fmt: skip


class Scope:
    """Names of values, one dictionary per graph, the enclosing one's behind."""

    def __init__(self, outer: "Scope | None" = None) -> None:
        self.outer = outer
        self.entries: dict[str, Entry] = {}

    def find(self, name: str) -> tuple[bool, Entry]:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.entries:
                return True, scope.entries[name]
            scope = scope.outer
        return False, None


class Importer:
    """Imports one model for one set of argument types; `builder` holds the graph as it grows."""

    def __init__(self, model: Any, name: str, folder: Path | None, builder: Builder) -> None:
        self.model = model
        self.name = name
        self.folder = folder
        self.builder = builder
        self.versions = {("" if o.domain == "ai.onnx" else o.domain): int(o.version) for o in model.opset_import}
        self.functions = {(f.domain, f.name): f for f in model.functions}
        self._constants: dict[int, tuple[Known, SymbolicTensor]] = {}
        self._depth = 0
        self._count = 0
        self._inside: list[tuple[str, str]] = []
        self._eager = 0

    # -- values -------------------------------------------------------------------------------------------------------

    def tensor(self, entry: Any) -> Any:
        """The tensor of an entry: of the graph, or an eager one while operations on known values are folded."""
        if entry is None or isinstance(entry, (SymbolicTensor, Tensor)):
            return entry
        if isinstance(entry, KnownSequence):
            raise OnnxError("expected a tensor, given a sequence")
        if self._eager:
            return wrap_array(np.array(entry.array, dtype=entry.dtype))
        found = self._constants.get(id(entry.array)) if self.builder.block is self.builder.graph.block else None
        if found is not None:
            return found[1]
        if has_symbols(entry):
            dtype = from_numpy(entry.dtype)
            items = [F.scalar_tensor(d, dtype=dtype) for d in entry.array.flat]
            if entry.array.ndim == 0:
                return items[0]
            return F.reshape(F.stack(items), tuple(entry.array.shape))
        array = np.array(entry.array, dtype=entry.dtype, order="C")
        from_numpy(array.dtype)
        made = SymbolicTensor(self.builder, self.builder.constant(Array(array, entry.name)))
        if self.builder.block is self.builder.graph.block:
            self._constants[id(entry.array)] = (entry, made)
        return made

    # -- graphs -------------------------------------------------------------------------------------------------------

    def graph(self, graph: Any, scope: Scope, where: str = "") -> list[Entry]:
        """The outputs of a graph whose inputs are in `scope`."""
        for tensor in graph.initializer:
            if tensor.name not in scope.entries:
                scope.entries[tensor.name] = Known.of(array_of(tensor, self.folder), tensor.name)
        self.nodes(graph.node, scope, self.versions, where)
        return [self._output(scope, o.name) for o in graph.output]

    def _output(self, scope: Scope, name: str) -> Entry:
        found, entry = scope.find(name)
        if not found:
            raise OnnxError(f"{self.name}: the output {name!r} is not computed by any node")
        return entry

    def nodes(self, nodes: Iterable[Any], scope: Scope, versions: Mapping[str, int], where: str = "") -> None:
        """Import nodes in order, adding their results to the scope."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise OnnxError(f"{self.name}: graphs and functions are nested deeper than {MAX_DEPTH}")
        try:
            for index, proto in enumerate(nodes):
                self._node(index, proto, scope, versions, where)
        finally:
            self._depth -= 1

    def _node(self, index: int, proto: Any, scope: Scope, versions: Mapping[str, int], where: str) -> None:
        location = node_location(self.name, index, proto, where)
        self._count += 1
        if self._count > MAX_NODES:
            raise OnnxError(f"the model has more than {MAX_NODES} nodes once its functions are written out", location)
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        node = Node(self, proto, versions.get(domain, 1), location)
        inputs: list[Entry] = []
        for name in proto.input:
            found, entry = scope.find(name) if name else (True, None)
            if not found:
                raise node.error(f"the input {name!r} is not computed before this node: a cycle, or a missing node")
            inputs.append(entry)
        block, start = self.builder.block, len(self.builder.block.instructions)
        with self.builder.at(location):
            try:
                results = self._results(node, inputs, scope)
            except (NeedsValue, JitError):
                raise
            except (RuntimeError, TypeError, ValueError, IndexError, KeyError, OverflowError, ArithmeticError) as error:
                raise node.error(f"{proto.op_type}: {error}") from error
            except MemoryError as error:
                raise node.error(f"{proto.op_type}: {error or 'the result does not fit into memory'}") from None
        for instruction in block.instructions[start:]:
            for result in instruction.results:
                self._check_size(node, result)
        if len(results) < sum(1 for name in proto.output if name):
            raise node.error(f"{proto.op_type} has {len(results)} outputs here, the node asks for {len(proto.output)}")
        for name, entry in zip(proto.output, results, strict=False):
            if not name:
                continue
            if name in scope.entries:
                raise node.error(f"the name {name!r} is given to two values")
            scope.entries[name] = entry

    def _check_size(self, node: Node, value: Value) -> None:
        """OnnxError for a tensor that no machine holds, before anything tries to."""
        if isinstance(value.type, TensorType) and all(isinstance(d, int) for d in value.type.shape):
            size = math.prod(value.type.shape) * value.type.dtype.itemsize  # type: ignore[arg-type]
            if size > MAX_TENSOR_BYTES:
                raise node.error(f"{node.op_type} makes a tensor of {list(value.type.shape)}, {size} bytes: too large")

    def _results(self, node: Node, inputs: list[Entry], scope: Scope) -> list[Entry]:
        function = self.functions.get((node.proto.domain, node.op_type))
        if function is not None:
            return self._inline(node, function, inputs)
        sizes = fold_sizes(node, inputs)
        if sizes is not None:
            return [sizes]
        emitter = find_emitter(node.domain, node.op_type)
        if emitter is None:
            body = schema_body(node, inputs, self)
            if body is None:
                raise node.error(f"there is no operator {node.op_type!r} in the domain {node.domain or 'ai.onnx'!r}")
            return self._inline(node, body, inputs)
        if emitter.raw:
            return _entries(emitter.function(node, scope, *inputs))
        if self._folds(node, inputs):
            return self._fold(emitter, node, inputs)
        return _entries(emitter.function(node, *self._operands(emitter, inputs)))

    def _operands(self, emitter: Emitter, inputs: Sequence[Entry]) -> list[Any]:
        return [e if i in emitter.values else self.tensor(e) for i, e in enumerate(inputs)]

    def _folds(self, node: Node, inputs: Sequence[Entry]) -> bool:
        known = [e for e in inputs if e is not None]
        return (
            node.op_type not in _NEVER_FOLDED
            and all(isinstance(e, Known) and not has_symbols(e) for e in known)
            and sum(e.array.nbytes for e in known if isinstance(e, Known)) <= MAX_FOLDED_BYTES
            and _grown(node, inputs) <= MAX_FOLDED_BYTES // 8
        )

    def _fold(self, emitter: Emitter, node: Node, inputs: Sequence[Entry]) -> list[Entry]:
        with ExitStack() as stack:
            stack.enter_context(building(None))  # type: ignore[arg-type]  # no builder: F runs eagerly
            self._eager += 1
            stack.callback(self._leave_eager)
            results = emitter.function(node, *self._operands(emitter, inputs))
        return [Known.of(e._array) if isinstance(e, Tensor) else e for e in _entries(results)]

    def _leave_eager(self) -> None:
        self._eager -= 1

    def _inline(self, node: Node, function: Any, inputs: Sequence[Entry]) -> list[Entry]:
        """The results of a function of the model, or of the body that ONNX defines an operator by."""
        key = (node.proto.domain, node.op_type)
        if key in self._inside:
            raise node.error(f"the function {node.op_type!r} calls itself")
        self._inside.append(key)
        scope = Scope()
        for name, entry in zip(function.input, [*inputs, *[None] * len(function.input)], strict=False):
            scope.entries[name] = entry
        attributes = {a.name: a for a in function.attribute_proto} | {a.name: a for a in node.proto.attribute}
        nodes = [_with_attributes(n, attributes) for n in function.node]
        versions = {("" if o.domain == "ai.onnx" else o.domain): int(o.version) for o in function.opset_import}
        self.nodes(nodes, scope, versions, f"{node.op_type}.")
        self._inside.pop()
        # Outputs that the node does not ask for need not be there.
        wanted = [bool(name) for name in node.proto.output] + [False] * len(function.output)
        return [
            self._output(scope, name) if asked or scope.find(name)[0] else None
            for name, asked in zip(function.output, wanted, strict=False)
        ]

    def argument_indices(self, tensor: SymbolicTensor) -> set[int] | None:
        """The graph arguments that a tensor is computed from; None where something inside a loop is among them."""
        pending, seen, found = [tensor.value], set[Value](), set[int]()
        while pending:
            value = pending.pop()
            if value in seen:
                continue
            seen.add(value)
            if value.instruction is None:
                if value.block is not self.builder.graph.block:
                    return None
                found.add(value.index)
                continue
            pending += value.instruction.inputs
            for region in value.instruction.regions:
                for instruction in region.walk():
                    pending += [v for v in instruction.inputs if v.instruction is not None or _outside(v, region)]
        return found


def _outside(value: Value, region: Any) -> bool:
    return value.block is not region


def _grown(node: Node, inputs: Sequence[Entry]) -> int:
    """How many elements an operator makes whose result may be far larger than its inputs."""
    arrays = [e.array for e in inputs if isinstance(e, Known)]
    if node.op_type == "ConstantOfShape" or (node.op_type == "Expand" and len(arrays) == 2):
        return math.prod(max(int(n), 1) for n in arrays[-1].reshape(-1))
    if node.op_type == "Tile" and len(arrays) == 2:
        return int(arrays[0].size) * math.prod(max(int(n), 1) for n in arrays[1].reshape(-1))
    return 0


def _entries(results: Any) -> list[Entry]:
    return list(results) if isinstance(results, (tuple, list)) else [results]


def _with_attributes(proto: Any, attributes: Mapping[str, Any]) -> Any:
    """A node of a function with the attributes that it takes over from the call put in, nested graphs included."""
    copy = onnx.NodeProto()
    copy.CopyFrom(proto)
    del copy.attribute[:]
    for attribute in proto.attribute:
        if attribute.ref_attr_name:
            given = attributes.get(attribute.ref_attr_name)
            if given is not None:
                added = copy.attribute.add()
                added.CopyFrom(given)
                added.name = attribute.name
            continue
        added = copy.attribute.add()
        added.CopyFrom(attribute)
        if attribute.HasField("g"):
            replaced = [_with_attributes(n, attributes) for n in attribute.g.node]
            del added.g.node[:]
            added.g.node.extend(replaced)
    return copy


def node_location(name: str, index: int, proto: Any, where: str = "") -> Location:
    """The place of a node: its number in its graph as the line, and what it computes as the text of that line."""
    outputs, inputs = ", ".join(filter(None, proto.output)), ", ".join(proto.input)
    label = f"  # {proto.name}" if proto.name else ""
    text = f"{outputs} = {where}{proto.op_type}({inputs})"
    return Location(name, index + 1, 0, len(text), function=proto.op_type, source=text + label)


def schema_body(node: Node, inputs: Sequence[Entry], importer: Importer) -> Any:
    """The function by which ONNX defines an operator in others, or None."""
    schema = _schema(node.op_type, node.domain, node.version)
    if schema is None:
        return None
    version = node.version
    if schema.has_context_dependent_function:
        types = []
        for entry in inputs:
            types.append(_type_proto(entry, importer).SerializeToString())
        versions = [v for v in schema.context_dependent_function_opset_versions if v <= version]
        data = (
            schema.get_context_dependent_function_with_opset_version(
                max(versions), node.proto.SerializeToString(), types
            )
            if versions
            else b""
        )
        if not data:
            return None
        function = onnx.FunctionProto()
        function.ParseFromString(data)
    elif schema.has_function:
        versions = [v for v in schema.function_opset_versions if v <= version]
        if not versions:
            return None
        function = schema.get_function_with_opset_version(max(versions))
        if isinstance(function, bytes):
            data, function = function, onnx.FunctionProto()
            function.ParseFromString(data)
    else:
        return None
    declared = {a for a in schema.attributes}
    present = {a.name for a in function.attribute_proto}
    for name in declared - present:  # defaults that the body refers to
        default = schema.attributes[name].default_value
        if default.type:
            added = function.attribute_proto.add()
            added.CopyFrom(default)
            added.name = name
    return function


def _type_proto(entry: Entry, importer: Importer) -> Any:
    """The ONNX type of an entry; sizes that are not known are left open."""
    if entry is None:
        return onnx.TypeProto()
    if isinstance(entry, KnownSequence):
        element = _type_proto(entry.items[0], importer) if entry.items else onnx.TypeProto()
        return onnx.helper.make_sequence_type_proto(element)
    tensor = importer.tensor(entry)
    shape = [d if isinstance(d, int) else f"n{i}" for i, d in enumerate(tensor.shape)]
    return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(tensor.dtype.numpy), shape)


def _schema(op_type: str, domain: str, version: int) -> Any:
    try:
        return onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None


def check_graph(model: Any, name: str) -> None:
    """OnnxError that lists every node whose operator there is nothing for, functions and nested graphs included."""
    functions = {(f.domain, f.name) for f in model.functions}
    versions = {("" if o.domain == "ai.onnx" else o.domain): int(o.version) for o in model.opset_import}
    unknown: list[str] = []

    def visit(nodes: Iterable[Any], versions: Mapping[str, int], depth: int) -> None:
        if depth > MAX_DEPTH:
            raise OnnxError(f"{name}: graphs are nested deeper than {MAX_DEPTH}")
        for index, proto in enumerate(nodes):
            attributes = [a.name for a in proto.attribute]
            _require_text(name, proto.name, proto.op_type, proto.domain, *proto.input, *proto.output, *attributes)
            domain = "" if proto.domain == "ai.onnx" else proto.domain
            if (proto.domain, proto.op_type) not in functions and not _is_supported(domain, proto.op_type, versions):
                label = proto.name or ", ".join(filter(None, proto.output)) or f"number {index + 1}"
                operator = f"{domain}.{proto.op_type}" if domain else proto.op_type
                unknown.append(f"{operator} (node {label!r})")
            for graph in nested_graphs(proto):
                _require_graph_text(name, graph)
                visit(graph.node, versions, depth + 1)

    _require_graph_text(name, model.graph)
    visit(model.graph.node, versions, 0)
    for function in model.functions:
        _require_text(name, function.name, function.domain, *function.input, *function.output, *function.attribute)
        own = {("" if o.domain == "ai.onnx" else o.domain): int(o.version) for o in function.opset_import}
        visit(function.node, own, 0)
    if unknown:
        count = len(unknown)
        raise OnnxError(f"{name}: {count} node{'s' * (count > 1)} with unsupported operators: {', '.join(unknown)}")


def _require_graph_text(name: str, graph: Any) -> None:
    named = (*graph.input, *graph.output, *graph.initializer)
    _require_text(name, graph.name, *(v.name for v in named))
    for value in graph.input:
        _require_text(name, *(d.dim_param for d in value.type.tensor_type.shape.dim))


def _require_text(name: str, *texts: Any) -> None:
    """OnnxError where a name is not UTF-8, which the protobuf package then gives as bytes."""
    for text in texts:
        if not isinstance(text, str):
            raise OnnxError(f"{name}: the model is damaged: the name {text!r} is not UTF-8")


def _is_supported(domain: str, op_type: str, versions: Mapping[str, int]) -> bool:
    if find_emitter(domain, op_type) is not None:
        return True
    schema = _schema(op_type, domain, versions.get(domain, 1))
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)
