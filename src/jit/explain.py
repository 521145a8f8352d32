"""`explain()`: what became of a compiled callable's graphs, as text and as a page."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.drawing import drawing, page

if TYPE_CHECKING:
    from .function import CompiledFunction
    from .specialisation import Specialisation

__all__ = ["Explanation", "explain"]


class Explanation(str):
    """The report as text; `html` makes a page of it, with the graphs drawn."""

    _parts: list[str]
    _title: str

    def html(self, path: Any = None) -> str:
        """A self-contained HTML page, written to `path` if that is given."""
        text = page(self._title, self._parts)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def _repr_html_(self) -> str:
        return self.html()


def explain(function: "CompiledFunction") -> Explanation:
    """A report on every specialisation: executor, kernels, fusion decisions, compile times, fallbacks."""
    specialisations = function.specialisations
    text = f"{function.__name__}: not called yet, so there is nothing compiled"
    if specialisations:
        text = "\n\n".join(_explain(specialisation) for specialisation in specialisations)
    explanation = Explanation(text)
    explanation._title = function.__name__
    explanation._parts = [part for s in specialisations for part in _html(s)] or [f"<p>{escape(text)}</p>"]
    return explanation


def _html(specialisation: "Specialisation") -> Iterator[str]:
    """The parts of a page about a specialisation and its derivatives."""
    yield f"<h2>{escape(specialisation.name)}</h2>"
    for title, graph in (("The graph", specialisation.graph), ("After the passes", specialisation.optimised)):
        drawings = "".join(f'<div class="drawing">{drawing(part)}</div>' for part in graph.parts)
        yield f"<h3>{title}</h3>{drawings}"
        yield f"<details><summary>Text</summary><pre>{escape(str(graph))}</pre></details>"
    bundle = specialisation.bundle
    if bundle is not None:
        costs = {record.name: record for record in specialisation.records}
        rows = []
        for kernel in bundle.kernels:
            record = costs.get(kernel.name)
            cost = "" if record is None else "cached" if record.cached else f"{record.milliseconds:.0f} ms"
            cells = [kernel.title or kernel.name, kernel.bytes_moved, kernel.flops, cost]
            rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
        heads = "".join(f"<th>{h}</th>" for h in ("kernel", "bytes", "operations", "compiling"))
        yield f"<h3>Kernels</h3><table><tr>{heads}</tr>{''.join(rows)}</table>"
        if bundle.report:
            yield f"<h3>Fusion</h3><ul>{''.join(f'<li>{escape(line)}</li>' for line in bundle.report)}</ul>"
        if specialisation.generated is not None:
            yield f"<details><summary>Sources</summary><pre>{escape(specialisation.source())}</pre></details>"
    yield f"<details><summary>Report</summary><pre>{escape(_explain(specialisation))}</pre></details>"
    for derivative in specialisation.derivatives.values():
        if derivative:
            for part in (derivative.forward, derivative.backward):
                yield from _html(part)


def _explain(specialisation: "Specialisation") -> str:
    graph = specialisation.graph
    arguments = ", ".join(f"{v.name or v.index}: {v.type}" for v in graph.arguments)
    lines = [f"{specialisation.name}({arguments})"]
    if graph.guards:
        lines.append(f"  where {', '.join(str(guard) for guard in graph.guards)}")
    if graph.functions:
        lines.append(f"  functions that call themselves: {', '.join(graph.functions)}")
    if specialisation.fallback is not None:
        place = f" at {specialisation.fallback.location}" if specialisation.fallback.location else ""
        lines.append(f"  runs in the interpreter: {specialisation.fallback.reason}{place}")
    elif specialisation.device_program is not None:
        from .codegen.cuda.listing import explain_lines

        lines += [f"  {line}" for line in explain_lines(specialisation.device_program)]
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
    hits = sum(record.cached for record in specialisation.records)
    if specialisation.records:
        lines.append(f"  {hits} of {len(specialisation.records)} parts were in the cache")
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
