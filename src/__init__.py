"""Ingot: tensors with autograd and the PyTorch API, and a JIT that compiles whole Python models to native code."""

from . import autograd, ir
from .eager import (
    Size,
    Tensor,
    device,
    enable_grad,
    inference_mode,
    is_grad_enabled,
    namespaces,
    no_grad,
    set_grad_enabled,
    set_printoptions,
)
from .eager.creation import (
    arange,
    as_tensor,
    asarray,
    empty,
    empty_like,
    eye,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)
from .eager.creation import from_numpy_array as from_numpy
from .ir.dtypes import DType as dtype
from .ir.dtypes import default_dtype as get_default_dtype
from .ir.dtypes import set_default_dtype

__version__ = "0.1.0"
