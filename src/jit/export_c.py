"""Compiled callables as C libraries: object files, a header, a small C source, and the weights."""

import json
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..ir.records import replace
from ..ir.safetensors import write_safetensors
from .archive_native import Interface
from .c_source import CProgram
from .codegen.compile import CpuTarget
from .cross import named_target
from .errors import JitError, Unsupported
from .function import CompiledFunction
from .native import native_bundle
from .runtime.objects import for_static_linking
from .runtime.static_library import unpack_objects

__all__ = ["Exported", "export_c"]


@dataclass(frozen=True)
class Exported:
    """The files that were written, by kind."""

    header: Path
    source: Path
    weights: Path
    objects: tuple[Path, ...]


def export_c(
    function: CompiledFunction, folder: "str | os.PathLike[str]", *, name: str | None = None, target: str | None = None
) -> Exported:
    """Write the graph that ran last as C: compile the source with a C compiler, link it with the objects and -lm.

    `name` prefixes the C names; `target` is a CPU by name (see `cross.target_names`), this one by default. Raises
    Unsupported for what has no native form or no form in C (lists), ValueError for a name that is no C identifier.
    """
    name = name or re.sub(r"\W", "_", function.__name__, flags=re.ASCII).strip("_").lower() or "model"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"export_c: {name!r} is not a C identifier that starts with a letter")
    specialisation = function._any()
    choice = None if target is None else named_target(target)
    cpu = CpuTarget() if choice is None else choice.cpu
    bundle = native_bundle(specialisation, choice)[0]
    interface = Interface.of(specialisation.graph)
    arrays = {f"constant{i}": constant for i, constant in enumerate(bundle.layout.constants)}
    for parameter in interface.parameters:
        arrays[f"parameter:{parameter}"] = np.asarray(function.parameter(parameter)._array, order="C")
    weights = write_safetensors(arrays)
    offsets = _offsets(weights)
    driver = f"{name}_driver"
    program = CProgram(
        name,
        f"{cpu.cpu} ({cpu.triple})",
        replace(bundle.layout, driver=driver) if _is_elf(bundle.object) else bundle.layout,
        interface.parameters,
        interface.outputs,
        interface.writes,
        tuple(offsets[f"constant{i}"] for i in range(len(bundle.layout.constants))),
        tuple(offsets[f"parameter:{parameter}"] for parameter in interface.parameters),
        weights,
    )
    if any(site.message == "{host}" for site in bundle.layout.errors):
        asked = [line for line in bundle.report if "is computed by numpy" in line]
        shown = asked[0] if asked else "it formats numbers or prints, for which it asks Python"
        raise Unsupported(shown)
    header, source = program.header(), program.source()  # before anything is written: they may raise
    objects = [for_static_linking(o, {bundle.layout.driver: driver}) for o in unpack_objects(bundle.object)]
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    exported = Exported(
        place / f"{name}.h",
        place / f"{name}.c",
        place / f"{name}.safetensors",
        tuple(place / f"{name}_{i}.o" for i in range(len(objects))),
    )
    exported.header.write_text(header, encoding="utf-8")
    exported.source.write_text(source, encoding="utf-8")
    exported.weights.write_bytes(weights)
    for path, content in zip(exported.objects, objects, strict=True):
        path.write_bytes(content)
    if not exported.objects:
        raise JitError("export_c: the program has no code")
    return exported


def _is_elf(library: bytes) -> bool:
    return all(member[:4] == b"\x7fELF" for member in unpack_objects(library))


def _offsets(weights: bytes) -> dict[str, int]:
    """Where in the file each array starts."""
    (length,) = struct.unpack_from("<Q", weights)
    header = json.loads(weights[8 : 8 + length])
    return {name: 8 + length + entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}
