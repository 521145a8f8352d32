"""Element types, and the rules by which they are promoted (those of PyTorch's public documentation)."""

from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = [
    "DTYPES", "FLOATING_KINDS", "DType", "as_dtype", "default_dtype", "from_numpy", "limits", "promote", "result_dtype",
    "set_default_dtype",
]  # fmt: skip

# The `kind` of numpy dtypes whose tensors can require gradients. ml_dtypes gives bfloat16 the kind "V".
FLOATING_KINDS = "fcV"


class DType:
    """An element type: `name` as users write it, `short` as the IR prints it, and its numpy dtype.

    `kind` is one of "b" (bool), "i", "u", "f", "c".
    """

    __slots__ = ("itemsize", "kind", "name", "numpy", "short")

    def __init__(self, name: str, short: str, numpy_dtype: Any) -> None:
        self.name = name
        self.short = short
        self.numpy: np.dtype[Any] = np.dtype(numpy_dtype)
        self.kind = short[0]
        self.itemsize = self.numpy.itemsize

    @property
    def is_floating_point(self) -> bool:
        """Whether this is a real floating-point type."""
        return self.kind == "f"

    @property
    def is_complex(self) -> bool:
        """Whether this is a complex type."""
        return self.kind == "c"

    @property
    def is_signed(self) -> bool:
        """Whether this type holds negative numbers."""
        return self.kind in "ifc"

    @property
    def category(self) -> int:
        """0 for bool, 1 for integers, 2 for floats, 3 for complex: promotion never lowers it."""
        return {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}[self.kind]

    def __repr__(self) -> str:
        return f"ingot.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.name,)


class _BFloat16(DType):
    """bfloat16: its numpy dtype comes from ml_dtypes, which is imported when the first such array is made."""

    __slots__ = ("_numpy",)

    def __init__(self) -> None:
        self.name, self.short, self.kind, self.itemsize = "bfloat16", "bf16", "f", 2
        self._numpy: np.dtype[Any] | None = None

    @property
    def numpy(self) -> np.dtype[Any]:  # type: ignore[override]
        """The numpy dtype of ml_dtypes; ImportError, with what to install, where that is missing."""
        if self._numpy is None:
            try:
                import ml_dtypes
            except ImportError as error:
                raise ImportError("bfloat16 needs the package ml_dtypes: pip install ml_dtypes") from error
            self._numpy = np.dtype(ml_dtypes.bfloat16)
            _BY_NUMPY[self._numpy] = self
        return self._numpy


bool_ = DType("bool", "bool", np.bool_)
uint8 = DType("uint8", "u8", np.uint8)
uint16 = DType("uint16", "u16", np.uint16)
uint32 = DType("uint32", "u32", np.uint32)
uint64 = DType("uint64", "u64", np.uint64)
int8 = DType("int8", "i8", np.int8)
int16 = DType("int16", "i16", np.int16)
int32 = DType("int32", "i32", np.int32)
int64 = DType("int64", "i64", np.int64)
float16 = DType("float16", "f16", np.float16)
bfloat16 = _BFloat16()
float32 = DType("float32", "f32", np.float32)
float64 = DType("float64", "f64", np.float64)
complex64 = DType("complex64", "c64", np.complex64)
complex128 = DType("complex128", "c128", np.complex128)

DTYPES: dict[str, DType] = {
    d.short: d
    for d in (
        bool_, uint8, uint16, uint32, uint64, int8, int16, int32, int64, float16, bfloat16, float32, float64, complex64,
        complex128,
    )
}  # fmt: skip
_ALIASES = {
    "half": float16, "float": float32, "double": float64, "short": int16, "int": int32, "long": int64,
    "cfloat": complex64, "cdouble": complex128,
}  # fmt: skip
_BY_NAME: dict[str, DType] = {d.name: d for d in DTYPES.values()} | DTYPES | _ALIASES
_BY_NUMPY: dict[np.dtype[Any], DType] = {d.numpy: d for d in DTYPES.values() if d is not bfloat16}
_BY_PYTHON: dict[type, DType] = {bool: bool_, int: int64}
_default = float32


def default_dtype() -> DType:
    """The element type of new floating-point tensors."""
    return _default


def set_default_dtype(dtype: DType) -> None:
    """Set the element type of new floating-point tensors (float16, bfloat16, float32 or float64)."""
    global _default
    if not isinstance(dtype, DType) or not dtype.is_floating_point:
        raise TypeError(f"set_default_dtype: expected a floating-point dtype, given {dtype!r}")
    _default = dtype


