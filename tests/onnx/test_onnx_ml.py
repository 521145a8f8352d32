"""The ai.onnx.ml operators against scikit-learn: models put together from fitted estimators by hand."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the onnx package is an extra: pip install 'ingot[onnx]'")
pytest.importorskip("sklearn", reason="scikit-learn is an extra: pip install 'ingot[test]'")

import ingot
from ingot import jit
from ingot.onnx import OnnxError, load
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression

from onnx import helper


def model(nodes: list[Any], outputs: dict[str, int]) -> Any:
    graph = helper.make_graph(
        nodes,
        "pipeline",
        [helper.make_tensor_value_info("x", 1, ["n", 4])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets)


def rounded_down(threshold: float) -> float:
    """The largest float32 that is not above: float32 features compare with it as with the threshold itself."""
    near = np.float32(threshold)
    return float(near if near <= threshold else np.nextafter(near, np.float32(-np.inf)))


def forest_attributes(estimators: list[Any], prefix: str, scale: float) -> dict[str, list[Any]]:
    """The trees of fitted estimators as the attributes of a TreeEnsemble operator."""
    columns = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    found: dict[str, list[Any]] = {f"nodes_{c}": [] for c in columns}
    found |= {f"{prefix}_{c}": [] for c in ("treeids", "nodeids", "ids", "weights")}
    for number, estimator in enumerate(estimators):
        tree = estimator.tree_
        for k in range(tree.node_count):
            leaf = tree.children_left[k] < 0
            row = (number, k, 0 if leaf else int(tree.feature[k]), 0.0 if leaf else rounded_down(tree.threshold[k]),
                   "LEAF" if leaf else "BRANCH_LEQ", 0 if leaf else int(tree.children_left[k]),
                   0 if leaf else int(tree.children_right[k]))  # fmt: skip
            for column, value in zip(columns, row, strict=True):
                found[f"nodes_{column}"].append(value)
            for column, weight in enumerate(tree.value[k][0]) if leaf else ():
                for name, value in (("treeids", number), ("nodeids", k), ("ids", column), ("weights", weight * scale)):
                    found[f"{prefix}_{name}"].append(value)
    return found


@pytest.fixture(scope="module")
def iris() -> tuple[Any, Any]:
    x, y = load_iris(return_X_y=True)
    return x.astype(np.float32), y


def test_a_scaled_linear_classifier(iris: tuple[Any, Any]) -> None:
    x, y = iris
    mean, spread = x.mean(0), x.std(0)
    fitted = LogisticRegression(max_iter=200).fit((x - mean) / spread, y)
    scale = helper.make_node("Scaler", ["x"], ["s"], domain="ai.onnx.ml", offset=mean, scale=1 / spread)
    classify = helper.make_node(
        "LinearClassifier", ["s"], ["label", "scores"], domain="ai.onnx.ml", post_transform="SOFTMAX",
        classlabels_ints=[0, 1, 2], intercepts=fitted.intercept_, coefficients=fitted.coef_.reshape(-1),
    )  # fmt: skip
    loaded = load(model([scale, classify], {"label": 7, "scores": 1}))
    with jit.executor("interpreter"):
        label, scores = loaded(ingot.from_numpy(x))
    np.testing.assert_array_equal(label.numpy(), fitted.predict((x - mean) / spread))
    np.testing.assert_allclose(scores.numpy(), fitted.predict_proba((x - mean) / spread), atol=1e-5)


@pytest.mark.parametrize("executor", ["interpreter", "native"])
def test_a_random_forest(iris: tuple[Any, Any], executor: str) -> None:
    x, y = iris
    fitted = RandomForestClassifier(4, max_depth=4, random_state=0).fit(x, y)
    attributes = forest_attributes(fitted.estimators_, "class", 1 / 4)
    node = helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2],
        **attributes,
    )  # fmt: skip
    loaded = load(model([node], {"label": 7, "scores": 1}))
    with jit.executor(executor):
        for part in (x, x[:7]):
            label, scores = loaded(ingot.from_numpy(part))
            np.testing.assert_array_equal(label.numpy(), fitted.predict(part))
            np.testing.assert_allclose(scores.numpy(), fitted.predict_proba(part), atol=1e-6)
    assert len(loaded.specialisations) == 1


def test_a_forest_of_regression_trees(iris: tuple[Any, Any]) -> None:
    x, _ = iris
    target = x @ np.float32([1, -2, 0.5, 3])
    fitted = RandomForestRegressor(3, max_depth=5, random_state=0).fit(x, target)
    attributes = forest_attributes(fitted.estimators_, "target", 1 / 3)
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **attributes)
    with jit.executor("interpreter"):
        result = load(model([node], {"y": 1}))(ingot.from_numpy(x))
    np.testing.assert_allclose(result.numpy()[:, 0], fitted.predict(x), rtol=1e-5)


@pytest.mark.parametrize(
    ("norm", "order"), [("MAX", np.inf), ("L1", 1), ("L2", 2)]
)  # the norm by which rows are divided; rows of zeros stay
def test_normalizer(norm: str, order: float) -> None:
    x = np.array([[1, -2, 3, 4], [0, 0, 0, 0]], np.float32)
    node = helper.make_node("Normalizer", ["x"], ["y"], domain="ai.onnx.ml", norm=norm)
    with jit.executor("interpreter"):
        result = load(model([node], {"y": 1}))(ingot.from_numpy(x)).numpy()
    np.testing.assert_allclose(result[0], x[0] / np.linalg.norm(x[0], order), rtol=1e-6)
    assert not result[1].any()


def test_damaged_trees_are_refused(iris: tuple[Any, Any]) -> None:
    x, y = iris
    fitted = RandomForestRegressor(1, max_depth=2, random_state=0).fit(x, y)
    for change, message in (
        ({"nodes_truenodeids": 99}, "has no node 99"),
        ({"nodes_truenodeids": 0}, "cycle"),
        ({"nodes_modes": "BRANCH_MAYBE"}, "unknown mode 'BRANCH_MAYBE'"),
        ({"target_ids": 5}, "a weight is for a node or column that is not there"),
    ):
        attributes = forest_attributes(fitted.estimators_, "target", 1.0)
        for name, value in change.items():
            attributes[name][0] = value
        node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **attributes)
        with pytest.raises(OnnxError, match=f"pipeline:1:1: TreeEnsembleRegressor: .*{message}"):
            load(model([node], {"y": 1}))(ingot.from_numpy(x))
