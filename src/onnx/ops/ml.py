"""The ai.onnx.ml operators that scikit-learn pipelines need: linear models, trees, scaling."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir import dtypes
from ...ir.ops._op import F
from ..registry import op

_ML = "ai.onnx.ml"


def _floats(x: Any) -> Any:
    """The input as the floats that models are fitted on."""
    return x if x.dtype in (dtypes.float32, dtypes.float64) else F.cast(x, dtype=dtypes.float32)


def _transformed(node: Any, scores: Any, transform: str | None = None) -> Any:
    """Scores after a transform, which the attribute `post_transform` names where it is not given."""
    match transform or node.attribute("post_transform", "NONE"):
        case "NONE":
            return scores
        case "LOGISTIC":
            return F.sigmoid(scores)
        case "SOFTMAX":
            return F.softmax(scores, 1)
        case "SOFTMAX_ZERO":
            # A softmax over the scores other than 0; those stay 0.
            zero = F.eq(scores, 0)
            weights = F.where(zero, scores, F.exp(F.sub(scores, F.amax(scores, (1,), True))))
            return F.div(weights, F.sum(weights, (1,), True))
        case "PROBIT":
            return F.mul(F.erfinv(F.sub(F.mul(scores, 2), 1)), 2**0.5)
        case other:
            raise node.error(f"{node.op_type}: unknown post_transform {other!r}")


def _classes(node: Any) -> np.ndarray[Any, Any]:
    labels = node.attribute("classlabels_int64s", None) or node.attribute("classlabels_ints", None)
    if not labels:
        raise node.error(f"{node.op_type}: only classes that are integers are supported, not strings")
    return np.array(labels, np.int64)


@op("Scaler", domain=_ML)
def scaler(node: Any, x: Any) -> Any:
    x = F.cast(x, dtype=dtypes.float32)
    offset, scale = (node.constant(node.attribute(n), dtypes.float32) for n in ("offset", "scale"))
    return F.mul(F.sub(x, offset), scale)


@op("Binarizer", domain=_ML)
def binarizer(node: Any, x: Any) -> Any:
    return F.cast(F.gt(x, node.attribute("threshold", 0.0)), dtype=x.dtype)


@op("ArrayFeatureExtractor", domain=_ML)
def array_feature_extractor(node: Any, x: Any, indices: Any) -> Any:
    result = F.index_select(x, x.ndim - 1, F.reshape(F.cast(indices, dtype=dtypes.int64), (-1,)))
    return F.unsqueeze(result, 0) if x.ndim == 1 else result


@op("Normalizer", domain=_ML)
def normalizer(node: Any, x: Any) -> Any:
    x = F.cast(x, dtype=dtypes.float32)
    size = F.abs(x)
    match node.attribute("norm", "MAX"):
        case "MAX":
            norm = F.amax(size, (1,), True)
        case "L1":
            norm = F.sum(size, (1,), True)
        case "L2":
            norm = F.sqrt(F.sum(F.mul(x, x), (1,), True))
        case other:
            raise node.error(f"Normalizer: unknown norm {other!r}")
    return F.where(F.eq(norm, 0), x, F.div(x, norm))


@op("Imputer", domain=_ML)
def imputer(node: Any, x: Any) -> Any:
    kind = "float" if x.dtype.is_floating_point else "int64"
    values = node.constant(node.attribute(f"imputed_value_{kind}s"), x.dtype)
    replaced = node.attribute(f"replaced_value_{kind}", float("nan") if kind == "float" else 0)
    missing = F.isnan(x) if replaced != replaced else F.eq(x, replaced)
    return F.where(missing, values, x)


@op("LinearRegressor", domain=_ML)
def linear_regressor(node: Any, x: Any) -> Any:
    x = F.cast(x, dtype=dtypes.float32)
    return _transformed(node, _linear(node, x, node.attribute("targets", 1)))


def _linear(node: Any, x: Any, rows: int) -> Any:
    weights = np.array(node.attribute("coefficients"), np.float32).reshape(rows, -1)
    scores = F.matmul(x, node.constant(np.ascontiguousarray(weights.T)))
    offsets = node.attribute("intercepts", None)
    return scores if offsets is None else F.add(scores, node.constant(offsets, dtypes.float32))


@op("LinearClassifier", domain=_ML)
def linear_classifier(node: Any, x: Any) -> Any:
    classes = _classes(node)
    x = F.cast(x, dtype=dtypes.float32)
    rows = len(node.attribute("coefficients")) // node.fix(x.shape[1])
    scores = _linear(node, x, rows)
    if rows == 1 and len(classes) == 2:
        scores = F.cat((F.neg(scores), scores), 1)
    scores = _transformed(node, scores)
    if len(classes) == 1:
        bound = 0 if node.attribute("post_transform", "NONE") == "NONE" else 0.5
        first = F.full((), int(classes[0]), dtype=dtypes.int64)
        return F.reshape(F.where(F.ge(scores, bound), first, F.full((), 0, dtype=dtypes.int64)), (-1,)), scores
    return F.index_select(node.constant(classes), 0, F.argmax(scores, 1)), scores


# -- trees -------------------------------------------------------------------------------------------------------------

_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
_COMPARISONS = ("le", "lt", "ge", "gt", "eq", "ne")
_MEMBER = 6  # a test for membership in a set


@dataclass
class _Trees:
    """All trees as one table of nodes: leaves lead to themselves, so that all rows take the same number of steps."""

    features: np.ndarray[Any, Any]
    values: np.ndarray[Any, Any]
    modes: np.ndarray[Any, Any]  # positions in _MODES
    yes: np.ndarray[Any, Any]
    no: np.ndarray[Any, Any]
    missing: np.ndarray[Any, Any]  # whether NaN counts as true
    roots: np.ndarray[Any, Any]
    members: np.ndarray[Any, Any] | None = None  # the sets that nodes of mode _MEMBER test, a row for each inner node

    def depth(self, node: Any) -> int:
        """The number of steps from the roots to the deepest leaf."""
        level, depth = set(self.roots.tolist()), 0
        while True:
            level = {int(side[n]) for n in level for side in (self.yes, self.no) if int(side[n]) != n}
            if not level:
                return depth
            depth += 1
            if depth > len(self.features):
                raise node.error(f"{node.op_type}: the nodes of a tree form a cycle")

    def leaves(self, node: Any, x: Any) -> Any:
        """For every row the leaf that it ends at in every tree, as [row, tree]."""
        tables = {
            name: node.constant(getattr(self, name)) for name in ("features", "values", "yes", "no", "modes", "missing")
        }
        present = sorted(set(self.modes[self.yes != np.arange(len(self.yes))].tolist()))
        place = F.expand(node.constant(self.roots.reshape(1, -1)), (x.shape[0], len(self.roots)))

        def at(name: str) -> Any:
            return F.index(tables[name], (place,), spec=("tensor",))

        for _ in range(self.depth(node)):
            value, bound = F.gather(x, 1, at("features")), at("values")
            goes = None
            for mode in present:
                answer = self._answer(node, mode, value, bound, place)
                goes = answer if goes is None else F.where(F.eq(at("modes"), mode), answer, goes)
            if self.missing.any():
                goes = F.logical_or(goes, F.logical_and(F.isnan(value), at("missing")))
            place = F.where(goes, at("yes"), at("no"))
        return place

    def _answer(self, node: Any, mode: int, value: Any, bound: Any, place: Any) -> Any:
        """Whether the test of a mode holds."""
        if mode != _MEMBER:
            return getattr(F, _COMPARISONS[mode])(value, bound)
        assert self.members is not None
        rows = np.concatenate(
            [self.members, np.full((len(self.yes) - len(self.members), self.members.shape[1]), np.nan)]
        )
        sets = F.index(node.constant(rows, value.dtype), (place,), spec=("tensor",))
        equal = F.eq(F.unsqueeze(value, 2), sets)
        return F.gt(F.sum(F.cast(equal, dtype=dtypes.int64), (2,)), 0)


def _trees(node: Any, dtype: Any) -> tuple[_Trees, dict[tuple[int, int], int]]:
    """The trees of an operator's attributes, and the position of each node by tree and number in it."""
    keys = list(zip(node.attribute("nodes_treeids"), node.attribute("nodes_nodeids"), strict=True))
    places = {key: i for i, key in enumerate(keys)}
    if len(places) != len(keys):
        raise node.error(f"{node.op_type}: a node of a tree is given twice")
    modes = node.attribute("nodes_modes")
    given = node.attribute("nodes_values_as_tensor", None)
    values = np.array(node.attribute("nodes_values") if given is None else given, dtype.numpy)
    count = len(keys)
    own = np.arange(count)

    def sides(name: str) -> np.ndarray[Any, Any]:
        targets = [(tree, n) for (tree, _), n in zip(keys, node.attribute(name), strict=True)]
        for k, target in enumerate(targets):
            if modes[k] != "LEAF" and target not in places:
                raise node.error(f"{node.op_type}: the tree {target[0]} has no node {target[1]}")
            if modes[k] != "LEAF" and places[target] == k:
                raise node.error(f"{node.op_type}: the nodes of a tree form a cycle: {target[1]} leads to itself")
        return np.array([k if modes[k] == "LEAF" else places[t] for k, t in enumerate(targets)], np.int64)

    unknown = sorted(set(modes) - {*_MODES, "LEAF"})
    if unknown:
        raise node.error(f"{node.op_type}: unknown mode {unknown[0]!r}")
    numbers = np.array([0 if m == "LEAF" else _MODES.index(m) for m in modes], np.int64)
    yes, no = sides("nodes_truenodeids"), sides("nodes_falsenodeids")
    tracked = node.attribute("nodes_missing_value_tracks_true", None) or (0,) * count
    reached = {int(n) for side in (yes, no) for k, n in enumerate(side) if n != own[k]}
    roots = np.array([k for k in range(count) if k not in reached], np.int64)
    features = np.array(node.attribute("nodes_featureids"), np.int64)
    return _Trees(features, values, numbers, yes, no, np.array(tracked, np.bool_), roots), places


