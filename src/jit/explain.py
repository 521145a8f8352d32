"""`explain()`: what became of a compiled callable's graphs, as text."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .function import CompiledFunction
    from .specialisation import Specialisation

__all__ = ["explain"]


def explain(function: "CompiledFunction") -> str:
    """A report on every specialisation: executor, kernels, fusion decisions, compile times, fallbacks."""
    specialisations = function.specialisations
    if not specialisations:
        return f"{function.__name__}: not called yet, so there is nothing compiled"
    parts = [_explain(specialisation) for specialisation in specialisations]
    return "\n\n".join(parts)


def _explain(specialisation: "Specialisation") -> str:
    graph = specialisation.graph
    arguments = ", ".join(f"{v.name or v.index}: {v.type}" for v in graph.arguments)
    lines = [f"{specialisation.name}({arguments})"]
    if graph.guards:
        lines.append(f"  where {', '.join(str(guard) for guard in graph.guards)}")
    if specialisation.fallback is not None:
        place = f" at {specialisation.fallback.location}" if specialisation.fallback.location else ""
        lines.append(f"  runs in the interpreter: {specialisation.fallback.reason}{place}")
    elif not specialisation.is_compiled:
        lines.append("  not compiled yet")
    else:
        lines += _native_lines(specialisation)
    for derivative in specialisation.derivatives.values():
        if derivative:
            for part in (derivative.forward, derivative.backward):
                lines += [f"  {line}" for line in _explain(part).splitlines()]
    if specialisation.gradient_fallback is not None:
        lines.append(f"  with gradients it runs op by op: {specialisation.gradient_fallback}")
    return "\n".join(lines)


def _native_lines(specialisation: "Specialisation") -> list[str]:
    if specialisation.cached:
        lines = ["  native code, from the cache"]
    elif specialisation.records:
        lines = [f"  native code, compiled in {specialisation.compile_milliseconds:.0f} ms"]
    else:
        lines = ["  native code, loaded from a file"]
    bundle = specialisation.bundle
    if bundle is None:
        return lines
    costs = {record.name: record for record in specialisation.records}
    for kernel in bundle.kernels:
        record = costs.get(kernel.name)
        cost = "" if record is None else ", cached" if record.cached else f", {record.milliseconds:.0f} ms"
        moved = f", {kernel.bytes_moved} bytes" if kernel.bytes_moved else ""
        flops = f", {kernel.flops} flops" if kernel.flops else ""
        lines.append(f"  kernel {kernel.name}: {kernel.title or 'no title'}{moved}{flops}{cost}")
    if (driver := costs.get(bundle.layout.driver)) is not None:
        lines.append(f"  driver: {driver.milliseconds:.0f} ms")
    if bundle.layout.buffers:
        lines.append(f"  workspace: {len(bundle.layout.buffers)} buffers")
    lines += [f"  {line}" for line in bundle.report]
    return lines
