"""Python's string methods in scripted programs: `str.find` and so on. Each does what Python does."""

from collections.abc import Callable
from typing import Any

from ..sizes import Sizes
from ..types import BoolType, IntType, ListType, StrType, TupleType, Type
from ._op import Custom, ErrorSample, Op, Sample, Trait, define

_PURE = (Trait.PURE,)
_EFFECT = (Trait.EFFECT,)  # may raise, or makes a list: to stay where it is


def _checked(name: str, type: Any, wanted: type[Type] = StrType) -> None:
    if type is not None and not isinstance(type, wanted):
        raise TypeError(f"{name}: expected {'a str' if wanted is StrType else 'an int'}, given {type}")


def _op(
    name: str,
    signature: str,
    doc: str,
    result: Type,
    evaluate: Callable[..., Any],
    samples: tuple[Any, ...],
    *,
    errors: tuple[Any, ...] = (),
    traits: tuple[str, ...] = _PURE,
    strings: int = 1,
) -> Op:
    """An op whose first operands are strings; `samples` are (arguments, keywords) or just arguments."""

    def infer(sizes: Sizes, *operands: Any, **attributes: Any) -> Type:
        for operand in operands[:strings]:
            _checked(f"str.{name}", operand)
        return result

    def run(xp: Any, *operands: Any, **attributes: Any) -> Any:
        value = evaluate(*operands, **attributes)
        return (value,) if isinstance(value, tuple) else value

    made = [Sample(s[0], s[1]) if len(s) == 2 and isinstance(s[1], dict) else Sample(s) for s in samples]
    return define(
        f"{name}_({signature})",
        doc,
        name=f"str.{name}",
        infer=infer,
        evaluate=run,
        traits=traits,
        lower=Custom(f"str.{name}"),
        samples=lambda: list(made),
        errors=lambda: [ErrorSample(*error) for error in errors],
    )


_INT, _STR, _BOOL = IntType(), StrType(), BoolType()

