"""Devices: where a tensor's data lives."""

from typing import Any

__all__ = ["CPU", "as_device", "device"]


class device:
    """A device by name, as "cpu" or "cuda:0".

    >>> ingot.device("cpu")
    device(type='cpu')
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __init__(self, name: "str | device", index: int | None = None) -> None:
        if isinstance(name, device):
            self.type, self.index = name.type, name.index
            return
        if not isinstance(name, str):
            raise TypeError(f"device(): expected a name such as 'cpu', given {type(name).__name__}")
        kind, _, number = name.partition(":")
        if kind not in ("cpu", "cuda"):
            raise RuntimeError(f"Expected one of cpu, cuda device type at start of device string: {name}")
        if number and not number.isdigit():
            raise RuntimeError(f"Invalid device string: '{name}'")
        self.type = kind
        self.index = int(number) if number else index

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{index})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            other = device(other)
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))


CPU = device("cpu")


def as_device(value: Any) -> device:
    """A device that this machine can use; RuntimeError for one that it cannot."""
    found = CPU if value is None else device(value)
    if found.type != "cpu":
        raise RuntimeError(f"device {found} is not available: tensors of this version live on the cpu")
    return found
