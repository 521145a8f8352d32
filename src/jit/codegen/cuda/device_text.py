"""The text of one CUDA kernel: typed pointers, loads and stores, the threads that run it, and the finished source."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ....ir import dtypes
from ....ir.core import Value
from ....ir.dims import Dim
from ....ir.dtypes import DType
from ..kernel_text import Parameter, Text
from ..scalar_code import Code, Requirements, pointer_kind
from .library import TYPED, device_functions
from .special_functions import FUNCTIONS

__all__ = ["SIMULATED", "DeviceKernel", "DeviceTarget", "DeviceText", "Grid", "device_kind"]

HEADER = "import math\n\nimport numpy as np\nfrom numba import cuda, types\nfrom numba.cuda import libdevice\n\n\n"


@dataclass(frozen=True)
class DeviceTarget:
    """How kernels are cut into threads: threads of a block, of a warp, and the most blocks of a grid-stride loop.

    Products compute tiles of `tile_rows` x `tile_columns`, each thread `per_thread` x `per_thread` elements, over
    `tile_depth` of the depth at a time. Attention has `attention_threads` squared threads, each with `attention_rows`
    queries and `attention_keys` keys at a time, of `head_bytes` at most.
    """

    name: str = "cuda"
    threads: int = 256
    warp: int = 32
    blocks: int = 2112  # 16 for each of 132 multiprocessors
    row_bytes: int = 47 << 10  # shared memory that a row may be kept in: of 48 KiB, what joins warps needs some
    tile_rows: int = 64
    tile_columns: int = 64
    tile_depth: int = 16
    per_thread: int = 4
    attention_threads: int = 16
    attention_rows: int = 4
    attention_keys: int = 2
    head_bytes: int = 512


# Few threads, since each is a thread of Python's; the text of kernels is the same.
SIMULATED = DeviceTarget("simulator", 4, 2, 3, 1 << 10, 4, 4, 3, 2, 2, 1, 2, 64)


@dataclass(frozen=True)
class Grid:
    """The threads of a launch. kind: "elements" (a grid-stride loop over n), "rows" (a team of threads for each of n
    rows of `length` elements), "blocks" (n blocks of `threads`)."""

    kind: str
    n: Dim
    length: Dim = 1
    threads: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class DeviceKernel:
    """A kernel's source, its parameters in order, its threads, and the bytes of shared memory that a team takes.

    `faster` does the same, and may have a faster one itself: it keeps rows in shared memory, if they fit, or handles
    `lanes` elements at a time, for memory aligned to 16 bytes where `lanes` divide every size in `divisible`. `most`
    are sizes with the largest for which the form is meant. `patches` writes what the device's library multiplies
    instead.
    """

    name: str
    source: str
    parameters: list[Parameter]
    grid: Grid
    title: str = ""
    shared: Dim = 0
    traffic: Mapping[str, Dim | None] = field(default_factory=dict)
    faster: "DeviceKernel | None" = None
    lanes: int = 1
    divisible: tuple[Dim, ...] = ()
    most: tuple[tuple[Dim, int], ...] = ()
    patches: "DeviceKernel | None" = None

    @property
    def kinds(self) -> list[str]:
        """The types of the parameters, as `frontend.compile_ptx` takes them."""
        return [p.kind for p in self.parameters]


def device_kind(dtype: DType) -> str:
    """How elements lie in a device's memory: bools are bytes, bfloat16 is 16 bits, float16 a type of the device's."""
    return "f16" if dtype is dtypes.float16 else pointer_kind(dtype)


class DeviceText(Text):
    """A kernel being written for a device."""

    def __init__(self, renamed: dict[str, Dim] | None = None) -> None:
        super().__init__(Requirements(typed=TYPED, functions=FUNCTIONS), renamed=renamed or {})
        self.atomic: set[tuple[object, ...]] = set()
        self.accesses: list[tuple[Dim, int]] = []  # where elements are read and written, and their sizes
        self._written: dict[str, Dim] = {}  # what an address's text stands for

    def pointer(self, value: Value, dtype: DType, written: bool = False) -> str:
        return self.parameter("y" if written else "x", f"{device_kind(dtype)}*", "address", value)

    def temporary(self, index: int, dtype: DType) -> str:
        return self.parameter("t", f"{device_kind(dtype)}*", "temporary", index)

    def index(self, dim: Dim) -> str:
        text = super().index(dim)
        self._written[text] = self.resolve(dim)
        return text

    def note(self, address: str, dtype: DType) -> None:
        if (place := self._written.get(address)) is not None:
            self.accesses.append((place, dtype.itemsize))

    def load(self, pointer: str, address: str, dtype: DType) -> str:
        self.note(address, dtype)
        if dtype is dtypes.float16:
            return f"np.float32({pointer}[{address}])"
        return super().load(pointer, address, dtype)

    def store(self, pointer: str, address: str, code: Code) -> None:
        self.note(address, code.dtype)
        if code.dtype is dtypes.float16:
            self.line(f"{pointer}[{address}] = np.float16({code.text})")
        else:
            super().store(pointer, address, code)

    def finish_kernel(
        self, stem: str, title: str, traffic: Mapping[str, Dim | None], grid: Grid, shared: Dim = 0
    ) -> DeviceKernel:
        """The kernel's source, with a name that ends in a hash of it."""
        assert len(self.scopes) == 1
        lines = [f"{flag} = 0" for flag in self.flags] + (self.scope.lines or ["pass"])
        for flag in self.flags:
            lines += [f"if {flag} != 0:", f"    {self.status()}[0] = {flag}"]
        return self.kernel(lines, stem, title, traffic, grid, shared)

    def kernel(
        self, lines: list[str], stem: str, title: str, traffic: Mapping[str, Dim | None], grid: Grid, shared: Dim = 0
    ) -> DeviceKernel:
        parameters = list(self.parameters.values())
        body = "\n".join("    " + text for text in lines)
        requirements = replace(self.requirements, helpers=set(self.requirements.helpers))
        # Numba's `min` and `max` are overloads, which compile for the GPU of the process only.
        for name, own in (("min", "smaller"), ("max", "larger")):
            if re.search(rf"\b{name}\(", body):
                body = re.sub(rf"\b{name}\(", f"{own}(", body)
                requirements.helpers.add(own)
        library = device_functions(requirements)
        arguments = ", ".join(p.name for p in parameters)
        text = f"{HEADER}{library}@cuda.jit\ndef NAME({arguments}):\n{body}\n"
        kinds = ", ".join(f"{p.name}: {p.kind}" for p in parameters)
        digest = hashlib.sha256((re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE) + kinds).encode()).hexdigest()[:12]
        name = f"{stem}_{digest}"
        header = (f"# {title}\n" if title else "") + f"# {kinds}\n"
        return DeviceKernel(name, header + text.replace("NAME", name), parameters, grid, title, shared, dict(traffic))
