"""The base of optimisers: parameter groups, state, and saving both."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..eager.modes import no_grad
from ..eager.tensor import Tensor

__all__ = ["Optimizer", "required_non_negative"]


def required_non_negative(**values: float) -> None:
    """ValueError for a hyper-parameter below 0."""
    for name, value in values.items():
        if value < 0.0:
            raise ValueError(f"Invalid {name} value: {value}: expected a number >= 0")


class Optimizer:
    """Updates parameters from their gradients; subclasses write `update(parameters, group)`.

    params: tensors, or dictionaries with "params" and options of their own (parameter groups).
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                f"params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"{type(params).__name__}"
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; ValueError for one that is in a group already."""
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
            if id(p) in known:
                raise ValueError("some parameters appear in more than one parameter group")
            known.add(id(p))
        self.param_groups.append({**self.defaults, **param_group, "params": params})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop (or zero) the gradients of all parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None:
                    p.grad = None
                else:
                    p.grad = p.grad.detach()
                    p.grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; `closure` recomputes and returns the loss first."""
        loss = closure() if closure is not None else None
        with no_grad():
            for group in self.param_groups:
                self.update([p for p in group["params"] if p.grad is not None], group)
        return loss

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        """Update these parameters (all have gradients) by the options of their group."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it updates parameters")

    def state_dict(self) -> dict[str, Any]:
        """Options and state with parameters numbered in order."""
        index = {id(p): i for i, p in enumerate(p for g in self.param_groups for p in g["params"])}
        return {
            "state": {index[id(p)]: dict(s) for p, s in self.state.items()},
            "param_groups": [
                {**{k: v for k, v in g.items() if k != "params"}, "params": [index[id(p)] for p in g["params"]]}
                for g in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over options and state; ValueError where the groups do not have the same sizes."""
        groups = state_dict["param_groups"]
        if len(groups) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        for own, saved in zip(self.param_groups, groups, strict=True):
            if len(own["params"]) != len(saved["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
                )
        numbered = {
            number: p
            for own, saved in zip(self.param_groups, groups, strict=True)
            for number, p in zip(saved["params"], own["params"], strict=True)
        }
        for own, saved in zip(self.param_groups, groups, strict=True):
            own.update({k: v for k, v in saved.items() if k != "params"})
        self.state.clear()
        for number, entries in state_dict["state"].items():
            self.state[numbered[int(number)]] = {
                k: Tensor(np.array(v._array)) if isinstance(v, Tensor) else v for k, v in entries.items()
            }

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])
