"""`make ptx-check`: every kernel of every operator's samples as PTX for cc 7.5, 8.0 and 9.0, assembled, without a GPU.

Prints what fails, and what the assembler says of registers and spills. Exit status 1 where anything fails. PTX that the
kernel cache has is not compiled again; `--processes N` (2) compile side by side, `--op NAME` checks one operator,
`--json FILE` keeps the registers of every kernel.
"""

import argparse
import contextlib
import importlib
import json
import multiprocessing
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ingot
from device_cases import ptxas, real_kernels
from ingot.ir.ops._op import Op, all_ops
from ingot.jit.codegen.cuda import frontend
from ingot.jit.codegen.cuda.device_text import DeviceKernel, Grid
from ingot.jit.codegen.cuda.programs import kernel_ptx
from lowering_cases import case_of

__all__ = ["Outcome", "assemble", "check", "kernels_of", "lowered_once", "main", "text_of"]

# Kernels that are assembled together: the assembler takes longer to start than to assemble one.
_TOGETHER = 64


@dataclass
class Outcome:
    """What became of some kernels: failures as text, and (registers, bytes spilled, shared bytes) by kernel and cc."""

    failures: list[str] = field(default_factory=list)
    used: dict[tuple[str, str], tuple[int, int, int]] = field(default_factory=dict)

    def add(self, other: "Outcome") -> None:
        self.failures += other.failures
        self.used.update(other.used)


