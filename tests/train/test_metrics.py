"""Metrics over several batches, against their definitions."""

import math

import ingot
import numpy as np
import pytest
from ingot import train


def test_classes_by_confusion_matrix() -> None:
    found, wanted = [0, 2, 1, 1, 0, 2, 2], [0, 1, 1, 1, 2, 2, 2]
    made = {
        "accuracy": train.Accuracy(),
        "matrix": train.ConfusionMatrix(3),
        "precision": train.Precision(3, average=None),
        "recall": train.Recall(3),
        "f1": train.F1(3, average="micro"),
        "weighted": train.F1(3, average="weighted"),
    }
    for part in (slice(0, 3), slice(3, 7), slice(7, 7)):
        for metric in made.values():
            metric.update(ingot.tensor(found[part], dtype=ingot.int64), ingot.tensor(wanted[part], dtype=ingot.int64))
    assert made["accuracy"].compute() == pytest.approx(5 / 7)
    assert made["matrix"].compute().tolist() == [[1, 0, 0], [0, 2, 1], [1, 0, 2]]
    np.testing.assert_allclose(made["precision"].compute(), [1 / 2, 1, 2 / 3])
    assert made["recall"].compute() == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert made["f1"].compute() == pytest.approx(5 / 7)
    assert made["weighted"].compute() == pytest.approx((1 * 2 / 3 + 3 * 4 / 5 + 3 * 2 / 3) / 7)
    made["matrix"].reset()
    assert made["matrix"].compute().sum() == 0


def test_area_under_the_curve_counts_pairs() -> None:
    scores, wanted = [0.1, 0.4, 0.35, 0.8, 0.4], [0, 0, 1, 1, 1]
    auroc = train.AUROC()
    assert math.isnan(auroc.compute())
    auroc.update(ingot.tensor(scores[:2]), ingot.tensor(wanted[:2]))
    assert math.isnan(auroc.compute())
    auroc.update(ingot.tensor(scores[2:]), ingot.tensor(wanted[2:]))
    pairs = [(p > n) + 0.5 * (p == n) for p in (0.35, 0.8, 0.4) for n in (0.1, 0.4)]
    assert auroc.compute() == pytest.approx(sum(pairs) / 6)


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_are_those_of_scikit_learn(classes: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="compared with scikit-learn")
    draws = np.random.default_rng(0)
    scores, wanted = draws.random((90, classes)), draws.integers(0, classes, 90)
    scores /= scores.sum(1, keepdims=True)
    wanted[wanted == 1] = 0 if classes > 2 else 1  # a class that is never a target
    found = scores.argmax(1)
    for made, reference in (
        (train.Precision, sklearn.precision_score),
        (train.Recall, sklearn.recall_score),
        (train.F1, sklearn.f1_score),
    ):
        for average in ("macro", "micro", "weighted"):
            metric = made(classes + 1, average=average)  # and one that is not even predicted
            for at in range(0, 90, 20):
                metric.update(ingot.tensor(scores[at : at + 20]), ingot.tensor(wanted[at : at + 20]))
            assert metric.compute() == pytest.approx(reference(wanted, found, average=average, zero_division=0))
    wanted = np.arange(90) % classes
    for average in ("macro", "weighted"):
        auroc = train.AUROC(average)
        auroc.update(ingot.tensor(scores[:50]), ingot.tensor(wanted[:50]))
        auroc.update(ingot.tensor(scores[50:]), ingot.tensor(wanted[50:]))
        given = scores[:, 1] if classes == 2 else scores
        assert auroc.compute() == pytest.approx(
            sklearn.roc_auc_score(wanted, given, multi_class="ovr", average=average)
        )


def test_mean_squared_error_and_mean() -> None:
    error = train.MeanSquaredError()
    error.update(ingot.tensor([1.0, 2.0]), ingot.tensor([0.0, 4.0]))
    error.update(ingot.tensor([1.0]), ingot.tensor([1.0]))
    assert error.compute() == pytest.approx(5 / 3)
    mean = train.Mean()
    mean.update(1.0, 3)
    mean.update(5.0)
    assert mean.compute() == 2.0


def test_a_state_can_be_put_back() -> None:
    first, second = train.AUROC(), train.AUROC()
    first.update(ingot.tensor([0.1, 0.9]), ingot.tensor([0, 1]))
    second.load_state_dict(first.state_dict())
    assert second.compute() == 1.0


def test_shapes_and_classes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="shape"):
        train.Accuracy().update(ingot.ones(2), ingot.ones(3))
    with pytest.raises(ValueError, match="from 0 to 1"):
        train.ConfusionMatrix(2).update(ingot.tensor([2]), ingot.tensor([0]))
    with pytest.raises(ValueError, match="average"):
        train.F1(2, average="mean")
    with pytest.raises(ValueError, match="differ in shape"):
        train.MeanSquaredError().update(ingot.ones(2, 1), ingot.ones(2))
