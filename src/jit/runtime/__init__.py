"""What compiled programs run on: thread pool, memory, kernel cache and object loader. Numba is never imported here."""

# Importing the pool lets objects refer to `ingot_parallel_for`; it starts nothing.
from . import cache, call, loader, memory, pool

__all__ = ["cache", "call", "loader", "memory", "pool"]
