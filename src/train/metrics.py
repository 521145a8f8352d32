"""Metrics that accumulate over batches: `update(predictions, targets)`, `compute()`, `reset()`."""

from typing import Any

import numpy as np

from ..eager.device import host_array

__all__ = ["AUROC", "F1", "Accuracy", "ConfusionMatrix", "Mean", "MeanSquaredError", "Metric", "Precision", "Recall"]


def _array(value: Any) -> np.ndarray[Any, Any]:
    return np.asarray(host_array(getattr(value, "_array", value)))


def _labels(predictions: Any, targets: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Predicted and true classes as vectors: predictions are classes like the targets, or scores with a dimension 1."""
    found, wanted = _array(predictions), _array(targets)
    if found.ndim == wanted.ndim + 1:
        found = found.argmax(1)
    elif found.dtype.kind == "f" and wanted.dtype.kind in "iub":
        found = found > 0.5
    if found.shape != wanted.shape:
        raise ValueError(
            f"expected predictions of the targets' shape {list(wanted.shape)}, or scores with one more dimension (1), "
            f"given {list(_array(predictions).shape)}"
        )
    return found.reshape(-1).astype(np.int64), wanted.reshape(-1).astype(np.int64)


class Metric:
    """What is measured over the batches of an epoch; its state can be saved and put back."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        raise NotImplementedError

    def update(self, predictions: Any, targets: Any) -> None:
        """Take a batch into account."""
        raise NotImplementedError

    def compute(self) -> Any:
        """The value over all batches since the reset."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What has been accumulated."""
        return dict(self.__dict__)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what has been accumulated."""
        self.__dict__.update(state)


class Mean(Metric):
    """The mean of numbers, by weight: `update(value, count)`."""

    def reset(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, predictions: Any, targets: Any = 1) -> None:
        self.total += float(predictions) * int(targets)
        self.count += int(targets)

    def compute(self) -> float:
        return self.total / self.count if self.count else float("nan")


class Accuracy(Metric):
    """The part of predictions that are right.

    >>> accuracy = ingot.train.Accuracy()
    >>> accuracy.update(ingot.tensor([[0.1, 0.9], [0.8, 0.2]]), ingot.tensor([1, 1]))
    >>> accuracy.compute()
    0.5
    """

    def reset(self) -> None:
        self.right, self.count = 0, 0

    def update(self, predictions: Any, targets: Any) -> None:
        found, wanted = _labels(predictions, targets)
        self.right += int((found == wanted).sum())
        self.count += len(wanted)

    def compute(self) -> float:
        return self.right / self.count if self.count else float("nan")


class ConfusionMatrix(Metric):
    """How often each class (row) was predicted to be each class (column)."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        super().__init__()

    def reset(self) -> None:
        self.matrix = np.zeros((self.num_classes, self.num_classes), np.int64)

    def update(self, predictions: Any, targets: Any) -> None:
        found, wanted = _labels(predictions, targets)
        for name, values in (("predictions", found), ("targets", wanted)):
            if values.size and not 0 <= values.min() <= values.max() < self.num_classes:
                raise ValueError(f"{name} must be classes from 0 to {self.num_classes - 1}, given {values.max()}")
        pairs = np.bincount(wanted * self.num_classes + found, minlength=self.num_classes**2)
        self.matrix = self.matrix + pairs.reshape(self.num_classes, self.num_classes)

    def compute(self) -> Any:
        return self.matrix.copy()


class _ByClass(ConfusionMatrix):
    """A number for each class from the confusion matrix, averaged.

    "macro" is the mean over the classes that occur in targets or predictions, "weighted" that by how often each is a
    target, "micro" counts all classes together, "binary" is class 1 of 2, and None gives a number for each class.
    """

    def __init__(self, num_classes: int = 2, average: str | None = "macro") -> None:
        if average not in ("macro", "micro", "weighted", "binary", None):
            raise ValueError(f"average must be 'macro', 'micro', 'weighted', 'binary' or None, given {average!r}")
        if average == "binary" and num_classes != 2:
            raise ValueError(f"average 'binary' needs 2 classes, given {num_classes}")
        self.average = average
        super().__init__(num_classes)

    def _value(self, true: Any, predicted: Any, actual: Any) -> Any:
        raise NotImplementedError

    def compute(self) -> Any:
        true, predicted, actual = np.diag(self.matrix), self.matrix.sum(0), self.matrix.sum(1)
        if self.average == "micro":
            return float(self._value(true.sum(), predicted.sum(), actual.sum()))
        values = self._value(true, predicted, actual)
        if self.average is None:
            return values
        if self.average == "binary":
            return float(values[1])
        if self.average == "weighted":
            return float((values * actual).sum() / max(actual.sum(), 1))
        occurring = (predicted + actual) > 0  # a class that is neither there nor predicted has no say
        return float(values[occurring].mean()) if occurring.any() else 0.0


def _ratio(a: Any, b: Any) -> Any:
    """a / b, 0 where b is 0."""
    return np.where(b > 0, a / np.maximum(b, 1), 0.0)


class Precision(_ByClass):
    """The part of the predictions of a class that are right; 0 for a class that is never predicted."""

    def _value(self, true: Any, predicted: Any, actual: Any) -> Any:
        return _ratio(true, predicted)


class Recall(_ByClass):
    """The part of a class that is found; 0 for a class that does not occur."""

    def _value(self, true: Any, predicted: Any, actual: Any) -> Any:
        return _ratio(true, actual)


class F1(_ByClass):
    """The harmonic mean of precision and recall."""

    def _value(self, true: Any, predicted: Any, actual: Any) -> Any:
        return _ratio(2.0 * true, predicted + actual)


class MeanSquaredError(Metric):
    """The mean of squared differences."""

    def reset(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, predictions: Any, targets: Any) -> None:
        found, wanted = _array(predictions).astype(np.float64), _array(targets).astype(np.float64)
        if found.shape != wanted.shape:
            raise ValueError(f"predictions {list(found.shape)} and targets {list(wanted.shape)} differ in shape")
        self.total += float(((found - wanted) ** 2).sum())
        self.count += found.size

    def compute(self) -> float:
        return self.total / self.count if self.count else float("nan")


class AUROC(Metric):
    """The area under the receiver operating characteristic: the chance that a positive scores above a negative.

    Scores (N,), or (N, 2), with targets 0 and 1; equal scores count half (Mann and Whitney, 1947). Scores (N, C) with
    targets below C are each class against the rest: their mean ("macro"), by how often each is a target ("weighted"),
    or one number each (None). NaN where a class is missing.
    """

    def __init__(self, average: str | None = "macro") -> None:
        if average not in ("macro", "weighted", None):
            raise ValueError(f"average must be 'macro', 'weighted' or None, given {average!r}")
        self.average = average
        super().__init__()

    def reset(self) -> None:
        self.scores: list[Any] = []
        self.targets: list[Any] = []

    def update(self, predictions: Any, targets: Any) -> None:
        scores, wanted = _array(predictions), _array(targets)
        if scores.ndim == wanted.ndim + 1:
            classes = scores.shape[1]
            if wanted.size and not 0 <= wanted.min() <= wanted.max() < classes:
                raise ValueError(f"AUROC: targets must be classes from 0 to {classes - 1}, given {wanted.max()}")
            scores = scores[:, 1] if classes == 2 else np.moveaxis(scores, 1, -1).reshape(-1, classes)
        elif scores.shape != wanted.shape:
            raise ValueError(f"AUROC: expected scores of the targets' shape {list(wanted.shape)}, given {scores.shape}")
        else:
            scores = scores.reshape(-1)
        self.scores.append(np.array(scores, np.float64))
        self.targets.append(np.array(wanted, np.int64).reshape(-1))

    def compute(self) -> Any:
        if not self.scores:
            return float("nan")
        scores, wanted = np.concatenate(self.scores), np.concatenate(self.targets)
        if scores.ndim == 1:
            return _area(scores, wanted > 0)
        areas = np.array([_area(scores[:, c], wanted == c) for c in range(scores.shape[1])])
        if self.average is None:
            return areas
        shares = np.bincount(wanted, minlength=len(areas)) if self.average == "weighted" else np.ones(len(areas))
        return float((areas * shares).sum() / shares.sum())


def _area(scores: np.ndarray[Any, Any], positive: np.ndarray[Any, Any]) -> float:
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return float("nan")
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]  # the mean rank of equal scores
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))
