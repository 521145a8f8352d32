"""The public names of `ingot`, gathered from the parts; imported when the first of them is asked for."""

import math as _math
from importlib import import_module as _import_module

from . import autograd, fft, func, ir, jit, linalg, masked, nn, optim, signal, special
from .amp import autocast
from .eager import (
    Size,
    Tensor,
    device,
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    namespaces,
    no_grad,
    return_types,
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
from .eager.legacy import TENSOR_TYPES as _tensor_types
from .eager.memory_format import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    layout,
    memory_format,
    preserve_format,
    strided,
)
from .eager.native import set_kernels
from .eager.parallel import set_thread_source
from .eager.random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    normal,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    seed,
    set_rng_state,
)
from .eager.settings import (
    are_deterministic_algorithms_enabled,
    get_default_device,
    get_float32_matmul_precision,
    set_default_device,
    set_default_tensor_type,
    set_float32_matmul_precision,
    typename,
    use_deterministic_algorithms,
)
from .func import vmap
from .ir.dtypes import DType as dtype
from .ir.dtypes import (
    bfloat16,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    set_default_dtype,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .ir.dtypes import bool_ as bool
from .ir.dtypes import default_dtype as get_default_dtype
from .jit.compile_function import compile
from .jit.runtime.pool import get_num_threads, set_num_threads
from .nn import native as _native
from .pytorch import from_torch
from .serialization import load, save
from .signal.windows import bartlett_window, blackman_window, hamming_window, hann_window, kaiser_window

set_thread_source(get_num_threads)
set_kernels(lambda: _import_module(".jit.eager_kernels.calls", __package__))
e, pi, inf, nan, newaxis = _math.e, _math.pi, _math.inf, _math.nan, None
half, double, cfloat, cdouble = float16, float64, complex64, complex128
short, long = int16, int64
float, int = float32, int32

# Functions whose names and documentation come from the op records (see eager/functions.py).
globals().update(namespaces[""])

globals().update(_tensor_types)

# Functions of layers that PyTorch has at the top, too.
globals().update({_name: getattr(_native, _name) for _name in _native.__all__})
globals().update({_name: getattr(nn.functional, _name) for _name in _native.SAME if _name not in namespaces[""]})
