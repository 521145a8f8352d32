"""Losses over many classes: adaptive softmax with clusters of rare classes, and cross entropy of a linear layer."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..eager.functions import call as _call
from ..eager.tensor import Tensor
from . import functional as F
from .containers import ModuleList, Sequential
from .layers import Linear
from .loss import _WeightedLoss
from .module import Module

__all__ = ["AdaptiveLogSoftmaxWithLoss", "LinearCrossEntropyLoss"]


class ASMOutput(NamedTuple):
    """The log-probability of each target, and the mean of their negatives."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Softmax over classes in order of frequency: rare ones share an entry of the head (Grave et al., 2017).

    Classes below `cutoffs[0]` are in the head itself; those of the i-th cluster, from `cutoffs[i]` on, are scored
    through in_features / div_value**(i + 1) features. (N, in_features), (N,) -> output (N,), loss.

    >>> softmax = ingot.nn.AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs=[5, 10])
    >>> ingot.allclose(softmax.log_prob(ingot.ones(3, 8)).exp().sum(1), ingot.ones(3))
    True
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        ends = list(cutoffs)
        if not ends:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            any(int(c) != c for c in ends)
            or any(a >= b for a, b in itertools.pairwise(ends))
            or ends[0] <= 0
            or ends[-1] > n_classes - 1
        ):
            raise ValueError(
                f"cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each "
                f"value is between 1 and n_classes-1, given {ends} for {n_classes} classes"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*ends, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = ends[0]
        self.n_clusters = len(ends)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, device=device, dtype=dtype)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(itertools.pairwise(self.cutoffs)):
            hidden = int(in_features // div_value ** (i + 1))
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, bias=False, device=device, dtype=dtype),
                    Linear(hidden, high - low, bias=False, device=device, dtype=dtype),
                )
            )

    def reset_parameters(self) -> None:
        """Draw new weights."""
        for module in self.modules():
            if isinstance(module, Linear):
                module.reset_parameters()

    def forward(self, input: Any, target: Any) -> ASMOutput:
        if target.ndim > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if input.ndim != target.ndim + 1:
            raise RuntimeError(
                f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found inputs with size "
                f"{list(input.shape)}"
            )
        if target.ndim == 1 and input.shape[0] != target.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        x, wanted = (input, target) if target.ndim else (input.unsqueeze(0), target.unsqueeze(0))
        values = wanted._array
        if values.size and not 0 <= values.min() <= values.max() < self.n_classes:
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range [{values.min()}, "
                f"{values.max()}] were found. "
            )
        in_head = wanted
        parts = []
        for i, (low, high) in enumerate(itertools.pairwise(self.cutoffs)):
            inside = (wanted >= low) & (wanted < high)
            in_head = _call("where", inside, self.shortlist_size + i, in_head)
            rows = inside.nonzero().squeeze(1)
            if rows.numel():
                scores = self.tail[i](x.index_select(0, rows)).log_softmax(1)
                within = (wanted.index_select(0, rows) - low).unsqueeze(1)
                parts.append((rows, scores.gather(1, within).squeeze(1)))
        output = self.head(x).log_softmax(1).gather(1, in_head.unsqueeze(1)).squeeze(1)
        for rows, scores in parts:
            output = output.index_add(0, rows, scores)
        loss = (-output).mean()
        return ASMOutput(output if target.ndim else output.squeeze(0), loss)

    def log_prob(self, input: Any) -> Tensor:
        """The log-probabilities of all classes: (N, in_features) -> (N, n_classes)."""
        head = self.head(input).log_softmax(1)
        size = self.shortlist_size
        parts = [head[:, :size]]
        for i, cluster in enumerate(self.tail):
            parts.append(cluster(input).log_softmax(1) + head[:, size + i].unsqueeze(1))
        return _call("cat", parts, 1)  # type: ignore[no-any-return]

    def predict(self, input: Any) -> Tensor:
        """The class with the largest probability: (N, in_features) -> (N,)."""
        best = self.head(input).argmax(1)
        if bool((best < self.shortlist_size).all()):
            return best  # type: ignore[no-any-return]
        return _call("where", best < self.shortlist_size, best, self.log_prob(input).argmax(1))  # type: ignore[no-any-return]


class LinearCrossEntropyLoss(_WeightedLoss):
    """Cross entropy of a linear layer's outputs, which is part of the loss: (N, in_features), (N,) -> loss.

    `options` say how PyTorch may save memory; the result does not depend on them.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
    ) -> None:
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise RuntimeError(f"expected weight shape to be {(num_classes,)}, got {tuple(weight.shape)}")
        if not 0.0 <= label_smoothing <= 1.0:
            raise RuntimeError(f"expected label_smoothing to be in range [0, 1], got {label_smoothing}")
        super().__init__(weight, reduction=reduction)
        self.num_classes = num_classes
        self.out_features = tuple(out_features)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.options = options
        outputs = math.prod(self.out_features, start=num_classes)
        self.linear = Linear(in_features, outputs, bias=bias, device=device, dtype=dtype)

    def forward(self, input: Any, target: Any) -> Tensor:
        weight: Any = self.linear.weight
        return F.linear_cross_entropy(  # type: ignore[no-any-return]
            input,
            weight.reshape(self.num_classes, *self.out_features, self.linear.in_features),
            target,
            linear_bias=self.linear.bias,
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, "
            f"out_features={self.out_features}, bias={self.linear.bias is not None}, reduction={self.reduction}, "
            f"ignore_index={self.ignore_index}, label_smoothing={self.label_smoothing}, options={self.options}"
        )
