"""Averages of weights: exponential moving averages, and stochastic weight averaging (Izmailov et al., 2018)."""

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

from ..eager.creation import tensor
from ..eager.modes import no_grad
from ..eager.module import Module
from .optimizer import Optimizer
from .scheduler import LRScheduler, per_group

__all__ = [
    "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn",
    "update_bn",
]  # fmt: skip


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], Any]:
    """An average where the newest weights count for 1 - decay."""
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")

    def average(averaged: Any, current: Any, count: Any) -> Any:
        return averaged * decay + current * (1 - decay)

    return average


def get_swa_avg_fn() -> Callable[[Any, Any, Any], Any]:
    """An average where all weights count the same."""

    def average(averaged: Any, current: Any, count: Any) -> Any:
        return averaged + (current - averaged) / (count + 1)

    return average


def _over_lists(average: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], None]:
    """An average of two tensors as one of two lists of them, which changes the first."""

    def average_all(averaged: Any, current: Any, count: Any) -> None:
        with no_grad():
            for own, newest in zip(averaged, current, strict=True):
                own.copy_(average(own.detach(), newest.detach(), count) if own.dtype.is_floating_point else newest)

    return average_all


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], None]:
    """`get_ema_avg_fn` over lists of tensors, for `multi_avg_fn`."""
    return _over_lists(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> Callable[[Any, Any, Any], None]:
    """`get_swa_avg_fn` over lists of tensors, for `multi_avg_fn`."""
    return _over_lists(get_swa_avg_fn())


class AveragedModel(Module):
    """A copy of a model that keeps an average of its parameters: call `update_parameters(model)` after each step.

    `use_buffers` averages the buffers too, which are copied otherwise.

    >>> model = ingot.nn.Linear(1, 1)
    >>> averaged = ingot.optim.swa_utils.AveragedModel(model)
    >>> averaged.update_parameters(model)
    >>> int(averaged.n_averaged)
    1
    """

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable[[Any, Any, Any], Any] | None = None,
        multi_avg_fn: Any = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", tensor(0))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the model's weights into the average."""
        count = int(self.n_averaged)
        own: list[Any] = list(self.module.parameters())
        others: list[Any] = list(model.parameters())
        if self.use_buffers:
            own += list(self.module.buffers())
            others += list(model.buffers())
        average = self.multi_avg_fn or _over_lists(self.avg_fn or get_swa_avg_fn())
        with no_grad():
            if count == 0:
                for averaged, current in zip(own, others, strict=True):
                    averaged.copy_(current)
            else:
                average(own, others, self.n_averaged)
            if not self.use_buffers:
                for buffer, newest in zip(self.module.buffers(), model.buffers(), strict=True):
                    buffer.copy_(newest)
            self.n_averaged.add_(1)


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Set the running statistics of batch norms to the average over the batches of a loader."""
    momenta = {m: m.momentum for m in model.modules() if hasattr(m, "running_mean") and hasattr(m, "momentum")}
    momenta = {m: momentum for m, momentum in momenta.items() if m.running_mean is not None}
    if not momenta:
        return
    was_training = model.training
    model.train()
    for m in momenta:
        m.running_mean.zero_()
        m.running_var.fill_(1.0)
        m.num_batches_tracked.zero_()
        m.momentum = None
    with no_grad():
        for batch in loader:
            model(batch[0] if isinstance(batch, (list, tuple)) else batch)
    for m, momentum in momenta.items():
        m.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """The rate goes to `swa_lr` within `anneal_epochs` epochs and stays there."""

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        for rate, group in zip(per_group(swa_lr, optimizer, "swa_lr"), optimizer.param_groups, strict=True):
            group["swa_lr"] = rate
        self.anneal_epochs = anneal_epochs
        self._anneal_strategy = anneal_strategy
        super().__init__(optimizer, last_epoch)

    def _weight(self, part: float) -> float:
        return (1 - math.cos(math.pi * part)) / 2 if self._anneal_strategy == "cos" else part

    def get_lr(self) -> list[float]:
        step = self.last_epoch
        length = max(1, self.anneal_epochs)
        before = self._weight(max(0, min(1, (step - 1) / length)))
        now = self._weight(max(0, min(1, step / length)))
        rates = []
        for group in self.optimizer.param_groups:
            # What the rate was at first, from what it is: so that it can be changed by others in between.
            start = group["swa_lr"] if before == 1 else (group["lr"] - before * group["swa_lr"]) / (1 - before)
            rates.append(group["swa_lr"] * now + start * (1 - now))
        return rates
