"""Jacobians, Hessians and products with them, under PyTorch's module name."""

from ..eager.functional import hessian, hvp, jacobian, jvp, vhp, vjp

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]
