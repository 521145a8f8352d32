"""`onnx.export`: a graph as an ONNX model, composites as the operators that ONNX has for them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..eager.tensor import Tensor
from ..ir import dtypes
from ..ir.core import Array, Block, Graph, Instruction, Value
from ..ir.dims import Dim, DimExpr, is_term, substitute
from ..ir.dtypes import DType
from ..ir.ops._op import Decompose
from ..ir.passes.dce import dead_code_elimination
from ..ir.passes.decompose import decompose
from ..ir.types import BoolType, FloatType, IntType, TensorType, Type
from ..jit.function import CompiledFunction
from ..jit.trace import trace
from ..jit.tree import Structure
from . import export_control, export_elements, export_layers, export_order, export_shapes  # noqa: F401  # the rules
from .errors import OnnxError
from .export_composites import COMPOSITES, expand_composites
from .export_registry import RULES
from .proto import onnx

__all__ = ["Writer", "export"]

DEFAULT_OPSET = 18
MIN_OPSET = 18  # from here on reductions take their axes as inputs
# A size that differs where it should not makes the operation that needed it fail: there is no node to check it alone.
_CONTROL = frozenset({"constant", "dim", "require_equal", "return", "yield"})


class Writer:
    """Collects nodes and initializers; what a rule gets besides the instruction."""

    def __init__(self, opset: int, fixed: Mapping[str, int]) -> None:
        self.opset = opset
        self.fixed = fixed  # example sizes of the symbols that are not dynamic
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.names: dict[Value, str] = {}
        self.symbols: dict[str, tuple[str, int]] = {}  # where a dynamic symbol is read from: an input and its axis
        self.labels: Mapping[str, str] = {}  # what the dynamic symbols are called in the model
        self._used: set[str] = set()
        self._known: dict[Any, str] = {}

    # -- names and constants ------------------------------------------------------------------------------------------

    def fresh(self, hint: str) -> str:
        """A name that nothing else has."""
        name, count = hint, 0
        while name in self._used:
            count += 1
            name = f"{hint}_{count}"
        self._used.add(name)
        return name

    def initializer(self, array: np.ndarray[Any, Any], hint: str) -> str:
        """A constant tensor; equal small ones are made once."""
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 16 else None
        if key is not None and key in self._known:
            return self._known[key]
        name = self.fresh(hint)
        self.initializers.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        if key is not None:
            self._known[key] = name
        return name

    def ints(self, values: Iterable[int]) -> str:
        """A constant vector of int64."""
        return self.initializer(np.array(list(values), np.int64), "ints")

    def number(self, value: Any, dtype: DType) -> str:
        """A constant of rank 0."""
        return self.initializer(np.array(value, dtype.numpy), "number")

    # -- values -------------------------------------------------------------------------------------------------------

    def type(self, value: Value) -> TensorType:
        """The type of a tensor, with fixed sizes put in."""
        assert isinstance(value.type, TensorType)
        return TensorType(value.type.dtype, tuple(self.dim(d) for d in value.type.shape))

    def dim(self, dim: Dim) -> Dim:
        """A size with fixed symbols put in."""
        return substitute(dim, self.fixed)

    def python(self, value: Value | None) -> Any:
        """The Python number of a constant scalar; a size for an int that is one. OnnxError for other scalars."""
        if value is None:
            return None
        if value.instruction is not None and value.instruction.op.name == "constant":
            return value.instruction.attributes["value"]
        if isinstance(value.type, IntType) and value.type.value is not None:
            return self.dim(value.type.value)
        raise OnnxError(f"a Python number that is computed while the program runs ({value.type}) cannot be exported")

    def tensor(self, value: Value, dtype: DType | None = None) -> str:
        """The name of an operand as a tensor, cast to `dtype` where it has another; scalars become constants."""
        if not isinstance(value.type, TensorType):
            if value in self.names:
                own = scalar_element(value.type)
                return self.names[value] if dtype is None else self.cast(self.names[value], own, dtype)
            number = self.python(value)
            dtype = scalar_element(value.type) if dtype is None else dtype
            if isinstance(number, DimExpr):
                return self.cast(self.squeezed(self.size(number)), None, dtype)
            return self.number(number, dtype)
        name = self.names[value]
        return name if dtype is None else self.cast(name, value.type.dtype, dtype)

    def cast(self, name: str, given: DType | None, wanted: DType) -> str:
        """The tensor of that name with another element type."""
        if given is wanted:
            return name
        return self.node("Cast", [name], to=onnx.helper.np_dtype_to_tensor_dtype(wanted.numpy))

    def node(self, op_type: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> Any:
        """Append a node; the name of its output, or a list of them."""
        names = [self.fresh(op_type.lower()) for _ in range(outputs)]
        self.nodes.append(onnx.helper.make_node(op_type, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def region(self, block: Block, arguments: Sequence[tuple[str, Any]], name: str) -> Any:
        """A nested graph of a block: extra inputs (name and element type) first, then the block's own."""
        outer, known = self.nodes, dict(self._known)
        self.nodes = []
        inputs = [onnx.helper.make_tensor_value_info(n, _code(d), []) for n, d in arguments]
        for argument in block.arguments:
            if argument not in self.names:
                self.define(argument, self.fresh("carried"))
            if self.names[argument] not in {n for n, _ in arguments}:
                inputs.append(self.declared(self.names[argument], argument))
        for instruction in block.body:
            write_instruction(self, instruction)
        outputs = []
        for value in block.terminator.inputs:
            made = self.fresh("yielded")
            self.nodes.append(onnx.helper.make_node("Identity", [self.tensor(value)], [made]))
            outputs.append(self.declared(made, value))
        graph = onnx.helper.make_graph(self.nodes, name, inputs, outputs)
        self.nodes, self._known = outer, known
        return graph

    def define(self, value: Value, name: str) -> None:
        """Give a value its name; sizes that nothing has given yet are read from it."""
        self.names[value] = name
        if isinstance(value.type, TensorType):
            for axis, dim in enumerate(value.type.shape):
                if isinstance(dim, DimExpr) and dim.is_symbol():
                    (symbol,) = dim.symbols()
                    if symbol not in self.fixed:
                        self.symbols.setdefault(symbol, (name, axis))

    def bind(self, dim: Dim, name: str) -> None:
        """Say that a size is what an int of the program is."""
        self._known[dim] = str(self.node("Reshape", [name, self.ints([1])]))

    def declared(self, name: str, value: Value) -> Any:
        """An input or output with its sizes, dynamic ones by name; sizes computed from others are left open."""
        if not isinstance(value.type, TensorType):
            return onnx.helper.make_tensor_value_info(name, _code(scalar_element(value.type)), [])
        type = self.type(value)
        shape: list[Any] = []
        for dim in type.shape:
            label = None if isinstance(dim, int) or not dim.is_symbol() else self.labels.get(min(dim.symbols()))
            shape.append(dim if isinstance(dim, int) else label)
        return onnx.helper.make_tensor_value_info(name, _code(type.dtype), shape)

    # -- sizes --------------------------------------------------------------------------------------------------------

    def size(self, dim: Dim) -> str:
        """A size as an int64 tensor of one element, computed from the shapes of inputs where it is dynamic."""
        dim = self.dim(dim)
        if isinstance(dim, int):
            return self.ints([dim])
        known = self._known.get(dim)
        if known is not None:
            return known
        total = None
        for monomial, coefficient in dim._terms:
            term = None if coefficient == 1 and monomial else self.ints([coefficient])
            for atom in monomial:
                factor = self._function(atom) if atom.arguments else self._symbol(atom.name)
                term = factor if term is None else self.node("Mul", [term, factor])
            assert term is not None
            total = term if total is None else self.node("Add", [total, term])
        assert total is not None
        self._known[dim] = total
        return total

    def _symbol(self, name: str) -> str:
        if name not in self.symbols:
            raise OnnxError(f"the size {name} is known only while the program runs and cannot be exported")
        source, axis = self.symbols[name]
        return str(self.node("Shape", [source], start=axis, end=axis + 1))

    def _function(self, atom: Any) -> str:
        operators = {"floordiv": "Div", "mod": "Mod", "max": "Max", "min": "Min", "bcast": "Max"}
        return str(self.node(operators[atom.name], [self.size(a) for a in atom.arguments]))

    def squeezed(self, name: str) -> str:
        """A tensor of one element and rank 1 as one of rank 0."""
        return str(self.node("Squeeze", [name, self.ints([0])]))

    def shape(self, dims: Sequence[Dim], *, infer: bool = False) -> str:
        """A shape as a vector; with `infer` a single dynamic size is left to Reshape as -1."""
        sizes = [self.dim(d) for d in dims]
        dynamic = [d for d in sizes if not isinstance(d, int)]
        if infer and len(dynamic) == 1 and all(d != 0 for d in sizes if isinstance(d, int)):
            sizes = [d if isinstance(d, int) else -1 for d in sizes]
            dynamic = []
        if not dynamic:
            return self.ints([d for d in sizes if isinstance(d, int)])
        return str(self.node("Concat", [self.size(d) for d in sizes], axis=0))


