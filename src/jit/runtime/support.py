"""The runtime's own native code (the pool, entries): LLVM IR that is compiled once per machine and then cached."""

from collections.abc import Sequence

from .cache import cache_key, default_cache
from .loader import emit_object, load_object
from .targets import host_triple, llvm_version


def load_support(text: str, names: Sequence[str]) -> dict[str, int]:
    """Load a module of LLVM IR text for any CPU of this architecture, and return the addresses of `names`.

    It is not optimised, because compiling it may hold up the first call of a process: that takes 4 ms per module
    instead of 35 ms, and less than 1 ms once it is cached. Addresses of the process must not be in the text (see
    `provide_symbol`), or it would never be found in the cache again.
    """
    key = cache_key("support", text, llvm_version(), host_triple(), *names)
    blob = default_cache().get(key)
    if blob is None:
        blob = emit_object(text, cpu="", features="", opt=0, keep=names)
        default_cache().put(key, blob)
    return load_object(blob, names)


def filled(template: str, **values: object) -> str:
    """A text with `$NAME` replaced by the value of each name; `string.Template`, without what importing it costs.

    >>> filled("$SIZE bytes from $SIZE_FIELD", SIZE=8, SIZE_FIELD=16)
    '8 bytes from 16'
    """
    # Longer names first, so that none is taken for the start of another.
    for name in sorted(values, key=len, reverse=True):
        template = template.replace(f"${name}", str(values[name]))
    return template
