"""Errors of GPUs, which say what to install or to free."""

__all__ = ["AcceleratorError", "GpuUnavailable", "OutOfMemoryError", "size_text"]


def size_text(count: int) -> str:
    """A number of bytes as PyTorch writes it.

    >>> from ingot.cuda.errors import size_text
    >>> size_text(3 << 20), size_text(100)
    ('3.00 MiB', '100 bytes')
    """
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} bytes"


class GpuUnavailable(RuntimeError):
    """No GPU can be used here; the message says why and what to do."""


class AcceleratorError(RuntimeError):
    """The device reported an error, as an illegal access to memory; it cannot be used any further in this process."""


class OutOfMemoryError(RuntimeError):
    """The device has not enough free memory."""

    @classmethod
    def of(cls, index: int, wanted: int, total: int, allocated: int) -> "OutOfMemoryError":
        """The error, with PyTorch's words and what can be done."""
        return cls(
            f"CUDA out of memory. Tried to allocate {size_text(wanted)}. GPU {index} has a total capacity of "
            f"{size_text(total)} of which {size_text(max(0, total - allocated))} is free; tensors take "
            f"{size_text(allocated)}. Free some (del, a smaller batch, torch.no_grad() around inference, "
            "utils.checkpoint), or give cached memory back with ingot.cuda.empty_cache(); the CPU can still be used."
        )