def _weights(node: Any, prefix: str, places: dict[tuple[int, int], int], columns: int, dtype: Any) -> Any:
    """What every node adds to every target or class, as [node, column]."""
    given = node.attribute(f"{prefix}_weights_as_tensor", None)
    weights = node.attribute(f"{prefix}_weights") if given is None else given
    table = np.zeros((len(places), columns), dtype.numpy)
    trees, nodes, ids = (node.attribute(f"{prefix}_{n}") for n in ("treeids", "nodeids", "ids"))
    for tree, number, column, weight in zip(trees, nodes, ids, weights, strict=True):
        if (tree, number) not in places or not 0 <= column < columns:
            raise node.error(f"{node.op_type}: a weight is for a node or column that is not there")
        table[places[tree, number], column] += weight
    return table


def _base(node: Any, scores: Any) -> Any:
    given = node.attribute("base_values", None) or node.attribute("base_values_as_tensor", None)
    return scores if given is None else F.add(scores, node.constant(given, scores.dtype))


@op("TreeEnsembleRegressor", domain=_ML)
def tree_ensemble_regressor(node: Any, x: Any) -> Any:
    x = _floats(x)
    trees, places = _trees(node, x.dtype)
    table = _weights(node, "target", places, node.attribute("n_targets", 1), x.dtype)
    parts = F.index(node.constant(table), (trees.leaves(node, x),), spec=("tensor",))
    match node.attribute("aggregate_function", "SUM"):
        case "SUM":
            scores = F.sum(parts, (1,))
        case "AVERAGE":
            scores = F.div(F.sum(parts, (1,)), len(trees.roots))
        case "MIN":
            scores = F.amin(parts, (1,), False)
        case "MAX":
            scores = F.amax(parts, (1,), False)
        case other:
            raise node.error(f"{node.op_type}: unknown aggregate_function {other!r}")
    return F.cast(_transformed(node, _base(node, scores)), dtype=dtypes.float32)


