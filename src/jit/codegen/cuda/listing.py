"""A device program as text: its kernels, and the order in which they run."""

from ....ir.core import Block, Instruction
from ....ir.location import printable
from ...device_program import DeviceProgram
from .planning import KernelStep

__all__ = ["explain_lines", "listing"]


def listing(program: DeviceProgram) -> str:
    """The sources of all kernels, and the launches as comments."""
    kernels = program.kernels()
    name = printable(program.graph.name)
    parts = [f"# Kernels of {name} on {program.place}, generated from its graph."]
    parts += [kernel.source.strip("\n") for kernel in kernels]
    lines = [f"# {name} runs", *(f"#   {line}" for line in _steps(program, program.graph.block))]
    return "\n\n\n".join([*parts, "\n".join(lines)]) + "\n"


def _steps(program: DeviceProgram, block: Block) -> list[str]:
    lines: list[str] = []
    for step in program.plan(block).steps:
        if isinstance(step, KernelStep):
            lines += [f"{k.name} over {k.grid.n} {k.grid.kind}" for k in step.kernels]
            continue
        results = ", ".join(f"%{r.name or r.index}" for r in step.results)
        if step.regions or step.op.name != "constant":
            lines.append(
                f"{step.op.name} on the host" if _is_host(step) else f"{step.op.name} by the array module ({results})"
            )
        for region in step.regions:
            lines += [f"  {line}" for line in _steps(program, region)]
    return lines


def _is_host(instruction: Instruction) -> bool:
    from ....ir.types import TensorType

    values = (*instruction.results, *instruction.inputs)
    return bool(instruction.regions) or not any(isinstance(v.type, TensorType) for v in values)


def explain_lines(program: DeviceProgram) -> list[str]:
    """What `explain()` says of a device program."""
    kernels = program.kernels()
    lines = [f"{len(kernels)} kernels on {program.place}"]
    for kernel in kernels:
        flops = kernel.traffic.get("flops")
        moved = kernel.traffic.get("bytes_moved")
        more = (f", {moved} bytes" if moved is not None else "") + (f", {flops} flops" if flops is not None else "")
        lines.append(f"kernel {kernel.name}: {kernel.title or 'no title'}{more}")
    return [*lines, *dict.fromkeys(line for plan in program.plans() for line in plan.report)]