def from_numpy(dtype: Any) -> DType:
    """The dtype of a numpy dtype; TypeError where Ingot has no such type."""
    found = _BY_NUMPY.get(dtype)
    if found is None:
        native = np.dtype(dtype)
        if native.name == "bfloat16" and native == bfloat16.numpy:
            return bfloat16
        found = _BY_NUMPY.get(native.newbyteorder("="))
    if found is None:
        names = ", ".join(d.name for d in DTYPES.values())
        raise TypeError(f"arrays of {np.dtype(dtype)} are not supported: expected one of {names}")
    return found


def as_dtype(value: Any) -> DType:
    """A dtype from a DType, its name, a Python type, or a numpy dtype.

    >>> as_dtype("f32"), as_dtype(bool), as_dtype(np.int16)
    (ingot.float32, ingot.bool, ingot.int16)
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, str) and value in _BY_NAME:
        return _BY_NAME[value]
    if value is float:
        return _default
    if value is complex:
        return complex128 if _default is float64 else complex64
    if isinstance(value, type) and value in _BY_PYTHON:
        return _BY_PYTHON[value]
    try:
        return from_numpy(np.dtype(value))
    except TypeError:
        raise TypeError(f"expected a dtype such as ingot.float32, given {value!r}") from None


def dtype_named(name: str) -> DType:
    """The dtype of exactly this name, for names that come from files: numpy reads a whole language of them.

    >>> dtype_named("float32")
    ingot.float32
    """
    if name not in _BY_NAME:
        raise ValueError(f"{name[:50]!r} is not the name of a dtype")
    return _BY_NAME[name]


def _promote(a: DType, b: DType) -> DType:
    if a is b:
        return a
    if a.category != b.category:
        low, high = sorted((a, b), key=lambda d: d.category)
        # An integer or bool never widens a float; a float64 does widen a complex64.
        if high.is_complex and low.kind == "f" and low.itemsize > high.itemsize // 2:
            return complex128
        return high
    if a.kind != b.kind:
        # The signed type that holds both; none holds a uint64, which gives way.
        unsigned, signed = (a, b) if a.kind == "u" else (b, a)
        wider = {1: int16, 2: int32, 4: int64, 8: int64}[unsigned.itemsize]
        return signed if signed.itemsize > unsigned.itemsize else wider
    if a.kind == "f" and a.itemsize == b.itemsize:
        return float32  # float16 and bfloat16: neither holds the other
    return a if a.itemsize > b.itemsize else b


_PROMOTIONS = {(a, b): _promote(a, b) for a in DTYPES.values() for b in DTYPES.values()}


def promote(a: DType, b: DType) -> DType:
    """The smallest dtype that both promote to.

    >>> promote(uint8, int8), promote(int64, float16)
    (ingot.int16, ingot.float16)
    """
    return _PROMOTIONS[a, b]


def limits(dtype: DType) -> Any:
    """The `finfo` of a floating-point or complex dtype.

    >>> float(limits(float16).max)
    65504.0
    """
    if dtype is bfloat16:
        import ml_dtypes

        return ml_dtypes.finfo(dtype.numpy)  # type: ignore[no-untyped-call]
    return np.finfo(dtype.numpy)


def scalar_dtype(value: bool | int | float | complex) -> DType:
    """The dtype that a Python scalar stands for in promotion."""
    if isinstance(value, bool):
        return bool_
    if isinstance(value, int):
        return int64
    if isinstance(value, complex):
        return complex128 if _default is float64 else complex64
    return _default


def result_dtype(dimensioned: Iterable[DType], zero_dim: Iterable[DType] = (), scalars: Iterable[DType] = ()) -> DType:
    """The dtype of an operation: tensors of rank >= 1 first, then rank 0, then Python scalars.

    A lower group takes part only where its category (bool < int < float < complex) is higher.
    """
    result: DType | None = None
    for group in (dimensioned, zero_dim, scalars):
        combined: DType | None = None
        for dtype in group:
            combined = dtype if combined is None else promote(combined, dtype)
        if combined is None:
            continue
        if result is None:
            result = combined
        elif combined.category > result.category:
            result = promote(result, combined) if result.category == 2 and combined.is_complex else combined
    if result is None:
        raise TypeError("no operand to take a dtype from")
    return result
