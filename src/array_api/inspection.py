"""What the array API standard lets a program ask of a namespace: capabilities, devices and dtypes."""

from typing import Any

from ..eager import device
from ..ir.dtypes import DType
from .data_types import KINDS, bool, complex64, float32, int64


class Information:
    """Capabilities, devices and dtypes of this namespace.

    >>> from ingot import array_api as xp
    >>> xp.__array_namespace_info__().default_dtypes()["integral"]
    ingot.int64
    """

    def capabilities(self) -> dict[str, Any]:
        """What optional behaviour there is."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> device:
        """The device of new tensors."""
        return device("cpu")

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """The dtypes of tensors made without naming one."""
        return {"real floating": float32, "complex floating": complex64, "integral": int64, "indexing": int64}

    def devices(self) -> list[device]:
        """All devices."""
        return [device("cpu")]

    def dtypes(self, *, device: Any = None, kind: str | tuple[str, ...] | None = None) -> dict[str, DType]:
        """The dtypes of one kind, of several, or all of them, by name."""
        every = (bool, *KINDS["numeric"])
        if kind is None:
            chosen = every
        else:
            kinds = (kind,) if isinstance(kind, str) else kind
            for one in kinds:
                if one not in KINDS:
                    raise ValueError(f"kind {one!r}, expected one of {', '.join(KINDS)}")
            chosen = tuple(dtype for dtype in every if any(dtype in KINDS[one] for one in kinds))
        return {dtype.name: dtype for dtype in chosen}


def __array_namespace_info__() -> Information:
    """What this namespace can do."""
    return Information()
