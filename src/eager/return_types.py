"""What functions with several results return: tuples whose entries have names."""

from typing import Any, NamedTuple

__all__ = ["RESULTS", "max", "min", "sort", "topk"]


def _text(name: str, result: Any) -> str:
    return f"ingot.return_types.{name}(\n" + ",\n".join(f"{n}={v!r}" for n, v in result._asdict().items()) + ")"


class max(NamedTuple):
    """The largest elements along a dimension, and where they are."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return _text("max", self)


class min(NamedTuple):
    """The smallest elements along a dimension, and where they are."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return _text("min", self)


class sort(NamedTuple):
    """The sorted elements, and where they were."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return _text("sort", self)


class topk(NamedTuple):
    """The largest or smallest elements, and where they are."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        return _text("topk", self)


# By the op whose outputs they name.
RESULTS: dict[str, Any] = {"max_dim": max, "min_dim": min, "sort": sort, "topk": topk}
