"""`ingot cache`: what the kernel cache holds, emptying it, and filling it before it is needed."""

import argparse
from pathlib import Path

from ..jit.runtime.cache import default_cache
from .errors import CommandError
from .result import Result
from .units import size_text

__all__ = ["command"]


def command(options: argparse.Namespace) -> Result:
    """Do what was asked with the cache."""
    if options.models and options.action != "warm":
        raise CommandError(f"cache {options.action} takes no models")
    store = default_cache()
    if options.action == "clear":
        removed = store.clear()
        return Result(f"removed {removed} entries from {store.directory}", {"removed": removed})
    if options.action == "warm":
        return _warm(options.models)
    info = store.info()
    data = {"directory": str(info.directory), "entries": info.entries, "bytes": info.bytes, "limit": info.limit}
    text = f"{info.directory}: {info.entries} entries, {size_text(info.bytes)} of {size_text(info.limit)}"
    return Result(text, data)


def _warm(models: list[str]) -> Result:
    """Compile every graph of some files, so that loading them compiles nothing."""
    if not models:
        raise CommandError("cache warm: give the models to compile")
    from ..jit.archive import load

    compiled = []
    for path in models:
        function = load(Path(path))
        for specialisation in function.specialisations:
            specialisation.program("native")
            reason = specialisation.fallback
            compiled.append(
                {
                    "model": path,
                    "native": reason is None,
                    "milliseconds": specialisation.compile_milliseconds,
                    "reason": None if reason is None else reason.reason,
                }
            )
    failed = any(not item["native"] for item in compiled)
    lines = [
        f"{item['model']}: "
        + (f"{item['milliseconds']:.0f} ms" if item["native"] else f"no native form: {item['reason']}")
        for item in compiled
    ]
    return Result("\n".join(lines), {"graphs": compiled}, code=1 if failed else 0)
