"""Machine code in an ingot: written signed for the CPUs that were asked for, and chosen when the file is read.

    native/<cpu>.o            the code (a static library)
    native/<cpu>.json         its layout, the CPU features it needs, and how calls use it (`interface`)
    native/<cpu>.safetensors  constants that only the code has
    native/<cpu>.signature    over the parts above, the graph's text and the constants that are no floats

Code runs only where this user signed it, or the caller trusts it; constants of floats are not signed, because no
address is computed from them.
"""

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.records import record
from ..ir.safetensors import write_safetensors
from .archive_format import Member, Members, part
from .archive_parts import field, numbered, read_json, read_safetensors_part
from .bundle import NativeBundle
from .codegen.compile import CpuTarget
from .errors import LoadError
from .runtime.loader import features_subset, host_architecture
from .signing import is_signed_by_us, sign

if TYPE_CHECKING:
    from ..ir.core import Graph

__all__ = ["Interface", "NativePart", "is_ours", "native_labels", "native_members", "runs_here", "usable_part"]

_SUFFIXES = ("o", "json", "safetensors", "signature")
Arrays = Mapping[str, np.ndarray[Any, Any]]


@record
class Interface:
    """What a graph says of its calls besides its types; see `ir.core.Graph` for the fields."""

    parameters: tuple[str, ...]
    writes: tuple[tuple[int, int], ...]
    outputs: int
    examples: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, graph: "Graph") -> "Interface":
        """The interface of a graph."""
        outputs = len(graph.results) if graph.outputs is None else graph.outputs
        return cls(tuple(graph.parameters), tuple(graph.writes), outputs, tuple(graph.examples.items()))

    def to_json(self) -> Any:
        """The interface as JSON data."""
        return {
            "parameters": list(self.parameters),
            "writes": [list(pair) for pair in self.writes],
            "outputs": self.outputs,
            "examples": [list(pair) for pair in self.examples],
        }

    @classmethod
    def from_json(cls, data: Any, n_arguments: int, n_results: int) -> "Interface":
        """What `to_json` gave; ValueError for anything else, or where it does not fit the numbers of slots."""
        match data:
            case {
                "parameters": list(parameters), "writes": list(writes), "outputs": int(outputs),
                "examples": list(examples),
            }:  # fmt: skip
                pass
            case _:
                raise ValueError("the interface is not described")
        pairs: list[tuple[int, int]] = []
        for pair in writes:
            match pair:
                case [int(argument), int(result)] if 0 <= argument < n_arguments and 0 <= result < n_results:
                    pairs.append((argument, result))
                case _:
                    raise ValueError(f"not an argument and a result: {str(pair)[:50]}")
        if not all(isinstance(p, str) for p in parameters) or len(parameters) > n_arguments:
            raise ValueError("the parameters are not names of arguments")
        if not 0 <= outputs <= n_results:
            raise ValueError(f"{outputs} of {n_results} results are returned")
        sizes: list[tuple[str, int]] = []
        for pair in examples:
            match pair:
                case [str(name), int(size)]:
                    sizes.append((name, size))
                case _:
                    raise ValueError(f"not a symbol and its size: {str(pair)[:50]}")
        return cls(tuple(parameters), tuple(pairs), outputs, tuple(sizes))


@record
class NativePart:
    """The parts of one machine code, not yet looked into, but allowed to run here."""

    label: str
    names: dict[str, str]  # by suffix
    data: dict[str, Any]
    own: dict[str, np.ndarray[Any, Any]]
    code: bytes

    def bundle(self, known: Arrays) -> NativeBundle:
        """The program as data; `known` are the graph's constants as `array_key` names them."""
        with part(self.names["json"]):
            return NativeBundle.from_parts(self.data.get("program"), self.own, known, self.code)


