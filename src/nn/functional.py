"""Functions of layers: every op whose record says "functional", and PyTorch's call forms around some of them."""

import warnings
from typing import TYPE_CHECKING, Any

from ..eager import namespaces
from ..eager.functions import call as _call
from ..eager.inplace import write
from ..eager.modes import current_mode
from ..eager.tensor import Tensor

globals().update(namespaces["functional"])

# Functions that are made of ops, after those: where both have a name, these add call forms.
from .activation_functions import *  # noqa: E402, F403
from .attention_functions import *  # noqa: E402, F403
from .embedding_functions import *  # noqa: E402, F403
from .interpolation import *  # noqa: E402, F403
from .layer_functions import *  # noqa: E402, F403
from .linear_loss import *  # noqa: E402, F403
from .loss_functions import *  # noqa: E402, F403
from .pair_losses import *  # noqa: E402, F403
from .sampling import *  # noqa: E402, F403
from .windows import *  # noqa: E402, F403

if TYPE_CHECKING:  # the functions just put in

    def __getattr__(name: str) -> Any: ...


def sigmoid(input: Tensor) -> Tensor:
    """Elementwise 1 / (1 + e**-x)."""
    return _call("sigmoid", input)  # type: ignore[no-any-return]


def tanh(input: Tensor) -> Tensor:
    """Elementwise hyperbolic tangent."""
    return _call("tanh", input)  # type: ignore[no-any-return]


def _softmax_dim(name: str, input: Tensor, dim: int | None) -> int:
    if dim is None:
        warnings.warn(
            f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an "
            "argument.",
            stacklevel=4,
        )
        return 0 if input.ndim in (0, 1, 3) else 1
    return dim


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """e**x over the sum of e**x along one dimension."""
    source = input if dtype is None else input.to(dtype)  # type: ignore[attr-defined]
    return _call("softmax", source, _softmax_dim("softmax", input, dim))  # type: ignore[no-any-return]


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """The logarithm of softmax along one dimension."""
    source = input if dtype is None else input.to(dtype)  # type: ignore[attr-defined]
    return _call("log_softmax", source, _softmax_dim("log_softmax", input, dim))  # type: ignore[no-any-return]


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, zeroes elements with probability `p` and scales the others by 1 / (1 - p); else the input."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    mode = current_mode()
    if mode is not None:
        mode.note(
            "mode", f"dropout is recorded {'active: in training mode' if training else 'off: in evaluation mode'}"
        )
    if not training or p == 0.0:
        return input
    result, _ = _call("native_dropout", input, p=p)
    return write(input, result, "dropout_") if inplace else result


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """Normalises each channel (dimension 1), by running statistics or, in training, by the batch's own.

    In training the running statistics are updated in place: new = (1 - momentum) * old + momentum * batch's.
    """
    if eps <= 0.0:
        raise ValueError(f"batch_norm eps must be positive, but got {eps}")
    if input.ndim == 1 and not input.shape[0]:
        return _call("clone", input)  # type: ignore[no-any-return]
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("Expected running_mean and running_var to be given where training=False")
        return _call("batch_norm", input, running_mean, running_var, weight, bias, eps=eps)  # type: ignore[no-any-return]
    count = input.shape.numel() // input.shape[1] if input.shape[1] else 0
    if count == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {list(map(int, input.shape))}"
        )
    result, mean, variance = _call("batch_norm_training", input, weight, bias, eps=eps)
    if running_mean is not None and running_var is not None and count != 0:
        if count > 1:
            variance = variance * count / (count - 1)  # a quotient of sizes alone would be a plain number in a trace
        running_mean.mul_(1 - momentum).add_(mean.detach(), alpha=momentum)  # type: ignore[attr-defined]
        running_var.mul_(1 - momentum).add_(variance.detach(), alpha=momentum)  # type: ignore[attr-defined]
    return result  # type: ignore[no-any-return]


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum over windows of (N, C, H, W); with `return_indices` also its position in the plane H x W."""
    name = "max_pool2d_with_indices" if return_indices else "max_pool2d"
    return _call(name, input, kernel_size, stride, padding, dilation, ceil_mode)


def _with_indices(name: str) -> Any:
    def pool(*args: Any, **kwargs: Any) -> Any:
        return globals()[name](*args, **{**kwargs, "return_indices": True})

    pool.__name__ = pool.__qualname__ = f"{name}_with_indices"
    pool.__doc__ = f"`{name}`, and where each maximum was."
    return pool


for _name in ("max_pool1d", "max_pool2d", "max_pool3d"):
    globals()[f"{_name}_with_indices"] = _with_indices(_name)
    globals()[f"adaptive_{_name}_with_indices"] = _with_indices(f"adaptive_{_name}")


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Integers as vectors that are 1 at their index and 0 elsewhere; -1 classes means the largest plus 1."""
    if num_classes == -1:
        num_classes = int(tensor.max()) + 1 if tensor.numel() else 0
    return _call("one_hot", tensor, num_classes)  # type: ignore[no-any-return]
