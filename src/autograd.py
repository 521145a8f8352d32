"""Automatic differentiation: `backward`, `grad`, functions with their own derivative, checks, and switches."""

from .eager import functional
from .eager.autograd import backward, detect_anomaly, grad, set_detect_anomaly
from .eager.function_api import Function, FunctionContext, once_differentiable
from .eager.gradcheck import GradcheckError, gradcheck, gradgradcheck
from .eager.modes import enable_grad, inference_mode, no_grad, set_grad_enabled

__all__ = [
    "Function", "FunctionContext", "GradcheckError", "backward", "detect_anomaly", "enable_grad", "functional",
    "grad", "gradcheck", "gradgradcheck", "inference_mode", "no_grad", "once_differentiable", "set_detect_anomaly",
    "set_grad_enabled",
]  # fmt: skip
