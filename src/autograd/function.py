"""`Function` and what belongs to it, under PyTorch's module name."""

from ..eager.function_api import Function, FunctionContext, once_differentiable

FunctionCtx = FunctionContext

__all__ = ["Function", "FunctionContext", "FunctionCtx", "once_differentiable"]
