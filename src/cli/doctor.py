"""`ingot doctor`: whether this installation can do its work."""

import argparse
import importlib.metadata
import os
import platform
import secrets
import sys
import warnings
from typing import Any

from ..jit.runtime import cache, cpus, loader, pool
from .result import Result
from .units import size_text

__all__ = ["command"]

_REQUIRED = ("numpy", "llvmlite", "numba")
_OPTIONAL = ("onnx", "onnxruntime", "torch", "cupy")


def command(options: argparse.Namespace) -> Result:
    """Look at everything that compiling and running depend on; exit code 1 if something does not work."""
    data: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in ("ingot", *_REQUIRED, *_OPTIONAL)},
        "cpu": loader.host_cpu_name(),
        "levels": [level for level in loader.CPU_LEVELS if not loader.features_subset(level)]
        if loader.host_architecture() == "x86_64"
        else [],
        "features": sorted(name for name, present in loader.host_features().items() if present),
        "cpus": cpus.available_cpus(),
        "threads": pool.get_num_threads(),
        "gpu": _gpu(),
    }
    problems = [f"{name} is not installed" for name in _REQUIRED if data["versions"][name] is None]
    data["cache"], found = _cache()
    problems += found
    if data["versions"]["numba"] is not None:
        problems += _compiling()
    data["problems"] = problems
    return Result("\n".join(_lines(data)), data, code=1 if problems else 0)


def _lines(data: dict[str, Any]) -> list[str]:
    versions = [f"{name} {version}" for name, version in data["versions"].items() if version is not None]
    level = f", {data['levels'][-1]}" if data["levels"] else ""
    held = data["cache"]
    return [
        f"python     {data['python']} on {data['platform']}",
        f"versions   {', '.join(versions)}",
        f"cpu        {data['cpu']}{level}",
        f"threads    {data['threads']} of {data['cpus']} CPUs",
        f"gpu        {data['gpu'] or 'none found'}",
        f"cache      {held['directory']}: {held['entries']} entries, {size_text(held['bytes'])} of "
        f"{size_text(held['limit'])}",
        *(f"PROBLEM    {problem}" for problem in data["problems"]),
        "all is well" if not data["problems"] else "",
    ]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gpu() -> str | None:
    """The NVIDIA driver's version line, where there is one."""
    try:
        with open("/proc/driver/nvidia/version") as file:
            return file.readline().strip()
    except OSError:
        return None


def _cache() -> tuple[dict[str, Any], list[str]]:
    """What the cache holds, and whether it gives back what it is given."""
    problems = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = cache.default_cache()
        key = cache.cache_key("doctor", secrets.token_hex(16))
        store.put(key, b"doctor")
        if store.get(key) != b"doctor":
            problems.append(f"the kernel cache in {store.directory} does not keep what it is given")
        path = store.directory / f"{key}.kernel"
        if path.exists():
            os.unlink(path)
        info = store.info()
    problems += [str(warning.message) for warning in caught]
    return {
        "directory": str(info.directory),
        "entries": info.entries,
        "bytes": info.bytes,
        "limit": info.limit,
    }, problems


def _compiling() -> list[str]:
    """Compile a small function and run it, as a check of the whole chain."""
    import numpy as np

    from .. import jit
    from ..eager.tensor import wrap

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", jit.FallbackWarning)
            traced = jit.trace(lambda x: x * x + 1.0, wrap(np.ones(3, np.float32)))
            result = traced(wrap(np.arange(4, dtype=np.float32)))
        if result.numpy().tolist() != [1.0, 2.0, 5.0, 10.0]:
            return [f"a compiled x * x + 1 gives {result.numpy().tolist()}, expected [1, 2, 5, 10]"]
    except Exception as error:
        summary = (str(error).strip() or type(error).__name__).splitlines()[0]
        return [f"compiling does not work on {sys.platform}: {summary}"]
    return []
