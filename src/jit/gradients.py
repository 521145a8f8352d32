"""Gradients through compiled callables: differentiated graphs where there are any, else the graph run op by op."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .errors import FallbackWarning

if TYPE_CHECKING:
    from .specialisation import Specialisation

__all__ = ["run_with_gradients"]


def run_with_gradients(specialisation: "Specialisation", tensors: Sequence[Any], executor: str) -> list[Any]:
    """The graph's results on tensors of which some require gradients, connected to them."""
    if executor != "interpreter" and specialisation.gradient_fallback is None:
        reason = "its graph has no compiled backward yet"
        specialisation.gradient_fallback = reason
        from .specialisation import _user_level

        warnings.warn(
            f"{specialisation.name} runs op by op where gradients are needed, because {reason}; "
            "inside ingot.no_grad() it runs compiled",
            FallbackWarning,
            stacklevel=_user_level(),
        )
    return specialisation.run_eagerly(tensors)
