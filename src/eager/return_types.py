"""What functions with several results return: tuples whose entries have names."""

from typing import Any, NamedTuple

__all__ = [
    "RESULTS", "cummax", "cummin", "kthvalue", "max", "median", "min", "mode", "nanmedian", "result_text", "sort",
    "topk",
]  # fmt: skip


def result_text(name: str, result: Any) -> str:
    """A result as PyTorch shows it: the function's name, then a line for each entry."""
    return f"ingot.return_types.{name}(\n" + ",\n".join(f"{n}={v!r}" for n, v in result._asdict().items()) + ")"


class max(NamedTuple):
    """The largest elements along a dimension, and where they are."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return result_text("max", self)


class min(NamedTuple):
    """The smallest elements along a dimension, and where they are."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return result_text("min", self)


class sort(NamedTuple):
    """The sorted elements, and where they were."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return result_text("sort", self)


class topk(NamedTuple):
    """The largest or smallest elements, and where they are."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return result_text("topk", self)


class kthvalue(NamedTuple):
    """The k-th smallest elements along a dimension, and where they are."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return result_text("kthvalue", self)


class median(NamedTuple):
    """The medians along a dimension, and where they are."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return result_text("median", self)


class nanmedian(NamedTuple):
    """The medians of what is not NaN, and where they are."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return result_text("nanmedian", self)


class mode(NamedTuple):
    """The most frequent elements along a dimension, and where they are."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return result_text("mode", self)


class cummax(NamedTuple):
    """The largest elements so far, and where they are."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return result_text("cummax", self)


class cummin(NamedTuple):
    """The smallest elements so far, and where they are."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return result_text("cummin", self)


# By the op whose outputs they name.
RESULTS: dict[str, Any] = {"max_dim": max, "min_dim": min, "sort": sort, "topk": topk}
