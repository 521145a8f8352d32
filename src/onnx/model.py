"""`onnx.load`: a model as a compiled callable, with a graph per element types and ranks of its inputs."""

import inspect
import keyword
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..eager.tensor import Tensor
from ..ir.builder import Builder
from ..ir.core import Graph
from ..ir.dims import Dim
from ..ir.dtypes import from_numpy
from ..ir.sizes import Sizes
from ..ir.symbolic import SymbolicTensor, building
from ..ir.types import TensorType
from ..jit.function import Call, CompiledFunction, Specialised
from ..jit.tree import LEAF, Structure, constant_structure, flatten
from .errors import OnnxError
from .importer import Importer, Scope, check_graph
from .proto import element_type, read_model, type_name
from .values import Entry, Known, NeedsValue
from .values import Sequence as KnownSequence

__all__ = ["OnnxModel", "load"]


class OnnxModel(CompiledFunction):
    """An ONNX model as a compiled callable: inputs by position, or by name as keywords; one result or a tuple.

    Sizes that the model leaves open stay symbols, so that a new size compiles nothing. An input whose *values* decide
    about shapes (the shape given to a Reshape) is part of what a graph is made for, and named in `static_inputs`.
    """

    def __init__(self, model: Any, name: str, folder: Path | None) -> None:
        initializers = {t.name for t in model.graph.initializer}
        self._inputs = [i for i in model.graph.input if i.name not in initializers]
        self.input_names = tuple(i.name for i in self._inputs)
        self.output_names = tuple(o.name for o in model.graph.output)
        if len(set(self.input_names)) != len(self.input_names):
            raise OnnxError(f"{name}: two inputs have the same name")
        self._model, self._file, self._folder = model, name, folder
        self._static: set[int] = set()
        self._parameters = {n: _identifier(n, i) for i, n in enumerate(self.input_names)}
        signature = inspect.Signature(
            [inspect.Parameter(p, inspect.Parameter.POSITIONAL_OR_KEYWORD) for p in self._parameters.values()]
        )
        super().__init__(_identifier(model.graph.name, 0, "model"), signature)

    @property
    def static_inputs(self) -> tuple[str, ...]:
        """Inputs whose values decide about shapes: other values make another graph."""
        return tuple(self.input_names[i] for i in sorted(self._static))

    # -- calls --------------------------------------------------------------------------------------------------------

    def _bind(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Call:
        keywords = {self._parameters.get(k, k): v for k, v in keywords.items()}
        call = super()._bind(arguments, keywords)
        for declared, value in zip(self._inputs, call.arguments, strict=True):
            self._check(declared, declared.type, value)
        if self._static:
            # Values that decide about shapes are constants of the structure, so that others have a graph of their own.
            call.leaves = []
            children = []
            for index, value in enumerate(call.arguments):
                if index in self._static:
                    parts = [t._array for t in (value if isinstance(value, (list, tuple)) else [value])]
                    children.append(constant_structure(tuple((str(a.dtype), a.shape, a.tobytes()) for a in parts)))
                    continue
                leaves, structure = flatten(value)
                call.leaves += leaves
                children.append(structure)
            call.structure = Structure("tuple", tuple(children))
        return call

    def _check(self, declared: Any, kind: Any, value: Any) -> None:
        """OnnxError where an argument is not what the model declares."""
        label = f"{self._file}: the input {declared.name!r}"
        if kind.HasField("optional_type"):
            if value is not None:
                self._check(declared, kind.optional_type.elem_type, value)
            return
        if kind.HasField("sequence_type"):
            if not isinstance(value, (list, tuple)):
                raise TypeError(f"{label} must be a list of tensors, given {type(value).__name__}")
            for item in value:
                self._check(declared, kind.sequence_type.elem_type, item)
            return
        if not kind.HasField("tensor_type"):
            raise OnnxError(f"{label} is neither a tensor nor a sequence of tensors: that is not supported")
        if not isinstance(value, Tensor):
            raise TypeError(f"{label} must be a tensor, given {type(value).__name__}")
        wanted = element_type(kind.tensor_type.elem_type)
        if value.dtype != wanted:
            raise OnnxError(
                f"{label} must be {type_name(kind.tensor_type.elem_type)} ({wanted.name}), given {value.dtype.name}; "
                "cast it first"
            )
        if kind.tensor_type.HasField("shape"):
            dims, shape = kind.tensor_type.shape.dim, value._array.shape
            if len(dims) != len(shape) or any(
                d.HasField("dim_value") and d.dim_value >= 0 and d.dim_value != n
                for d, n in zip(dims, shape, strict=True)
            ):
                expected = [str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims]
                raise OnnxError(f"{label} must have the shape [{', '.join(expected)}], given {list(shape)}")

    def _call(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        while True:
            try:
                return super()._call(arguments, keywords)
            except _MoreStatic as more:
                self._static |= more.indices

    def graph_for(self, *arguments: Any, **keywords: Any) -> Graph:
        while True:
            try:
                return super().graph_for(*arguments, **keywords)
            except _MoreStatic as more:
                self._static |= more.indices

    # -- graphs -------------------------------------------------------------------------------------------------------

    def specialise(self, call: Call) -> Specialised:
        sizes = Sizes()
        builder = Builder(self.__name__, sizes)
        importer = Importer(self._model, self._file, self._folder, builder)
        scope = Scope()
        parameters: dict[str, Dim] = {}
        positions: list[int] = []

        def entry(index: int, name: str, kind: Any, value: Tensor) -> Entry:
            array = value._array
            if index in self._static:
                return Known.of(array.copy(), name)
            positions.append(index)
            shape = self._shape(kind, array.shape, sizes, parameters)
            return SymbolicTensor(builder, builder.argument(name, TensorType(from_numpy(array.dtype), shape)))

        for index, (declared, value) in enumerate(zip(self._inputs, call.arguments, strict=True)):
            kind = declared.type
            kind = kind.optional_type.elem_type if kind.HasField("optional_type") else kind
            if value is None:
                scope.entries[declared.name] = None
            elif kind.HasField("sequence_type"):
                kind = kind.sequence_type.elem_type.tensor_type
                name = self._parameters[declared.name]
                items = [entry(index, f"{name}_{i}", kind, item) for i, item in enumerate(value)]
                scope.entries[declared.name] = KnownSequence(tuple(items))
            else:
                name = self._parameters[declared.name]
                scope.entries[declared.name] = entry(index, name, kind.tensor_type, value)
        try:
            with building(builder):
                results = importer.graph(self._model.graph, scope)
                values, structure = self._returned(importer, results)
        except NeedsValue as needed:
            found = importer.argument_indices(needed.tensor)
            if not found:
                raise OnnxError(
                    f"{self._file}: {needed.reason}, and it is computed inside a loop or branch",
                    hint="export the model with static shapes there",
                ) from None
            raise _MoreStatic({positions[i] for i in found}) from None
        builder.return_([value.value for value in values])
        return Specialised(builder.finish(), structure)

    def _shape(self, kind: Any, shape: tuple[int, ...], sizes: Sizes, parameters: dict[str, Dim]) -> tuple[Dim, ...]:
        """Sizes that the model states as they are, named ones as one symbol each, and the others as symbols."""
        dims = kind.shape.dim if kind.HasField("shape") else [None] * len(shape)
        result: list[Dim] = []
        for dim, size in zip(dims, shape, strict=True):
            if dim is not None and dim.HasField("dim_value") and dim.dim_value >= 0:
                result.append(size)
            elif dim is not None and dim.dim_param:
                known = parameters.get(dim.dim_param)
                if known is None or sizes.hint(known) != size:
                    known = parameters[dim.dim_param] = sizes.fresh(hint=size)
                result.append(known)
            else:
                result.append(sizes.fresh(hint=size))
        return tuple(result)

    def _returned(self, importer: Importer, results: list[Entry]) -> tuple[list[SymbolicTensor], Structure]:
        values: list[SymbolicTensor] = []
        structures: list[Structure] = []
        for entry in results:
            if isinstance(entry, KnownSequence):
                values += [importer.tensor(item) for item in entry.items]
                structures.append(Structure("list", (LEAF,) * len(entry.items)))
            elif entry is None:
                structures.append(constant_structure(None))
            else:
                values.append(importer.tensor(entry))
                structures.append(LEAF)
        return values, structures[0] if len(structures) == 1 else Structure("tuple", tuple(structures))


class _MoreStatic(Exception):
    """The values of these inputs must be part of what a graph is made for."""

    def __init__(self, indices: set[int]) -> None:
        super().__init__("the values of inputs decide about shapes")
        self.indices = indices


def _identifier(name: str, index: int, default: str = "input") -> str:
    """A Python name for a name of the model."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not plain or plain[0].isdigit():
        plain = f"{default}_{plain}" if plain else f"{default}{index}"
    return f"{plain}_" if keyword.iskeyword(plain) else plain


def load(model: Any) -> OnnxModel:
    """A compiled callable from an ONNX model: a path, the bytes of a file, or an `onnx.ModelProto`.

    Tensors go in and come out, in the order of the model's inputs and outputs. `OnnxError` for what is no model, uses
    operators that are not supported (all are listed at once), or keeps its data outside its folder.

    >>> import onnx, ingot
    >>> from ingot.onnx import load
    >>> text = '<ir_version: 8, opset_import: ["" : 17]> f (float[N] x) => (float[N] y) { y = Relu(x) }'
    >>> load(onnx.parser.parse_model(text))(ingot.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    proto, name, folder = read_model(model)
    check_graph(proto, name)
    return OnnxModel(proto, name, folder)


def to_tensor(value: Any) -> Tensor:
    """A tensor of an array, without a copy where that is possible."""
    from ..eager.tensor import wrap

    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    return wrap(np.ascontiguousarray(array).reshape(array.shape))
