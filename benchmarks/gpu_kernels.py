"""What the assembler says of the kernels of the GPU benchmark, and what a device's tables say of that; no GPU needed.

Run with `python -m benchmarks.gpu_kernels` where NVVM and ptxas are (`pip install 'ingot[ptx]'`). For each kernel: the
registers of a thread, bytes spilled, static shared memory, the part of a multiprocessor's threads that fit (occupancy),
accesses of global memory of 16 bytes and of fewer, and divisions. `--docs` writes the table into docs/gpu.md.
"""

import argparse
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ingot
from ingot.jit.codegen.cuda.device_text import DeviceKernel, DeviceTarget
from ingot.jit.codegen.cuda.frontend import ptxas
from ingot.jit.codegen.cuda.programs import device_kernels, kernel_ptx

from . import gpu

__all__ = ["DEVICES", "Assembled", "assembled", "occupancy", "ptxas", "row_kernels", "table", "write_section"]

DOCS = Path(__file__).resolve().parent.parent / "docs" / "gpu.md"


@dataclass(frozen=True)
class Device:
    """Limits of a multiprocessor (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability")."""

    name: str
    architecture: tuple[int, int]
    threads: int
    blocks: int
    registers: int
    shared: int  # bytes


DEVICES = (Device("A100", (8, 0), 2048, 32, 65536, 164 << 10), Device("H100", (9, 0), 2048, 32, 65536, 228 << 10))
# Registers are handed out to warps in pieces of so many; each block takes so many bytes of shared memory for itself.
_REGISTER_UNIT, _SHARED_UNIT, _SHARED_RESERVED = 256, 128, 1024


@dataclass(frozen=True)
class Assembled:
    """What ptxas makes of a kernel, and counts of its PTX."""

    registers: int
    spilled: int
    shared: int
    wide: int
    narrow: int
    divisions: int
    local: int


def assembled(ptx: str, architecture: tuple[int, int], program: str) -> Assembled:
    """Assemble a kernel's PTX; RuntimeError with ptxas's words where it refuses."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.ptx")
        file.write_text(ptx)
        command = [program, "-v", f"-arch=sm_{architecture[0]}{architecture[1]}", str(file), "-o", f"{file}.cubin"]
        made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        raise RuntimeError(made.stderr)

    def number(pattern: str) -> int:
        found = re.search(pattern, made.stderr)
        return int(found[1]) if found else 0

    def count(pattern: str) -> int:
        return len(re.findall(pattern, ptx))

    return Assembled(
        registers=number(r"Used (\d+) registers"),
        spilled=number(r"(\d+) bytes spill stores"),
        shared=number(r"(\d+) bytes smem"),
        wide=count(r"(?:ld|st)\.global\.(?:nc\.)?v"),
        narrow=count(r"(?:ld|st)\.global\.(?:nc\.)?[fbsu]\d"),
        divisions=count(r"\b(?:div|rem)\.[su]\d"),
        local=count(r"(?:ld|st)\.local"),
    )


def occupancy(found: Assembled, threads: int, dynamic: int, device: Device) -> float:
    """The part of a multiprocessor's threads that blocks of `threads` with `dynamic` bytes of shared memory fill."""
    warps = -(-threads // 32)
    per_warp = -(-found.registers * 32 // _REGISTER_UNIT) * _REGISTER_UNIT
    shared = -(-(found.shared + dynamic) // _SHARED_UNIT) * _SHARED_UNIT + _SHARED_RESERVED
    blocks = min(
        device.blocks,
        device.threads // (32 * warps),
        device.registers // (per_warp * warps) if per_warp else device.blocks,
        device.shared // shared,
    )
    return blocks * warps * 32 / device.threads


def row_kernels(row: gpu.Row) -> list[DeviceKernel]:
    """The kernels that a GPU may run for a row of the benchmark."""
    with ingot.cuda.simulate():
        model = row.make(ingot).eval().cuda()
        tensors = [ingot.tensor(a, device="cuda") for a in gpu.data(row.tiny)]
        with ingot.no_grad():
            traced = ingot.jit.trace(model, tuple(tensors), check_trace=False)
        return device_kernels(traced.specialisations[-1].optimised)


def _used(kernels: list[DeviceKernel]) -> list[DeviceKernel]:
    """Without the forms that aligned memory and small rows make useless."""
    slower = {id(k) for k in kernels if k.faster is not None and not k.faster.most}
    return [k for k in kernels if id(k) not in slower]


def _lines(device: Device, program: str, only: str) -> Iterator[str]:
    target = DeviceTarget()
    for row in gpu.ROWS:
        if only not in row.name:
            continue
        for kernel in _used(row_kernels(row)):
            found = assembled(kernel_ptx(kernel, device.architecture), device.architecture, program)
            threads = (
                kernel.grid.threads[0] * kernel.grid.threads[1] if kernel.grid.kind == "blocks" else target.threads
            )
            # Rows of the length that the benchmark has.
            dynamic = 4096 * 4 if kernel.shared != 0 else 0
            full = occupancy(found, threads, dynamic, device)
            name = re.sub(r"_[0-9a-f]{12}$", "", kernel.name).removeprefix("k_")
            yield (
                f"| {row.name.split(',')[0]} | `{name}` | {found.registers} | {found.spilled} | "
                f"{found.shared}{f' + {dynamic}' if dynamic else ''} | {full:.0%} | {found.wide} | {found.narrow} | "
                f"{found.divisions} |"
            )


def table(device: Device, program: str, only: str = "") -> str:
    """The table of a device's kernels, in Markdown."""
    head = "| row | kernel | registers | spilled | shared | occupancy | 16 bytes | fewer | divisions |"
    return "\n".join([head, "|---|---|--:|--:|--:|--:|--:|--:|--:|", *dict.fromkeys(_lines(device, program, only))])


def write_section(text: str, name: str, path: Path = DOCS) -> None:
    """Put text between the marks of a section of a document: `<!-- name -->` and `<!-- end of name -->`."""
    before, start, rest = path.read_text().partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    if not start or not end:
        raise ValueError(f"{path} has no section {name!r}: expected '<!-- {name} -->' and '<!-- end of {name} -->'")
    path.write_text(f"{before}{start}{text.strip()}\n{end}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu_kernels", description=__doc__)
    parser.add_argument("--device", choices=[d.name for d in DEVICES], default="H100")
    parser.add_argument("--only", default="", help="rows whose name contains the text")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/gpu.md")
    options = parser.parse_args()
    program = ptxas()
    if program is None:
        print("benchmarks.gpu_kernels: no ptxas was found: pip install 'ingot[ptx]', or put a CUDA toolkit's on PATH")
        return 1
    (device,) = (d for d in DEVICES if d.name == options.device)
    found = table(device, program, options.only)
    print(found)
    if options.docs:
        write_section(found, "kernels")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
