"""Ops that catch exceptions: `try`, the values that it saves on the way, raising again, and what an error says."""

from typing import Any

from ..sizes import Sizes
from ..types import IntType, StrType, Type
from ._op import Custom, Trait, define

__all__ = ["ERROR_TEXT", "RERAISE", "SAVE", "TRY"]

_EFFECT = (Trait.EFFECT,)


def _from_regions(sizes: Sizes, values: tuple[Type, ...], *, name: str, catches: Any) -> tuple[Type, ...]:
    raise TypeError("try: result types come from its region")  # the builder passes them; verify compares the yields


TRY = define(
    "try_(values: Tensors, *, name: str, catches: any)",
    "Runs its region, and catches what it raises.\n\n"
    "Results: the number of the handler (0 where nothing was raised), the error (an int that `reraise` and "
    "`error.text` take), then as many values as operands: what the region yields, or where it raised what the last "
    "`save` of this name that ran was given, or else the operands. `catches` has pairs (exception's name, handler's "
    "number); the first of an error's classes that is listed counts, and an error that has none goes on.",
    name="try",
    infer=_from_regions,
    traits=_EFFECT,
    lower=Custom("try"),
)


def _nothing(sizes: Sizes, values: tuple[Type, ...], *, name: str) -> tuple[Type, ...]:
    return ()


SAVE = define(
    "save(values: Tensors, *, name: str)",
    "Sets what the `try` of this name around gives where something is raised after this.",
    infer=_nothing,
    traits=_EFFECT,
    lower=Custom("save"),
    outputs=0,
)


def _reraise_types(sizes: Sizes, error: Type) -> tuple[Type, ...]:
    if not isinstance(error, IntType):
        raise TypeError(f"reraise: expected an error of a try, given {error}")
    return ()


RERAISE = define(
    "reraise(error: Int)",
    "Raises an error that a `try` caught again.",
    infer=_reraise_types,
    traits=_EFFECT,
    lower=Custom("reraise"),
    outputs=0,
)


def _text_type(sizes: Sizes, error: Type) -> Type:
    if not isinstance(error, IntType):
        raise TypeError(f"error.text: expected an error of a try, given {error}")
    return StrType()


ERROR_TEXT = define(
    "text(error: Int)",
    "What `str()` gives for an error that a `try` caught.",
    name="error.text",
    infer=_text_type,
    traits=_EFFECT,
    lower=Custom("error.text"),
)
