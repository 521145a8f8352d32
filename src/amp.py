"""Mixed precision, as `torch.amp`: what a program needs to run where it is switched off, as it is here.

`autocast` with an effect does not exist: a model that is to compute in bfloat16 is converted, `model.bfloat16()`.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any

from .eager import Tensor
from .ir.dtypes import DType

__all__ = ["GradScaler", "autocast"]


class autocast:
    """A region without an effect, for programs that switch mixed precision on for GPUs.

    RuntimeError where it is asked for on the CPU, where it would have an effect.

    >>> with ingot.autocast("cuda", enabled=False):
    ...     ingot.ones(1).dtype
    ingot.float32
    """

    def __init__(
        self,
        device_type: str = "cuda",
        dtype: DType | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        if enabled and device_type == "cpu":
            raise RuntimeError(
                "autocast on the CPU is not supported: convert the model instead, as with model.bfloat16(), or pass "
                "enabled=False"
            )
        if enabled:
            warnings.warn(
                f"autocast({device_type!r}) has no effect: operations compute in the dtypes of their tensors",
                UserWarning,
                stacklevel=2,
            )

    def __enter__(self) -> "autocast":
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return call


class GradScaler:
    """Scaling of losses for float16 on GPUs; without one it passes everything through, as PyTorch's does.

    >>> scaler = ingot.amp.GradScaler()
    >>> scaler.scale(ingot.tensor(2.0)), scaler.get_scale()
    (tensor(2.), 1.0)
    """

    def __init__(self, device: str = "cuda", *, enabled: bool = True, **settings: Any) -> None:
        self._settings = settings

    def scale(self, outputs: Any) -> Any:
        """The loss, or losses, as they are."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Nothing: gradients are not scaled."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(...)`."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Nothing: there is no scale."""

    def get_scale(self) -> float:
        """The factor of losses: 1."""
        return 1.0

    def is_enabled(self) -> bool:
        """Whether losses are scaled: no."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """An empty dictionary, as that of a scaler that is switched off."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a scaler that is switched off."""