@op("TreeEnsembleClassifier", domain=_ML)
def tree_ensemble_classifier(node: Any, x: Any) -> Any:
    classes = _classes(node)
    x = _floats(x)
    trees, places = _trees(node, x.dtype)
    used = sorted(set(node.attribute("class_ids")))
    table = _weights(node, "class", places, max(len(classes), used[-1] + 1), x.dtype)
    if len(used) == 1 and len(classes) == 2:
        table = table[:, used]  # the score of one class, from which the other's follows
    parts = F.index(node.constant(table), (trees.leaves(node, x),), spec=("tensor",))
    scores = _base(node, F.sum(parts, (1,)))
    if scores.shape[1] == 1 and len(classes) == 2:
        plain = node.attribute("post_transform", "NONE") in ("NONE", "PROBIT")
        scores = F.cat((F.sub(1.0, scores) if plain else F.neg(scores), scores), 1)
    scores = F.cast(_transformed(node, scores), dtype=dtypes.float32)
    return F.index_select(node.constant(classes), 0, F.argmax(scores, 1)), scores


@op("TreeEnsemble", domain=_ML)
def tree_ensemble(node: Any, x: Any) -> Any:
    """Trees whose inner nodes and leaves are separate tables; a node may test membership in a set."""
    modes = np.asarray(node.attribute("nodes_modes"), np.int64).reshape(-1)
    splits = np.asarray(node.attribute("nodes_splits"))
    weights = np.asarray(node.attribute("leaf_weights")).reshape(-1)
    targets = np.array(node.attribute("leaf_targetids"), np.int64)
    inner, leaves, columns = len(modes), len(weights), node.attribute("n_targets", 1)
    if modes.size and not 0 <= modes.min() <= modes.max() <= 6:
        raise node.error(f"TreeEnsemble: expected modes from 0 to 6, given {sorted(set(modes.tolist()))}")
    if len(targets) != leaves or (leaves and not 0 <= targets.min() <= targets.max() < columns):
        raise node.error(f"TreeEnsemble: leaf_targetids do not name a target of {columns} for each of {leaves} leaves")

    def sides(ids: str, is_leaf: str) -> np.ndarray[Any, Any]:
        places, flags = (np.array(node.attribute(name), np.int64) for name in (ids, is_leaf))
        limits = np.where(flags != 0, leaves, inner)
        if len(places) != inner or len(flags) != inner or bool(((places < 0) | (places >= limits)).any()):
            raise node.error(f"TreeEnsemble: {ids} names a node or leaf that is not there")
        return np.where(flags != 0, places + inner, places)

    yes, no = sides("nodes_truenodeids", "nodes_trueleafs"), sides("nodes_falsenodeids", "nodes_falseleafs")
    roots = np.array(node.attribute("tree_roots"), np.int64)
    if roots.size == 0 or not 0 <= roots.min() <= roots.max() < inner:
        raise node.error(f"TreeEnsemble: tree_roots names a node that is not there, of {inner}")
    tracked = np.array(node.attribute("nodes_missing_value_tracks_true", None) or (0,) * inner, np.bool_)
    features = np.array(node.attribute("nodes_featureids"), np.int64)
    ends = np.arange(inner, inner + leaves)
    none = np.zeros(leaves, np.int64)
    table = _Trees(
        np.concatenate([features, none]),
        np.concatenate([splits.reshape(-1), none]).astype(x.dtype.numpy),
        np.concatenate([modes, none]),
        np.concatenate([yes, ends]),
        np.concatenate([no, ends]),
        np.concatenate([tracked, none != 0]),
        roots,
        _members(node, modes, x.dtype),
    )
    scores = np.zeros((inner + leaves, columns), x.dtype.numpy)
    scores[ends, targets] = weights
    parts = F.index(node.constant(scores), (table.leaves(node, x),), spec=("tensor",))
    here = np.zeros((inner + leaves, columns), np.bool_)
    here[ends, targets] = True
    match node.attribute("aggregate_function", 1):
        case 0:
            result = F.div(F.sum(parts, (1,)), len(roots))
        case 1:
            result = F.sum(parts, (1,))
        case (2 | 3) as kind:  # of the trees that have a leaf for the target
            there = F.index(node.constant(here), (table.leaves(node, x),), spec=("tensor",))
            bound = node.like(np.inf if kind == 2 else -np.inf, parts)
            reduced = (F.amin if kind == 2 else F.amax)(F.where(there, parts, bound), (1,), False)
            result = F.where(F.isinf(reduced), node.like(0, parts), reduced)
        case other:
            raise node.error(f"TreeEnsemble: expected an aggregate_function from 0 to 3, given {other}")
    names = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
    transform = node.attribute("post_transform", 0)
    if not 0 <= transform < len(names):
        raise node.error(f"TreeEnsemble: expected a post_transform from 0 to 4, given {transform}")
    return _transformed(node, result, names[transform])


def _members(node: Any, modes: np.ndarray[Any, Any], dtype: Any) -> np.ndarray[Any, Any]:
    """For each set of `membership_values`, which NaN ends, its values in a row, filled up with NaN, at its node."""
    values = np.asarray(node.attribute("membership_values", ()), dtype.numpy).reshape(-1)
    sets: list[list[float]] = [[]]
    for value in values.tolist():
        if value != value:
            sets.append([])
        else:
            sets[-1].append(value)
    places = np.flatnonzero(modes == _MEMBER)
    sets = [one for one in sets if one]
    if len(sets) != len(places):
        raise node.error(f"TreeEnsemble: {len(sets)} sets in membership_values for {len(places)} nodes that test one")
    table = np.full((len(modes), max((len(one) for one in sets), default=0)), np.nan, dtype.numpy)
    for place, one in zip(places, sets, strict=True):
        table[place, : len(one)] = one
    return table
