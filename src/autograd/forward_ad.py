"""Derivatives along a direction, with tensors that carry it: `make_dual` and `unpack_dual`.

The direction is not carried through every op. A dual tensor is recorded like one that requires gradients, and
`unpack_dual` differentiates the recorded backward pass, which is linear in its seed.
"""

from typing import Any, NamedTuple

from ..eager.modes import enable_grad
from ..eager.tensor import Tensor
from ..func.transforms import along

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]

_levels: list[list[tuple[Tensor, Tensor]]] = []


class UnpackedDualTensor(NamedTuple):
    """A tensor and its derivative along the level's direction, or None where it does not depend on it."""

    primal: Tensor
    tangent: Tensor | None


def enter_dual_level() -> int:
    """Begin a level, in which dual tensors live; levels do not nest, as in PyTorch."""
    if _levels:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _levels.append([])
    return len(_levels) - 1


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level."""
    if not _levels or (level is not None and level != len(_levels) - 1):
        raise RuntimeError("Trying to exit a forward AD level that was not the last one that was created")
    _levels.pop()


class dual_level:
    """A level as a context manager.

    >>> with ingot.autograd.forward_ad.dual_level():
    ...     x = ingot.autograd.forward_ad.make_dual(ingot.tensor(3.0), ingot.tensor(1.0))
    ...     ingot.autograd.forward_ad.unpack_dual(x * x).tangent
    tensor(6.)
    """

    def __enter__(self) -> int:
        self._level = enter_dual_level()
        return self._level

    def __exit__(self, *exception: object) -> None:
        exit_dual_level(level=self._level)


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A tensor like `tensor` whose derivative along the direction is `tangent`."""
    if not _levels:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    if not tensor.dtype.is_floating_point and not tensor.dtype.is_complex:
        raise ValueError(f"Expected primal to be floating point or complex, but got: {tensor.dtype!r}")
    if tuple(tensor.shape) != tuple(tangent.shape) or tensor.dtype is not tangent.dtype:
        raise RuntimeError(
            f"Expected a tangent of the tensor's type {tensor.dtype!r}{list(tensor.shape)}, given "
            f"{tangent.dtype!r}{list(tangent.shape)}"
        )
    with enable_grad():
        dual: Any = tensor.clone() if tensor.requires_grad else tensor.detach().requires_grad_()  # type: ignore[attr-defined]
    _levels[-1].append((dual, tangent))
    return dual  # type: ignore[no-any-return]


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """The tensor without its direction, and its derivative along it."""
    if not _levels or not _levels[-1]:
        return UnpackedDualTensor(tensor, None)
    duals = [dual for dual, _ in _levels[-1]]
    for dual, tangent in _levels[-1]:
        if dual is tensor:
            return UnpackedDualTensor(tensor.detach(), tangent)  # type: ignore[attr-defined]
    if not tensor.requires_grad:
        return UnpackedDualTensor(tensor, None)
    return UnpackedDualTensor(tensor.detach(), along(tensor, duals, [t for _, t in _levels[-1]]))  # type: ignore[attr-defined]
