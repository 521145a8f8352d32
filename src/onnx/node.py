"""One node while it is imported: its attributes, and the questions an emitter may ask about its inputs."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..eager.tensor import Tensor
from ..ir.dims import Dim, DimExpr
from ..ir.dtypes import DType, from_numpy
from ..ir.location import Location
from ..ir.ops._op import F
from ..ir.symbolic import SymbolicTensor
from .errors import OnnxError
from .proto import array_of, element_type, onnx
from .values import Entry, Known, NeedsValue

if TYPE_CHECKING:
    from .importer import Importer

__all__ = ["Node"]

_MISSING: Any = object()
_WINDOW = frozenset({"dilations", "kernel_shape", "output_padding", "output_shape", "pads", "strides"})


class Node:
    """A node of the model: what emitters get as their first argument."""

    def __init__(self, importer: "Importer", proto: Any, version: int, location: Location) -> None:
        self.importer = importer
        self.proto = proto
        self.op_type: str = proto.op_type
        self.domain: str = "" if proto.domain == "ai.onnx" else proto.domain
        self.version = version
        self.location = location
        self.n_outputs = len(proto.output)
        self._attributes = {a.name: a for a in proto.attribute}

    # -- attributes ---------------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether the attribute is there."""
        return name in self._attributes

    def attribute(self, name: str, default: Any = _MISSING) -> Any:
        """An attribute as a number, string, tuple, array or GraphProto; OnnxError where a required one is missing."""
        proto = self._attributes.get(name)
        if proto is None:
            if default is _MISSING:
                raise self.error(f"{self.op_type} needs the attribute {name!r}")
            return default
        kinds = onnx.AttributeProto
        match proto.type:
            case kinds.FLOAT:
                return float(proto.f)
            case kinds.INT:
                return int(proto.i)
            case kinds.STRING:
                return proto.s.decode("utf-8", "replace")
            case kinds.TENSOR:
                return array_of(proto.t, self.importer.folder)
            case kinds.GRAPH:
                return proto.g
            case kinds.FLOATS:
                return tuple(float(v) for v in proto.floats)
            case kinds.INTS:
                values = tuple(int(v) for v in proto.ints)
                if name in _WINDOW and any(abs(v) >= 1 << 31 for v in values):
                    raise self.error(f"{self.op_type}: {name} is out of range: {list(values)}")
                return values
            case kinds.STRINGS:
                return tuple(v.decode("utf-8", "replace") for v in proto.strings)
        raise self.error(f"{self.op_type}: the attribute {name!r} has a type that is not supported")

    def attribute_dtype(self, name: str, default: Any) -> Any:
        """An attribute that names an element type, as a numpy dtype."""
        code = self.attribute(name, None)
        return default if code is None else element_type(code).numpy

    def has_output(self, index: int) -> bool:
        """Whether an output is asked for."""
        return index < self.n_outputs and bool(self.proto.output[index])

    # -- inputs -------------------------------------------------------------------------------------------------------

    def tensor(self, entry: Entry) -> Any:
        """The tensor of an entry, None for an absent one."""
        return self.importer.tensor(entry)

    def array(self, entry: Entry, what: str = "an input") -> np.ndarray[Any, Any]:
        """The elements of an entry, which decide about the graph; the import starts again if they are not known."""
        if isinstance(entry, Tensor):
            return np.asarray(entry._array)
        if isinstance(entry, Known):
            if entry.array.dtype != object:
                return entry.array
            numbers = [self.fix(d) for d in entry.array.flat]
            return np.array(numbers, dtype=entry.dtype).reshape(entry.array.shape)
        if isinstance(entry, SymbolicTensor):
            raise NeedsValue(entry, f"{self.op_type}: {what} decides about shapes and must be known")
        raise self.error(f"{self.op_type}: expected a tensor for {what}")

    def ints(self, entry: Entry, what: str = "an input") -> tuple[int, ...]:
        """The elements of an integer tensor, in order, as Python ints."""
        return tuple(int(v) for v in self.array(entry, what).reshape(-1))

    def sizes(self, entry: Entry, what: str = "a shape") -> list[Dim]:
        """The elements of an integer tensor of rank 0 or 1 as sizes, which may be symbolic."""
        if isinstance(entry, Known) and entry.array.dtype == object:
            return [d if isinstance(d, DimExpr) else int(d) for d in entry.array.flat]
        return list(self.ints(entry, what))

    def ints_of(self, name: str, entry: Entry, default: Any = None) -> Any:
        """Integers that an attribute gives in old versions of an operator and an input in new ones."""
        if entry is not None:
            return self.ints(entry, name)
        return self.attribute(name, default)

    def number(self, entry: Entry, default: Any = None, what: str = "an input") -> Any:
        """The only element of an entry as a Python number."""
        if entry is None:
            return default
        values = self.array(entry, what)
        if values.size != 1:
            raise self.error(f"{self.op_type}: {what} must have one element, it has shape {list(values.shape)}")
        return values.reshape(()).item()

    def fix(self, dim: Dim) -> int:
        """A size as a plain int; where it is symbolic, the graph is from here on for its present value only."""
        if isinstance(dim, int):
            return dim
        sizes = self.importer.builder.sizes
        value = sizes.hint(dim)
        if value is None:
            raise self.error(f"{self.op_type}: the size {dim} is known at run time only, and must be known before")
        sizes.equal(dim, value, f"{self.op_type}: the size {dim} must be {value}")
        return value

    def shape(self, tensor: Any) -> tuple[int, ...]:
        """All sizes of a tensor as plain ints (see `fix`)."""
        return tuple(self.fix(d) for d in tensor.shape)

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the front; OnnxError where the tensor has none such."""
        if not -rank <= axis < max(rank, 1):
            raise self.error(f"{self.op_type}: the axis {axis} is not one of a tensor of rank {rank}")
        return axis + rank if axis < 0 else axis

    def constant(self, array: Any, dtype: DType | None = None) -> Any:
        """A constant tensor."""
        array = np.asarray(array) if dtype is None else np.asarray(array, dtype=dtype.numpy)
        return self.importer.tensor(Known.of(array))

    def like(self, value: float | int, tensor: Any) -> Any:
        """A constant of rank 0 with the dtype of a tensor."""
        return F.full((), value, dtype=from_numpy(tensor.dtype.numpy))

    def error(self, message: str) -> OnnxError:
        """An error at this node."""
        return OnnxError(message, self.location)
