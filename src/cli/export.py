"""`ingot export-c`: a model as a C library."""

import argparse

from ..jit.archive import load
from ..jit.cross import named_target
from ..jit.export_c import export_c
from .errors import CommandError
from .result import Result

__all__ = ["command"]


def command(options: argparse.Namespace) -> Result:
    """Write the files; the text says how to build with them."""
    try:
        if options.target is not None:
            named_target(options.target)
        exported = export_c(load(options.model), options.output, name=options.name, target=options.target)
    except ValueError as error:
        raise CommandError(str(error)) from None
    files = [exported.header, exported.source, exported.weights, *exported.objects]
    objects = f"{exported.source.stem}_*.o"
    lines = [f"wrote {file}" for file in files]
    lines.append(f"build: cc -O2 main.c {exported.source.name} {objects} -lm")
    return Result("\n".join(lines), {"written": [str(file) for file in files]})