def kernels_of(ops: Sequence[Op]) -> dict[str, DeviceKernel]:
    """The kernels of the samples of some ops, with sizes known and free, each text once."""
    found: dict[str, DeviceKernel] = {}
    with ingot.cuda.simulate(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for op in ops:
            for sample in op.samples() if op.evaluate is not None and "." not in op.name else ():
                for symbolic in (False, True):
                    for kernel in real_kernels(case_of(op, sample, symbolic=symbolic).graph):
                        found.setdefault(kernel.name, text_of(kernel))
    return found


def text_of(kernel: DeviceKernel) -> DeviceKernel:
    """A kernel without the graph that it was made from, for other processes."""
    parameters = [replace(p, source=()) for p in kernel.parameters]
    return replace(
        kernel,
        parameters=parameters,
        grid=Grid("none", 0),
        shared=0,
        traffic={},
        faster=None,
        divisible=(),
        most=(),
        patches=None,
    )


def check(kernels: Sequence[DeviceKernel]) -> Outcome:
    """Compile kernels for every architecture, and assemble them where there is an assembler."""
    outcome = Outcome()
    texts: dict[str, dict[str, str]] = {f"sm_{major}{minor}": {} for major, minor in frontend.ARCHITECTURES}
    for kernel in kernels:
        with lowered_once():
            for architecture, name in zip(frontend.ARCHITECTURES, texts, strict=True):
                try:
                    ptx = kernel_ptx(kernel, architecture)
                except Exception as error:  # whatever the front end raises is what is looked for
                    outcome.failures.append(f"{kernel.name} for {name}: {type(error).__name__}: {str(error)[:2000]}")
                    continue
                entry = ptx[ptx.find(f".visible .entry {kernel.name}(") :]
                # Parameters are what the launcher passes: a flat array has seven, everything else one.
                count = sum(7 if kind.endswith("[]") else 1 for kind in kernel.kinds)
                if f".target {name}" not in ptx or entry[: entry.index(")")].count(".param") != count:
                    outcome.failures.append(f"{kernel.name} for {name}: not the target or the parameters asked for")
                texts[name][kernel.name] = ptx
    for name, of_kernels in texts.items():
        outcome.add(assemble(of_kernels, name))
    return outcome


@contextlib.contextmanager
def lowered_once() -> Iterator[None]:
    """Let Numba type one kernel once, whatever architectures it is compiled for while this lasts.

    That takes three times as long as NVVM, and what it makes is the same from compute capability 6.0 (where atomic
    additions of doubles begin) and 7.5 (tanh) on. `test_ptx_check` compares.
    """
    try:
        compiler = importlib.import_module("numba.cuda.compiler")
        lower = compiler.compile_cuda
    except (ImportError, AttributeError):  # another front end
        yield
        return
    made: list[Any] = []

    def once(*args: Any, **kwargs: Any) -> Any:
        if not made:
            made.append(lower(*args, **kwargs))
        return made[0]

    compiler.compile_cuda = once
    try:
        yield
    finally:
        compiler.compile_cuda = lower


def assemble(texts: dict[str, str], architecture: str) -> Outcome:
    """What the assembler makes of PTX, by kernel; nothing where there is none."""
    program = ptxas()
    if program is None or not texts:
        return Outcome()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernels.ptx")
        file.write_text(_as_one(list(texts.values())))
        command = [program, "-v", f"-arch={architecture}", str(file), "-o", str(Path(folder, "cubin"))]
        made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        if len(texts) == 1:
            return Outcome([f"{next(iter(texts))} for {architecture}: {made.stderr.strip()[:2000]}"])
        outcome = Outcome()
        for name, text in texts.items():  # one of them
            outcome.add(assemble({name: text}, architecture))
        return outcome
    return Outcome([], {(name, architecture): used for name, used in _used(made.stderr)})


def _as_one(texts: Sequence[str]) -> str:
    """PTX of several modules as one: the head of each is the same, and names but those of kernels get a number."""
    head = texts[0].partition(".address_size 64")[0]
    parts = [f"{head}.address_size 64"]
    for number, text in enumerate(texts):
        body = text.partition(".address_size 64")[2] or text
        own = set(re.findall(r"^\s*(?:\.\w+ )*\.(?:global|shared|const)\b[^;=({]*?([\w$]+)\[", body, re.MULTILINE))
        own |= set(re.findall(r"^\s*(?:\.\w+ )*\.func\s+(?:\([^)]*\)\s*)?([\w$]+)\s*\(", body, re.MULTILINE))
        if own:
            names = "|".join(re.escape(n) for n in sorted(own))
            body = re.sub(rf"(?<![\w$])({names})(?![\w$])", rf"m{number}_\1", body)
        parts.append(body)
    return "\n".join(parts)


def _used(log: str) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """(kernel, (registers, bytes spilled, shared bytes)) of the assembler's report."""
    name, spilled = "", 0
    for line in log.splitlines():
        if found := re.search(r"Compiling entry function '(\S+)'", line):
            name, spilled = found[1], 0
        if found := re.search(r"(\d+) bytes spill stores", line):
            spilled = int(found[1])
        if name and (found := re.search(r"Used (\d+) registers", line)):
            shared = re.search(r"(\d+) bytes smem", line)
            yield name, (int(found[1]), spilled, int(shared[1]) if shared else 0)
            name = ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ptx-check", description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--op", action="append")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if problem := frontend.nvvm_problem():
        print(f"ptx-check: NOTHING WAS CHECKED: {problem}")
        return 1
    started = time.monotonic()
    kernels = list(kernels_of([op for op in all_ops() if not options.op or op.name in options.op]).values())
    parts = [kernels[i : i + _TOGETHER] for i in range(0, len(kernels), _TOGETHER)]
    outcome = Outcome()
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for number, part in enumerate(pool.imap_unordered(check, parts), 1):
            outcome.add(part)
            print(f"ptx-check: {number} of {len(parts)} parts, {time.monotonic() - started:.0f} s", flush=True)
    for failure in outcome.failures:
        print(f"ptx-check: FAILED: {failure}")
    if outcome.used:
        registers = [r for r, _, _ in outcome.used.values()]
        spilled = sorted({name for (name, _), used in outcome.used.items() if used[1]})
        print(f"ptx-check: registers {statistics.median(registers):.0f} (median) to {max(registers)} (most)")
        print(f"ptx-check: {len(spilled)} kernels spill registers{': ' + ', '.join(spilled) if spilled else ''}")
    if options.json is not None:
        rows = [
            {"kernel": kernel, "architecture": name, "registers": used[0], "spilled": used[1], "shared": used[2]}
            for (kernel, name), used in sorted(outcome.used.items())
        ]
        options.json.write_text(json.dumps(rows, indent=1))
    assembled = f"{len(outcome.used)} assembled" if ptxas() else "none assembled, because ptxas is not there"
    print(
        f"ptx-check: {len(kernels)} kernels for {len(frontend.ARCHITECTURES)} architectures, {assembled}, "
        f"{len(outcome.failures)} failures, {time.monotonic() - started:.0f} s"
    )
    return int(bool(outcome.failures) or not kernels)


if __name__ == "__main__":
    sys.exit(main())
