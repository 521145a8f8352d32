"""Loads damaged ingots, one after the other, and reports what went wrong: `fuzz_worker.py REPORT FIRST COUNT FILE...`.

`fuzz_worker.py --files REPORT jit|runtime FILE...` loads files as they are, and reports the outcome of each.

The number of the mutation is written before it is loaded, so that a process that dies leaves it behind.
"""

import io
import json
import resource
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from types import FrameType

from ingot import ir, runtime
from ingot.jit.archive import load
from ingot.jit.errors import LoadError
from mutations import mutated

# Of this process's CPU: other work on the machine is not the reader's.
SECONDS = 2.0
WALL_SECONDS = 60.0
MEGABYTES = 64


class Hang(BaseException):
    """A load that takes too long; no handler of errors catches it."""


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang


def address_space() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def attempt(content: bytes, as_file: bool, through_runtime: bool) -> str:
    """Load a file: "loaded", "refused", or what is wrong."""
    function = runtime.load if through_runtime else load
    if sys.platform == "linux":
        most = address_space() + 4 * len(content) + (MEGABYTES << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    try:
        if as_file:
            with tempfile.NamedTemporaryFile(suffix=".ingot") as file:
                file.write(content)
                file.flush()
                loaded = function(file.name)
        else:
            loaded = function(io.BytesIO(content))
        graph = loaded._general.graph if through_runtime and loaded._general is not None else None
        if not through_runtime:
            graph = loaded.graph
        if graph is not None:
            ir.verify(graph)
            str(graph)
        return "loaded"
    except LoadError as error:
        return "refused" if str(error) else "a LoadError that says nothing"
    except Hang:
        return f"took longer than {SECONDS} s"
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def main(report: str, first: str, count: str, *files: str) -> None:
    """Try mutations `first` to `first + count` and write how many loaded, were refused, and what went wrong."""
    signal.signal(signal.SIGALRM, _hang)
    signal.signal(signal.SIGPROF, _hang)
    originals = [Path(file).read_bytes() for file in files]
    outcomes = {"loaded": 0, "refused": 0}
    wrong: list[dict[str, object]] = []
    with open(f"{report}.current", "w") as current:
        for seed in range(int(first), int(first) + int(count)):
            current.seek(0)
            current.write(f"{seed:>12}")
            current.flush()
            index = seed % len(originals)
            outcome = attempt(mutated(originals[index], seed), seed % 16 == 0, seed % 3 == 0)
            if outcome in outcomes:
                outcomes[outcome] += 1
            elif len(wrong) < 50:
                wrong.append({"seed": seed, "file": files[index], "outcome": outcome})
    Path(report).write_text(json.dumps({**outcomes, "wrong": wrong}))


def load_files(report: str, reader: str, *files: str) -> None:
    """Load files as they are, and write the outcome of each."""
    signal.signal(signal.SIGALRM, _hang)
    signal.signal(signal.SIGPROF, _hang)
    Path(report).write_text(json.dumps([attempt(Path(f).read_bytes(), True, reader == "runtime") for f in files]))


if __name__ == "__main__":
    if sys.argv[1] == "--files":
        load_files(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
