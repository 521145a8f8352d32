"""A parametrisation that keeps a matrix orthogonal."""

from typing import Any

import numpy as np

from ...eager.creation import eye, tensor, zeros_like
from ...eager.device import host_array
from ...eager.functions import call as _call
from ...eager.module import Module
from ...eager.placement import beside
from ...eager.random import randn
from .parametrize import register_parametrization

__all__ = ["orthogonal"]

_MAPS = ("matrix_exp", "cayley", "householder")


@beside
def _completed(matrix: Any) -> Any:
    """An orthogonal matrix with the same span of leading columns (uniform where the matrix is: Mezzadri, 2007)."""
    q, r = np.linalg.qr(matrix._array)
    signs = np.sign(np.diagonal(r, axis1=-2, axis2=-1))
    return tensor(q * signs[..., None, :], dtype=matrix.dtype)


class _Orthogonal(Module):
    """Maps a matrix to an orthogonal one; `base` is multiplied from the left, so that any value can be assigned."""

    base: Any

    def __init__(self, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        self.orthogonal_map = orthogonal_map
        self.use_trivialization = use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, matrix: Any) -> Any:
        rows, columns = matrix.shape[-2:]
        wide = rows < columns
        x = matrix.mT if wide else matrix
        n, k = x.shape[-2:]
        if self.orthogonal_map == "householder":
            q = self._reflections(x, n, k)
        else:
            lower = x.tril()
            if n != k:
                rest = lower.new_zeros((*lower.shape[:-1], n - k))
                lower = _call("cat", [lower, rest], -1)
            skew = lower - lower.mH
            if self.orthogonal_map == "matrix_exp":
                q = skew.matrix_exp()
            else:
                identity = eye(n, dtype=x.dtype)
                q = _call("solve", identity - 0.5 * skew, identity + 0.5 * skew)
            q = q[..., :k]
        if self.use_trivialization and self.base is not None:
            q = self.base @ q
        return q.mT if wide else q

    def _reflections(self, x: Any, n: int, k: int) -> Any:
        """The first columns of the product of k reflections, whose vectors are below the diagonal."""
        below = x.tril(diagonal=-1)
        lengths = 2.0 / (1.0 + (below * below).sum(-2))
        identity = eye(n, k, dtype=x.dtype)
        vectors = below + identity
        q = identity.expand(x.shape) if x.ndim > 2 else identity
        for i in reversed(range(k)):
            v = vectors[..., i : i + 1]
            q = q - lengths[..., None, i : i + 1] * (v @ (v.mT @ q))
        signs = x.detach().diagonal(dim1=-2, dim2=-1).trunc()
        return q * signs.unsqueeze(-2)

    def right_inverse(self, value: Any) -> Any:
        """What gives an orthogonal matrix; another matrix is made orthogonal first."""
        rows, columns = value.shape[-2:]
        wide = rows < columns
        q = value.mT if wide else value
        n, k = q.shape[-2:]
        if not self.use_trivialization:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                    "use_trivialization=False."
                )
            return self._vectors(q).mT if wide else self._vectors(q)
        if n == k:
            values = host_array(q._array)
            gram = values.conj().swapaxes(-1, -2) @ values
            near = 10.0 * n * np.finfo(q._array.dtype).eps
            full = q.clone() if np.abs(gram - np.eye(n)).max(initial=0) < near else _completed(q)
        else:
            full = _completed(_call("cat", [q, randn((*q.shape[:-1], n - k), dtype=q.dtype, device=q.device)], -1))
        self.base = full.detach()
        start = zeros_like(value)
        start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
        return start

    def _vectors(self, q: Any) -> Any:
        """The vectors of the reflections whose product is the orthogonal factor of a matrix."""
        array = host_array(q._array)
        flat = array.reshape(-1, *array.shape[-2:])
        found = np.stack([np.linalg.qr(matrix, mode="raw")[0].T for matrix in flat]).reshape(array.shape)
        diagonal = np.arange(array.shape[-1])
        entries = found[..., diagonal, diagonal]
        found[..., diagonal, diagonal] = np.where(entries < 0, -1.0, 1.0)
        return tensor(found, dtype=q.dtype, device=q.device)


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """Keep a weight orthogonal: Q.T @ Q = I, or Q @ Q.T = I where it is wide (Lezcano-Casado, 2019).

    orthogonal_map: "matrix_exp", "cayley" or "householder". With `use_trivialization` any orthogonal matrix can be
    assigned.

    >>> layer = ingot.nn.utils.parametrizations.orthogonal(ingot.nn.Linear(3, 3))
    >>> bool(ingot.allclose(layer.weight.mT @ layer.weight, ingot.eye(3), atol=1e-5))
    True
    """
    weight = getattr(module, name, None)
    if weight is None or not hasattr(weight, "_array"):
        raise ValueError(f"Module '{type(module).__name__}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square or weight.dtype.is_complex else "householder"
    if orthogonal_map not in _MAPS:
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    if orthogonal_map == "householder" and weight.dtype.is_complex:
        raise ValueError("The householder parametrization does not support complex tensors.")
    return register_parametrization(module, name, _Orthogonal(orthogonal_map, use_trivialization), unsafe=True)