LENGTH = _op("length", "text: Scalar", "len(text).", _INT, len, (("",), ("naïve",)))
GET = _op(
    "get",
    "text: Scalar, index: Int",
    "A character of a string; negative indices count from its end. IndexError where there is none.",
    _STR,
    lambda text, index: text[index],
    (("abc", -1), ("aé", 1)),
    errors=((("abc", 3), IndexError, "out of range"),),
    traits=_EFFECT,
)
SLICE = _op(
    "slice",
    "text: Scalar, start: Int, stop: Int, step: Int",
    "text[start:stop:step]; absent bounds are Python's.",
    _STR,
    lambda text, start, stop, step: text[start:stop:step],
    (("abcdef", 1, None, 2), ("abcdef", None, None, -1), ("abc", -2, 9, None)),
    errors=((("abc", 0, 1, 0), ValueError, "slice step"),),
    traits=_EFFECT,
)
REPEAT = _op(
    "repeat", "text: Scalar, count: Int", "text * count.", _STR, lambda t, n: t * n, (("ab", 3), ("ab", -1)),
    traits=_EFFECT,
)  # fmt: skip
CONTAINS = _op(
    "contains", "text: Scalar, part: Scalar", "part in text.", _BOOL, lambda t, p: p in t, (("abc", "bc"), ("", "")),
    strings=2,
)  # fmt: skip
FIND = _op(
    "find",
    "text: Scalar, part: Scalar, start: Int = None, stop: Int = None, *, method: str",
    "text.find, rfind, index, rindex or count, as `method` says.",
    _INT,
    lambda text, part, start, stop, *, method: getattr(text, method)(part, start, stop),
    (
        (("abcabc", "bc", None, None), {"method": "find"}),
        (("abcabc", "bc", None, None), {"method": "rfind"}),
        (("aaaa", "aa", 1, None), {"method": "count"}),
    ),
    errors=((("abc", "x", None, None), ValueError, "substring", {"method": "index"}),),
    traits=_EFFECT,
    strings=2,
)
ENDS = _op(
    "ends",
    "text: Scalar, part: Scalar, start: Int = None, stop: Int = None, *, method: str",
    "text.startswith or endswith, as `method` says.",
    _BOOL,
    lambda text, part, start, stop, *, method: getattr(text, method)(part, start, stop),
    ((("abc", "ab", None, None), {"method": "startswith"}), (("abc", "b", 0, 2), {"method": "endswith"})),
    strings=2,
)
REPLACE = _op(
    "replace",
    "text: Scalar, old: Scalar, new: Scalar, count: Int = None",
    "text.replace(old, new, count).",
    _STR,
    lambda text, old, new, count: text.replace(old, new, -1 if count is None else count),
    (("banana", "an", "o", None), ("abc", "", "-", 2)),
    traits=_EFFECT,
    strings=3,
)
STRIP = _op(
    "strip",
    "text: Scalar, characters: Scalar = None, *, method: str",
    "text.strip, lstrip or rstrip, as `method` says.",
    _STR,
    lambda text, characters, *, method: getattr(text, method)(characters),
    ((("  ab\t", None), {"method": "strip"}), (("xxabx", "x"), {"method": "rstrip"})),
    strings=2,
)
CASE = _op(
    "case",
    "text: Scalar, *, method: str",
    "text.upper, lower, title, capitalize, swapcase or casefold, as `method` says.",
    _STR,
    lambda text, *, method: getattr(text, method)(),
    ((("aB c'd",), {"method": "title"}), (("aBß",), {"method": "upper"}), (("Ab",), {"method": "swapcase"})),
    traits=_EFFECT,
)
TEST = _op(
    "test",
    "text: Scalar, *, method: str",
    "text.isdigit, isalpha and so on, as `method` says.",
    _BOOL,
    lambda text, *, method: getattr(text, method)(),
    ((("12",), {"method": "isdigit"}), (("a1",), {"method": "isalpha"}), (("Ab C",), {"method": "istitle"})),
    traits=_EFFECT,
)
SPLIT = _op(
    "split",
    "text: Scalar, separator: Scalar = None, limit: Int = None, *, method: str",
    "text.split or rsplit, as `method` says; without a separator at runs of white space.",
    ListType(_STR),
    lambda text, separator, limit, *, method: getattr(text, method)(separator, -1 if limit is None else limit),
    (),
    errors=((("a", "", None), ValueError, "empty separator", {"method": "split"}),),
    traits=_EFFECT,
    strings=2,
)
LINES = _op(
    "splitlines",
    "text: Scalar, *, keepends: bool",
    "text.splitlines(keepends).",
    ListType(_STR),
    lambda text, *, keepends: text.splitlines(keepends),
    (),
    traits=_EFFECT,
)
PARTITION = _op(
    "partition",
    "text: Scalar, separator: Scalar, *, method: str",
    "text.partition or rpartition, as `method` says.",
    TupleType((_STR, _STR, _STR)),
    lambda text, separator, *, method: getattr(text, method)(separator),
    (),
    errors=((("a", ""), ValueError, "empty separator", {"method": "partition"}),),
    traits=_EFFECT,
    strings=2,
)
PAD = _op(
    "pad",
    "text: Scalar, width: Int, fill: Scalar, *, method: str",
    "text.ljust, rjust, center or zfill to a width, as `method` says.",
    _STR,
    lambda text, width, fill, *, method: getattr(text, method)(*((width,) if method == "zfill" else (width, fill))),
    ((("ab", 5, "*"), {"method": "center"}), (("-4", 4, "0"), {"method": "zfill"})),
    errors=((("a", 3, ""), TypeError, "exactly one character", {"method": "ljust"}),),
    traits=_EFFECT,
)
REMOVE = _op(
    "remove",
    "text: Scalar, part: Scalar, *, method: str",
    "text.removeprefix or removesuffix, as `method` says.",
    _STR,
    lambda text, part, *, method: getattr(text, method)(part),
    ((("abab", "ab"), {"method": "removesuffix"}), (("abab", "x"), {"method": "removeprefix"})),
    strings=2,
)
ORD = _op(
    "ord",
    "text: Scalar",
    "ord(text). TypeError for anything but one character.",
    _INT,
    ord,
    (("a",), ("€",)),
    errors=((("ab",), TypeError, "character"),),
    traits=_EFFECT,
)


def _join_type(sizes: Sizes, separator: Any, parts: Any) -> Type:
    _checked("str.join", separator)
    if parts != ListType(StrType()):
        raise TypeError(f"str.join: expected a list of strings, given {parts}")
    return StrType()


JOIN = define(
    "join(separator: Scalar, parts: Scalar)",
    "separator.join(parts).",
    name="str.join",
    infer=_join_type,
    evaluate=lambda xp, separator, parts: separator.join(parts),
    traits=_EFFECT,
    lower=Custom("str.join"),
)


def _chr_type(sizes: Sizes, code: Any) -> Type:
    _checked("chr()", code, IntType)
    return StrType()


CHR = define(
    "chr_(code: Scalar)",
    "chr(code). ValueError where there is no such character.",
    name="str.chr",
    infer=_chr_type,
    evaluate=lambda xp, code: chr(code),
    traits=_EFFECT,
    lower=Custom("str.chr"),
    samples=lambda: [Sample((97,)), Sample((8364,))],
    errors=lambda: [ErrorSample((-1,), ValueError, "chr")],
)