def export(
    model: Any,
    args: Any = (),
    path: str | os.PathLike[str] | None = None,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[str, Any] | None = None,
    opset: int = DEFAULT_OPSET,
) -> Any:
    """Write a module, function or compiled callable as an ONNX model, and return the `onnx.ModelProto`.

    `args` are example arguments: a tensor or a tuple. Sizes are those of the examples, but for axes that
    `dynamic_axes` names: `{"x": {0: "batch"}}`, or `{"x": [0]}`. `OnnxError` where an operation has no ONNX form (all
    are listed with their places), a size is bound to the example's by a condition of the graph, or opset is below 18.

    >>> import ingot
    >>> from ingot.onnx import export, load
    >>> model = export(lambda x: (x * 2).relu(), ingot.tensor([-1.0, 2.0]), dynamic_axes={"x": {0: "n"}})
    >>> load(model)(ingot.tensor([1.0, -2.0, 3.0]))
    tensor([2., 0., 6.])
    """
    if not MIN_OPSET <= opset <= onnx.defs.onnx_opset_version():
        raise OnnxError(
            f"export: expected an opset from {MIN_OPSET} to {onnx.defs.onnx_opset_version()}, given {opset}"
        )
    args = tuple(args) if isinstance(args, (tuple, list)) else (args,)
    function = model if isinstance(model, CompiledFunction) else _traced(model, args)
    specialisation, parameters = function._select(function._bind(args, {}))
    graph = specialisation.graph
    if graph.writes:
        raise OnnxError("export: the graph writes into its arguments, as training layers do; call .eval() first")
    _check_results(specialisation.results)
    graph = decompose(graph, keep=lambda i: i.op.name in RULES or i.op.name in COMPOSITES)
    graph = decompose(expand_composites(graph), keep=lambda i: i.op.name in RULES)
    graph = dead_code_elimination(graph)
    _check_operations(graph)
    writer = _inputs(graph, function._bind(args, {}).leaves, input_names, dynamic_axes or {}, opset)
    for argument, parameter in zip(graph.arguments[len(graph.arguments) - len(parameters) :], parameters, strict=True):
        writer.names[argument] = writer.initializer(parameter._array, argument.name or "weight")
    for instruction in graph.block.body:
        write_instruction(writer, instruction)
    made = _finish(writer, graph, output_names, len(graph.arguments) - len(parameters))
    if path is not None:
        Path(path).write_bytes(made.SerializeToString())
    return made


