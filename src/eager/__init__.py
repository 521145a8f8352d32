"""Eager execution: tensors, dispatch, autograd, creation."""

from typing import Any

from ..ir import ops  # defines every op, before functions are made of them
from . import (
    api,
    complex_numbers,
    creation,
    distributions,
    elementary,
    factorizations,
    families,
    functions,
    grids,
    indexed,
    interop,
    ordering,
    products,
    return_types,
    series,
    spectral,
    storage,
)
from .device import device
from .modes import enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled
from .printing import set_printoptions
from .tensor import Size, Tensor

namespaces: dict[str, dict[str, Any]] = {"": {}, "functional": {}, "special": {}, "linalg": {}, "fft": {}}
functions.install_ops(namespaces)
api.install(namespaces[""])
for _family in (
    complex_numbers,
    distributions,
    elementary,
    factorizations,
    grids,
    indexed,
    interop,
    ordering,
    products,
    series,
    spectral,
    storage,
):
    families.install(namespaces[""], _family)
elementary.install_inplace(namespaces[""])

__all__ = [
    "Size", "Tensor", "creation", "device", "enable_grad", "inference_mode", "is_grad_enabled",
    "is_inference_mode_enabled", "namespaces", "no_grad",
    "ops", "return_types", "set_grad_enabled", "set_printoptions",
]  # fmt: skip
