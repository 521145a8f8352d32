"""PTX in an ingot: the kernels of its graphs for the GPU architectures that were asked for.

    ptx/<architecture>.kernels    for each kernel by name, its PTX
    ptx/<architecture>.signature  over that part

A kernel's name ends in a hash of what it computes, so the plan that is made when the file is read finds its code. It
is used where this user signed it, or the caller trusts it; a GPU compiles it to its own instructions when it is loaded.
"""

import json
import re
from collections.abc import Sequence

from .archive_format import Member, Members, part
from .archive_parts import numbered, read_json
from .signing import is_signed_by_us, sign
from .specialisation import Specialisation

__all__ = ["gpu_targets", "ptx_members", "read_ptx"]


def gpu_targets(targets: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names of CPUs and those of GPU architectures among targets.

    >>> gpu_targets(["x86-64-v3", "sm_80"])
    (['x86-64-v3'], ['sm_80'])
    """
    unique = list(dict.fromkeys(targets))
    gpus = [name for name in unique if name.startswith(("sm_", "compute_"))]
    return [name for name in unique if name not in gpus], gpus


def ptx_members(specialisation: Specialisation, index: int, architectures: Sequence[str]) -> list[Member]:
    """The parts that hold a graph's kernels for GPUs; RuntimeError where PTX cannot be compiled here.

    ValueError where it cannot for one of the architectures.
    """
    if not architectures:
        return []
    from .codegen.cuda.programs import architecture_of, device_kernels, kernel_ptx, require_nvvm

    wanted = [(name, architecture_of(name)) for name in architectures]
    require_nvvm()
    kernels = device_kernels(specialisation.optimised)
    members = []
    for name, architecture in wanted:
        made = {}
        for kernel in kernels:
            try:
                made[kernel.name] = kernel_ptx(kernel, architecture)
            except Exception as error:  # of whatever makes PTX
                raise ValueError(f"no code can be made for the target {name!r}: {error}") from error
            target = re.search(r"^\.target (\w+)", made[kernel.name], re.MULTILINE)
            if target is None or target[1] != f"sm_{architecture[0]}{architecture[1]}":
                nearest = f", the nearest is {target[1]!r}, whose code runs on later GPUs, too" if target else ""
                raise ValueError(f"NVVM does not know the target {name!r}{nearest}")
        data = json.dumps(made).encode()
        members.append(Member(numbered(f"ptx/{name}", index, "kernels"), data))
        if (signature := sign(data)) is not None:
            members.append(Member(numbered(f"ptx/{name}", index, "signature"), signature.encode()))
    return members


def read_ptx(members: Members, index: int, trust: bool) -> dict[tuple[str, str], str]:
    """The PTX of a graph's kernels, by kernel and architecture, as far as it may run here."""
    found: dict[tuple[str, str], str] = {}
    labels = {name.split("/")[1].split(".")[0].split("-")[0] for name in members if name.startswith("ptx/")}
    for label in sorted(labels):
        name = numbered(f"ptx/{label}", index, "kernels")
        if name not in members:
            continue
        if not trust:
            signature = numbered(f"ptx/{label}", index, "signature")
            if signature not in members or not is_signed_by_us(_text(members[signature]), members[name]):
                continue
        with part(name):
            data = read_json(members, name)
            if not all(isinstance(k, str) and isinstance(v, str) for k, v in data.items()):
                raise ValueError("kernels are not given as text")
            found |= {(kernel, label): text for kernel, text in data.items()}
    return found


def _text(data: "bytes | memoryview") -> str:
    return bytes(data).decode("ascii", "replace")