def scalar_element(type: Type) -> DType:
    """The element type by which a Python number of the graph is a tensor of rank 0."""
    match type:
        case IntType():
            return dtypes.int64
        case FloatType():
            return dtypes.float64
        case BoolType():
            return dtypes.bool_
    raise OnnxError(f"a {type} has no ONNX form")


def _code(dtype: DType) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(dtype.numpy))


def _traced(model: Any, args: tuple[Any, ...]) -> CompiledFunction:
    if getattr(model, "training", False):
        raise OnnxError("export: the module is in training mode; call .eval() first")
    if not callable(model):
        raise TypeError(f"export: expected a module or a function, given {type(model).__name__}")
    return trace(model, args)


def _check_results(structure: Structure) -> None:
    if structure.kind == "constant":
        raise OnnxError("export: a result is a constant of Python; only tensors can be outputs")
    for child in structure.children:
        _check_results(child)


def _check_operations(graph: Graph) -> None:
    unknown = []
    for instruction in graph.walk_all():
        name = instruction.op.name
        if name not in RULES and name not in _CONTROL and not isinstance(instruction.op.lower, Decompose):
            place = f" at {instruction.location}" if instruction.location is not None else ""
            unknown.append(f"{name}{place}")
    if unknown:
        raise OnnxError(f"export: {len(unknown)} operations have no ONNX form: {'; '.join(unknown)}")


