"""Compile the kernels of all operators' samples for the GPU that is there, on all cores, into the kernel cache."""

import multiprocessing
import os
import sys
import time
import warnings

import ingot
from device_cases import real_kernels
from ingot.ir.ops._op import all_ops
from ingot.jit.codegen.cuda.programs import kernel_ptx
from lowering_cases import case_of


def compiled(task: tuple[str, tuple[int, int]]) -> tuple[int, str]:
    """How many kernels an operator's samples have, and what went wrong."""
    name, architecture = task
    op = next(o for o in all_ops() if o.name == name)
    found: dict[str, object] = {}
    try:
        with ingot.cuda.simulate(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for index, sample in enumerate(op.samples()):
                for kernel in real_kernels(case_of(op, sample, symbolic=index % 2 == 0).graph):
                    found[kernel.name] = kernel
        for kernel in found.values():
            kernel_ptx(kernel, architecture)  # type: ignore[arg-type]
    except Exception as error:  # the tests say more
        return len(found), f"{name}: {type(error).__name__}: {str(error)[:200]}"
    return len(found), ""


def main() -> None:
    start = time.monotonic()
    architecture = ingot.cuda.get_device_capability() if ingot.cuda.is_available() else (9, 0)
    chosen = sys.argv[1:]
    names = [
        o.name for o in all_ops() if o.evaluate is not None and "." not in o.name and (not chosen or o.name in chosen)
    ]
    # Forked before CUDA is used would be faster, but a driver does not outlive a fork.
    with multiprocessing.get_context("spawn").Pool(max((os.cpu_count() or 2) - 1, 1)) as pool:
        results = list(pool.imap_unordered(compiled, [(n, tuple(architecture)) for n in names], chunksize=4))
    failures = [text for _, text in results if text]
    print(f"{sum(n for n, _ in results)} kernels in {time.monotonic() - start:.0f} s", *failures, sep="\n", flush=True)


if __name__ == "__main__":
    main()
