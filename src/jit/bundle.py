"""A native program as data: its layout, constants and object file, as ingots and the cache keep it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..ir.records import record
from .layout import Layout
from .runtime.memory import ALIGNMENT, address_of

__all__ = ["KernelInfo", "NativeBundle", "array_key"]


@record
class KernelInfo:
    """What `explain()` says of a kernel: its name, what it computes, bytes moved and operations as size expressions."""

    name: str
    title: str = ""
    bytes_moved: str = ""
    flops: str = ""


@record
class NativeBundle:
    """A native program as data. Constants that are the graph's own arrays are kept with the graph, not here."""

    layout: Layout
    object: bytes
    kernels: tuple[KernelInfo, ...] = ()
    report: tuple[str, ...] = ()

    def to_parts(self, known: Mapping[str, np.ndarray[Any, Any]]) -> tuple[Any, dict[str, np.ndarray[Any, Any]]]:
        """JSON data and the arrays that it names; `known` are arrays, by digest, that the reader has from the graph."""
        own: dict[str, np.ndarray[Any, Any]] = {}
        names: list[str] = []
        for constant in self.layout.constants:
            name = _graph_name(constant, known)
            if name is None:
                name = f"own:{len(own)}"
                own[name] = constant
            names.append(name)
        data = {
            "layout": self.layout.to_json(names),
            "kernels": [[k.name, k.title, k.bytes_moved, k.flops] for k in self.kernels],
            "report": list(self.report),
        }
        return data, own

    @classmethod
    def from_parts(
        cls,
        data: Any,
        own: Mapping[str, np.ndarray[Any, Any]],
        known: Mapping[str, np.ndarray[Any, Any]],
        blob: bytes,
    ) -> "NativeBundle":
        """What `to_parts` took apart; ValueError for anything else."""
        match data:
            case {"layout": layout, "kernels": list(kernels), "report": list(report)}:
                pass
            case _:
                raise ValueError("not a native program")
        if not all(isinstance(k, list) and len(k) == 4 and all(isinstance(x, str) for x in k) for k in kernels):
            raise ValueError("its kernels are not described as expected")
        if not all(isinstance(line, str) for line in report):
            raise ValueError("its report is not text")
        constants = {name: _aligned(array) for name, array in own.items()}
        # Only those that it uses: taking one may verify it.
        used = layout.get("constants") if isinstance(layout, dict) else None
        for name in used if isinstance(used, list) else ():
            if isinstance(name, str) and name.startswith("graph:") and name[6:] in known:
                constants[name] = known[name[6:]]
        return cls(Layout.from_json(layout, constants), blob, tuple(KernelInfo(*k) for k in kernels), tuple(report))


def array_key(digest: str, array: np.ndarray[Any, Any]) -> str:
    """What an array of the graph is known by: digest, dtype and shape."""
    return f"{digest}:{array.dtype.str}:{'x'.join(map(str, array.shape))}"


def _graph_name(constant: np.ndarray[Any, Any], known: Mapping[str, np.ndarray[Any, Any]]) -> str | None:
    for name, array in known.items():
        if array is constant:
            return f"graph:{name}"
    if not known:
        return None
    from ..ir.core import Array  # not at the top: running a program needs none of it

    name = array_key(Array(constant).digest, constant)
    return f"graph:{name}" if name in known else None


def _aligned(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array, copied to a multiple of 64 bytes if it does not start at one."""
    if address_of(array) % ALIGNMENT == 0 or not array.size:
        return array
    memory = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    start = -address_of(memory) % ALIGNMENT
    copy: np.ndarray[Any, Any] = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
