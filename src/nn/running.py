"""What batch and instance normalisation share: running statistics, and the states that were saved without them."""

from typing import Any

from ..eager.creation import ones, tensor, zeros
from .module import Module

__all__ = ["RunningStatistics", "reset_affine"]


def reset_affine(module: Any) -> None:
    """Set a normalisation's weight to 1 and its bias to 0."""
    for name, value in (("weight", 1), ("bias", 0)):
        parameter = module._parameters.get(name)
        if parameter is not None:
            parameter.detach().fill_(value)


class RunningStatistics(Module):
    """A normalisation that may keep the mean and the variance of what it has seen."""

    # 2: the state holds num_batches_tracked.
    _version = 2
    num_features: int
    track_running_stats: bool

    def register_running(self, dtype: Any, device: Any = None) -> None:
        """Add the buffers, None where nothing is tracked."""
        tracked, n = self.track_running_stats, self.num_features
        self.register_buffer("running_mean", zeros(n, dtype=dtype, device=device) if tracked else None)
        self.register_buffer("running_var", ones(n, dtype=dtype, device=device) if tracked else None)
        self.register_buffer("num_batches_tracked", tensor(0, device=device) if tracked else None)

    def reset_running_stats(self) -> None:
        """Forget what was seen."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Forget what was seen; weights of 1 and biases of 0."""
        self.reset_running_stats()
        reset_affine(self)

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: dict[str, Any], *further: Any
    ) -> None:
        version = local_metadata.get("version")
        key = prefix + "num_batches_tracked"
        if (version is None or version < 2) and self.track_running_stats and key not in state_dict:
            own = self.num_batches_tracked
            state_dict[key] = tensor(0) if own is None else own.detach()
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *further)
