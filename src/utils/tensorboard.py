"""`SummaryWriter` for TensorBoard's event files, from the package tensorboardX."""

__all__ = ["SummaryWriter"]

try:
    from tensorboardX import SummaryWriter
except ImportError as error:
    raise ImportError("ingot.utils.tensorboard needs the package tensorboardX: pip install tensorboardX") from error