def native_members(
    bundle: NativeBundle,
    target: CpuTarget,
    interface: Interface,
    index: int,
    text: bytes,
    known: Arrays,
    weights: Arrays,
) -> list[Member]:
    """The parts that hold one machine code, signed."""
    program, own = bundle.to_parts(known)
    description = json.dumps(
        {
            "program": program,
            "interface": interface.to_json(),
            "cpu": target.cpu,
            "features": target.features,
            "triple": target.triple,
        }
    ).encode()
    constants = write_safetensors(own)
    signature = sign(text, description, constants, bundle.object, *_signed_weights(weights)) or ""
    contents = (bundle.object, description, constants, signature.encode())
    stem = f"native/{target.label}"
    return [Member(numbered(stem, index, s), data) for s, data in zip(_SUFFIXES, contents, strict=True)]


def _signed_weights(weights: Arrays) -> list[bytes]:
    """The constants that may become addresses: everything but floats, and nothing of the parameters."""
    parts: list[bytes] = []
    for name in sorted(weights):
        array = weights[name]
        if array.dtype.kind not in "fc" and not name.startswith("parameter:"):
            parts += [f"{name} {array.dtype.str} {array.shape}".encode(), np.ascontiguousarray(array).tobytes()]
    return parts


def native_labels(members: Members) -> list[str]:
    """The CPUs that a file has machine code for."""
    names = {name.split("/")[1].split(".")[0] for name in members if name.startswith("native/")}
    return sorted(name for name in names if any(m.startswith(f"native/{name}.") and m.endswith(".o") for m in members))


def is_signed(members: Members, label: str, index: int, weights: Arrays) -> bool:
    """Whether this user signed the machine code of a graph, and so its text."""
    known = members.signed.get((label, index))
    if known is None:
        known = members.signed[label, index] = _is_signed(members, label, index, weights)
    return known


def is_ours(members: Members, index: int, weights: Arrays) -> bool:
    """Whether this user wrote a graph: the signature of one of its machine codes says so."""
    return any(
        numbered(f"native/{label}", index, "o") in members and is_signed(members, label, index, weights)
        for label in native_labels(members)
    )


def _is_signed(members: Members, label: str, index: int, weights: Arrays) -> bool:
    stem = f"native/{label}"
    names = [numbered(stem, index, suffix) for suffix in _SUFFIXES]
    if absent := [name for name in names if name not in members]:
        raise LoadError(f"{absent[0]}: the file has no such part")
    code, description, constants, signature = (members.unchecked(name) for name in names)
    with part(names[3]):
        signed = bytes(signature).decode("ascii")
    text = members[numbered("graph", index, "ir")]
    good = is_signed_by_us(signed, text, description, constants, code, *_signed_weights(weights))
    if good:
        members.verified(names)
    else:
        for name in names:  # somebody else's, or damaged: then it is an error
            members[name]
    return good


def usable_part(members: Members, index: int, weights: Arrays, trust: bool) -> NativePart | None:
    """The machine code of a graph for this CPU, if there is any that may run and can; the best fit first."""
    ours = CpuTarget().label
    for label in sorted(native_labels(members), key=lambda name: _rank(name, ours)):
        names = {suffix: numbered(f"native/{label}", index, suffix) for suffix in _SUFFIXES}
        if not label.startswith(host_architecture()) or names["o"] not in members:
            continue
        if not is_signed(members, label, index, weights) and not trust:
            continue
        data = read_json(members, names["json"])
        with part(names["json"]):
            if not runs_here(field(data, "triple", str), field(data, "features", str)):
                continue
        own = read_safetensors_part(members, names["safetensors"])
        return NativePart(label, names, data, own, bytes(members[names["o"]]))
    return None


def runs_here(triple: str, features: str) -> bool:
    """Whether this machine can load objects of a triple, and its CPU has the features."""
    return ("-apple-" in triple) == (sys.platform == "darwin") and not features_subset(features)


def _rank(label: str, ours: str) -> tuple[bool, str]:
    """This very CPU first, then the higher levels of the architecture."""
    return label != ours, "".join(chr(0x10FFFF - ord(c)) for c in label)