def _inputs(
    graph: Graph, leaves: Sequence[Any], names: Sequence[str] | None, dynamic: Mapping[str, Any], opset: int
) -> Writer:
    arguments = graph.arguments[: len(leaves)]
    given = list(names) if names is not None else [a.name or f"input{i}" for i, a in enumerate(arguments)]
    if len(given) != len(arguments) or len(set(given)) != len(given):
        raise OnnxError(f"export: expected {len(arguments)} different input names, given {given}")
    if missing := sorted(set(dynamic) - set(given)):
        raise OnnxError(f"export: dynamic_axes names {missing[0]!r}, which is no input; the inputs are {given}")
    example: dict[str, int] = {}
    wanted: dict[str, str] = {}
    places: dict[str, tuple[str, int]] = {}
    for argument, name, leaf in zip(arguments, given, leaves, strict=True):
        if not isinstance(leaf, Tensor) or not isinstance(argument.type, TensorType):
            raise OnnxError(f"export: the argument {name!r} is a Python number; pass a tensor")
        axes = dynamic.get(name, {})
        labels = dict(axes) if isinstance(axes, Mapping) else {a: f"{name}_dim_{a}" for a in axes}
        labels = {a % leaf.ndim: label for a, label in labels.items() if -leaf.ndim <= a < leaf.ndim}
        if len(labels) != len(axes):
            raise OnnxError(f"export: dynamic_axes of {name!r} names an axis that a tensor of rank {leaf.ndim} lacks")
        for axis, (dim, size) in enumerate(zip(argument.type.shape, leaf._array.shape, strict=True)):
            if isinstance(dim, DimExpr) and dim.is_symbol():
                (symbol,) = dim.symbols()
                example[symbol] = size
                places.setdefault(symbol, (name, axis))
                if axis in labels:
                    wanted.setdefault(symbol, labels[axis])
            elif axis in labels:
                raise OnnxError(f"export: the graph is only right where axis {axis} of {name!r} is {size}")
    fixed = {symbol: size for symbol, size in example.items() if symbol not in wanted}
    for guard in graph.guards:
        left, right = substitute(guard.left, fixed), substitute(guard.right, fixed)
        used = {s for d in (left, right) if isinstance(d, DimExpr) for s in d.symbols()}
        if left != right and used and not _is_bound(left, right):
            raise OnnxError(f"export: the size {wanted[min(used)]!r} cannot be dynamic: the graph needs {guard}")
    writer = Writer(opset, fixed)
    writer.symbols = {symbol: places[symbol] for symbol in wanted}
    writer.labels = wanted
    for argument, name in zip(arguments, given, strict=True):
        writer.names[argument] = writer.fresh(name)
    return writer


def _is_bound(left: Dim, right: Dim) -> bool:
    """Whether a condition only bounds a size: `min(n, 512) == n` where 512 places are there, `min(n, 1) == 1`.

    The model is right for the sizes within the bound; beyond it, ONNX run-times find shapes that do not fit.
    """
    for bounded, limit in ((left, right), (right, left)):
        if isinstance(bounded, DimExpr) and is_term(bounded):
            (atom,) = bounded.atoms()
            if atom.name in ("min", "max") and limit in atom.arguments:
                return True
    return False


def write_instruction(writer: Writer, instruction: Instruction) -> None:
    """Append the nodes of an instruction."""
    name = instruction.op.name
    if name in ("dim", "require_equal"):
        return
    if name == "constant":
        value = instruction.attributes["value"]
        if isinstance(value, Array):
            writer.names[instruction.result] = writer.initializer(value.require(), value.name or "constant")
        return
    try:
        names = RULES[name](writer, instruction)
    except OnnxError as error:
        raise OnnxError(f"{name}: {error.message}", instruction.location) from None
    for result, made in zip(instruction.results, [names] if isinstance(names, str) else names, strict=True):
        writer.define(result, made)


def _finish(writer: Writer, graph: Graph, names: Sequence[str] | None, n_inputs: int) -> Any:
    results = graph.results
    given = list(names) if names is not None else [f"output{i}" if i else "output" for i in range(len(results))]
    if len(given) != len(results) or len(set(given)) != len(given):
        raise OnnxError(f"export: expected {len(results)} different output names, given {given}")
    outputs = []
    for name, value in zip(given, results, strict=True):
        if not isinstance(value.type, TensorType):
            raise OnnxError(f"export: the output {name!r} is a Python number ({value.type}); return a tensor")
        name = writer.fresh(name)
        writer.nodes.append(onnx.helper.make_node("Identity", [writer.names[value]], [name]))
        outputs.append(writer.declared(name, value))
    inputs = [writer.declared(writer.names[a], a) for a in graph.arguments[:n_inputs]]
    proto = onnx.helper.make_graph(writer.nodes, graph.name, inputs, outputs, writer.initializers)
    opsets = [onnx.helper.make_opsetid("", writer.opset)]
    made = onnx.helper.make_model_gen_version(proto, opset_imports=opsets, producer_name="ingot")
    try:
        onnx.checker.check_model(made)
        onnx.shape_inference.infer_shapes(made, check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise OnnxError(f"export: the model that was made is not valid ({error}); please report it") from error
    return made
