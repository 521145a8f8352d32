"""What cupy 14 lacks of numpy: names, and options of functions. The stand-in for it (`simulator`) lacks them, too."""

from typing import Any

__all__ = ["MISSING", "MISSING_LINALG", "refuse_absent"]

# Functions and modules of numpy's that cupy 14 does not have.
MISSING = frozenset({
    "asmatrix", "block", "bmat", "char", "core", "ctypeslib", "einsum_path", "emath", "errstate", "frompyfunc",
    "geomspace", "histogram_bin_edges", "insert", "longdouble", "ma", "matrix", "matvec", "memmap", "nanpercentile",
    "nanquantile", "ndenumerate", "nditer", "nested_iters", "object_", "polyder", "polydiv", "polyint", "rec",
    "recarray", "spacing", "str_", "strings", "unstack", "vecdot", "vecmat", "void",
})  # fmt: skip
MISSING_LINALG = frozenset({
    "diagonal", "matrix_norm", "multi_dot", "outer", "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
})  # fmt: skip

# Options of numpy's functions, and methods, that cupy 14 does not have.
_ABSENT_OF = (
    (("all", "any", "mean", "nanmean"), ("where",)),
    (("amax", "amin", "max", "min", "nanmax", "nanmin", "nanprod", "nansum", "prod", "sum"), ("initial", "where")),
    (("nanstd", "nanvar", "std", "var"), ("correction", "mean", "where")),
    (("argsort", "sort"), ("order", "stable")),
    (("argpartition", "partition"), ("kind", "order")),
    (("percentile", "quantile"), ("weights",)),
    (("array",), ("ndmax",)),
    (("cholesky",), ("upper",)),
    (("count_nonzero",), ("keepdims",)),
    (("indices",), ("sparse",)),
    (("isin",), ("kind",)),
    (("lexsort",), ("axis",)),
    (("pinv",), ("hermitian", "rtol")),
    (("svd",), ("hermitian",)),
    (("take",), ("mode",)),
    (("unique",), ("sorted",)),
)
_ABSENT = {name: options for names, options in _ABSENT_OF for name in names}


def refuse_absent(name: str, kwargs: dict[str, Any]) -> None:
    """TypeError for an option that cupy does not have."""
    for option in _ABSENT.get(name, ()):
        if option in kwargs:
            raise TypeError(f"{name}() got an unexpected keyword argument '{option}' (cupy has none)")
