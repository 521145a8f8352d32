"""Automatic differentiation: `backward`, `grad`, and the switches that turn recording on and off."""

from .eager.autograd import backward, detect_anomaly, grad
from .eager.modes import enable_grad, inference_mode, no_grad, set_grad_enabled

__all__ = ["backward", "detect_anomaly", "enable_grad", "grad", "inference_mode", "no_grad", "set_grad_enabled"]
