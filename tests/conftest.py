"""What all tests share: one kernel cache, so that a kernel is compiled once, by whoever needs it first."""

import os
from pathlib import Path

# Processes that tests start inherit it.
os.environ.setdefault("INGOT_CACHE_DIR", str(Path(__file__).resolve().parent.parent / ".cache" / "kernels"))
