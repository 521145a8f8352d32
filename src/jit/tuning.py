"""Tiles of products chosen by measurement instead of by the model of the machine, once for each machine."""

import json
import os
import threading
from dataclasses import asdict, dataclass

from .runtime import cache

__all__ = ["TileChoice", "chosen_tiles", "tune"]


@dataclass(frozen=True)
class TileChoice:
    """What a search found: the rows of a tile of products, and the bytes of cache that blocks are cut for."""

    rows: int
    l2_bytes: int

    def __str__(self) -> str:
        return f"tiles of {self.rows} rows and blocks for {self.l2_bytes >> 10} KiB, as measured on this machine"


_lock = threading.RLock()
_choice: TileChoice | None = None
_searching = False


def tune(*, again: bool = False) -> TileChoice:
    """Measure which tiles of matrix products are fastest on this machine, and use them for all that is compiled later.

    The search takes some seconds; its result is kept in the kernel cache, where later processes find it, and `again`
    repeats it. The environment variable INGOT_TUNE=1 does the same at the first compilation. Sums are cut into other
    blocks with another choice, so results may differ in the last bits; with one choice they are the same at every run,
    on any number of threads. `explain()` says where a choice was used.
    """
    global _choice, _searching
    from .codegen.compile import CpuTarget
    from .codegen.tile_search import VERSION, search_tiles

    with _lock:
        target = CpuTarget()
        key = cache.cache_key("tiles", str(VERSION), target.triple, target.cpu, target.features)
        stored = None if again else cache.default_cache().get(key)
        if stored is not None:
            _choice = TileChoice(**json.loads(stored))
            return _choice
        _searching = True
        try:
            _choice = search_tiles()
        finally:
            _searching = False
        cache.default_cache().put(key, json.dumps(asdict(_choice)).encode())
        return _choice


def chosen_tiles() -> TileChoice | None:
    """The choice that code generated now uses; None where the model of the machine decides."""
    if _searching:
        return None
    if _choice is None and os.environ.get("INGOT_TUNE", "0") not in ("", "0"):
        return tune()
    return _choice
