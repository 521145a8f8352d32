"""scikit-learn and SciPy computing on Ingot's tensors, through the Python array API standard.

    python examples/scikit_learn_on_tensors.py

Each line names a function of theirs, what it was given and returned, and how far the result is from the same
function's on NumPy arrays.
"""

import os

os.environ["SCIPY_ARRAY_API"] = "1"  # SciPy asks for it before it is imported

from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import scipy.special
import scipy.stats
import sklearn
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise, r2_score
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "StandardScaler": lambda x, y: StandardScaler().fit_transform(x),
    "MinMaxScaler": lambda x, y: MinMaxScaler().fit_transform(x),
    "Normalizer": lambda x, y: Normalizer().fit_transform(x),
    "PCA": lambda x, y: PCA(2, svd_solver="full").fit(x).explained_variance_,
    "Ridge": lambda x, y: Ridge(solver="svd").fit(x, x[:, 0] * 2).coef_,
    "LinearDiscriminantAnalysis": lambda x, y: LinearDiscriminantAnalysis().fit(x, y).predict(x),
    "cosine_similarity": lambda x, y: pairwise.cosine_similarity(x),
    "r2_score": lambda x, y: r2_score(x[:, 0], x[:, 1]),
    "scipy.stats.zscore": lambda x, y: scipy.stats.zscore(x),
    "scipy.stats.ttest_ind": lambda x, y: scipy.stats.ttest_ind(x, x + 1).pvalue,
    "scipy.special.logsumexp": lambda x, y: scipy.special.logsumexp(x, axis=1),
}


def main() -> None:
    """Call every function with arrays and with tensors, and print how far the results are apart."""
    features = np.random.default_rng(0).standard_normal((50, 4))
    classes = (features[:, 0] + features[:, 1] > 0).astype(np.int64)
    for name, function in FUNCTIONS.items():
        expected = function(features, classes)
        with sklearn.config_context(array_api_dispatch=True):
            given = function(ingot.tensor(features), ingot.tensor(classes))
        difference = np.abs(np.asarray(given, dtype=float) - np.asarray(expected, dtype=float)).max()
        print(f"{name:28} {type(given).__name__:8} {difference:.1e}")


if __name__ == "__main__":
    main()
