"""A kernel that is written out as text over pointers and sizes, made and run as fused groups are."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...ir.core import Instruction, Value
from ...ir.dims import Dim
from ...ir.dtypes import DType
from ...ir.types import TensorType
from ..errors import Unsupported
from .driver import Driver, Storage
from .indexing import element_count
from .kernel_text import Kernel, Parameter, call_of_body, preamble, source_digest
from .module import KernelSource
from .scalar_code import Requirements, is_half, pointer_kind

__all__ = ["LoopText", "along", "tensor_type"]

# Operations of about 20 microseconds.
_GRAIN = 20_000


def tensor_type(value: Value) -> TensorType:
    assert isinstance(value.type, TensorType)
    return value.type


@dataclass
class LoopText:
    """A kernel in the making: parameters by name, and the text of its body."""

    driver: Driver
    instruction: Instruction
    parameters: list[Parameter] = field(default_factory=list)
    requirements: Requirements = field(default_factory=Requirements)
    temporaries: list[Storage] = field(default_factory=list)

    def temporary(self, name: str, count: Dim, dtype: DType) -> None:
        """Memory of so many elements that only this kernel uses."""
        self.parameters.append(Parameter(name, f"{dtype.short}*", ("temporary", len(self.temporaries))))
        self.temporaries.append(self.driver.temporary(count, dtype))

    def read(self, name: str, value: Value) -> None:
        if is_half(tensor_type(value).dtype):
            op, location = self.instruction.op.name, self.instruction.location
            raise Unsupported(f"{op} of {tensor_type(value).dtype.name} has no native kernel", location)
        self.parameters.append(Parameter(name, f"{pointer_kind(tensor_type(value).dtype)}*", ("address", value)))

    def write(self, name: str, value: Value) -> None:
        self.driver.store(value)
        self.read(name, value)

    def sizes(self, **sizes: Dim) -> None:
        for name, dim in sizes.items():
            self.parameters.append(Parameter(name, "i64", ("dim", dim)))

    def scalar(self, name: str, value: Value) -> None:
        kind = "f64" if str(value.type) == "float" else "i64"
        self.parameters.append(Parameter(name, kind, ("scalar", value)))

    def status(self) -> None:
        self.parameters.append(Parameter("status", "i64*", ("status",)))

    def run(self, body: str, n: Dim, per_item: Dim, short: Mapping[str, int] | None = None) -> None:
        """Make the kernel from the text of its body, which sees the parameters, `lo` and `hi`, and run it.

        `short` are sizes with the values for which there is a second form: there they are constants.
        """
        instruction, driver = self.instruction, self.driver
        names = ", ".join(p.name for p in self.parameters)
        lines = "\n".join(f"    {line}" if line.strip() else "" for line in body.strip("\n").splitlines())
        text = (
            f"{preamble(self.requirements)}@body\ndef NAME_body({names}, lo, hi):\n{lines}\n\n\n"
            f"@kernel\ndef NAME(p, lo, hi):\n{call_of_body(self.parameters, short or {})}\n"
        )
        name = f"k_{instruction.op.name}_{source_digest(text)}"
        where = f" ({instruction.location})" if instruction.location is not None else ""
        title = f"{instruction.op.name}{where}"
        source = KernelSource(name, f"# {title}\n{text.replace('NAME', name)}", title=title, level=3 if short else 2)
        grain: Dim = _GRAIN // (per_item + 1) + 1
        driver.run_kernel(Kernel(source, list(self.parameters)), n, grain, self.temporaries, instruction.location)
        driver.clock += 1


def along(value: Value, axis: int) -> dict[str, Dim]:
    """(outer, n, inner) around a dimension of a contiguous tensor."""
    shape = tensor_type(value).shape
    return {"outer": element_count(shape[:axis]), "n": shape[axis], "inner": element_count(shape[axis + 1 :])}
