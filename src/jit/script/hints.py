"""What to write instead, for errors whose place of origin does not say."""

import re

__all__ = ["hint_for"]

_HINTS: tuple[tuple[str, str], ...] = (
    (r"is not callable", "call a function, a class, a module or an object with __call__"),
    (r"is not subscriptable", "index tensors, lists, tuples, dicts and strings; for others, read an attribute"),
    (r"does not support item assignment", "assign to items of lists, dicts and tensors; make tuples and strings anew"),
    (r"'NoneType' object has no attribute|None .*has no attribute", "test it first: `if x is not None:`"),
    (r"unsupported operand.*\bstr\b|can only concatenate str", "convert numbers to text: `str(n)`, or an f-string"),
    (r"(unsupported operand|not supported between).*\bNone", "test it first: `if x is not None:`"),
    (r"unsupported operand|not supported between", "convert an operand so that both are of kinds that go together"),
    (r"missing \d+ required", "pass what is missing, or give the parameter a default"),
    (r"unexpected keyword argument|got multiple values|positional arguments? but", "call it as it is defined"),
    (r"expected \d+.* arguments|takes \d+ arguments|takes no arguments", "call it as it is defined"),
    (r"values to unpack", "name as many variables as there are values, or collect the rest: `a, *rest = values`"),
    (
        r"is not iterable|cannot be iterated",
        "iterate over a range, list, tuple, dict, set, string, tensor or module list",
    ),
    (
        r"broadcast|dimensions? |sizes? |shapes? |rank",
        "compare the shapes with what the operation needs; reshape or transpose",
    ),
    (r"has no attribute|is not defined", "check the spelling, and where it is defined"),
    (r"^the key .* is not in the dict", "use `d.get(key, default)`, or test it first: `if key in d:`"),
    (r"index out of range|pop from empty", "this is so at every call: index what is there, or test the length first"),
    (r"division|modulo|domain error", "this is so at every call: test the operands first"),
    (r"isinstance of", "test values whose class is known, or a union of such"),
    (r"cannot access (local|free) variable", "give it a value on every path that leads here"),
    (r"dtype", "convert with `.to(dtype)`"),
)
_DEFAULT = "change the types so that the operation is defined for them, or move it out of the compiled function"


def hint_for(message: str) -> str:
    """A hint for an error's message."""
    return next((hint for pattern, hint in _HINTS if re.search(pattern, message)), _DEFAULT)
