"""Automatic differentiation: `backward`, `grad`, functions with their own derivative, checks, and switches."""

from ..eager.autograd import backward, detect_anomaly, grad, set_detect_anomaly
from ..eager.function_api import Function, FunctionContext, once_differentiable
from ..eager.gradcheck import GradcheckError, gradcheck, gradgradcheck
from ..eager.modes import enable_grad, inference_mode, no_grad, set_grad_enabled
from ..eager.tensor import Tensor as Variable
from . import forward_ad, function, functional, grad_mode, graph

__all__ = [
    "Function", "FunctionContext", "GradcheckError", "Variable", "backward", "detect_anomaly", "enable_grad",
    "forward_ad", "function", "functional", "grad", "grad_mode", "gradcheck", "gradgradcheck", "graph",
    "inference_mode", "no_grad", "once_differentiable", "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip
