"""`SummaryWriter` for TensorBoard's event files, from the package tensorboardX."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "SummaryWriter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from tensorboardX import SummaryWriter  # when it is asked for: the package is optional
    except ImportError as error:
        raise ImportError("SummaryWriter needs the package tensorboardX: pip install tensorboardX") from error
    return SummaryWriter
