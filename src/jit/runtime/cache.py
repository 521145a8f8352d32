"""The kernel cache: one file per content key, written to a temporary name and renamed, verified at every read.

There is no index, no lock and no pickle. A reader sees a whole file or none, because `os.replace` is atomic; a file
that does not verify (another version, cut short, a flipped bit, renamed by hand) is removed and counts as a miss. So
nothing waits for the disk (10 ms a file): after a loss of power, what did not get there is compiled again. Files hold
machine code, so the directory must belong to the user and be writable by nobody else.
"""

import contextlib
import hashlib
import mmap
import os
import re
import stat
import struct
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...ir.records import record
from .memory import ALIGNMENT
from .pieces import PIECE_BYTES, piece_digests

DEFAULT_LIMIT = 1 << 30
FORMAT_VERSION = 2

_MAGIC = b"INGOTKRN"
# magic, format version, payload length, the key the payload was stored under, the payload's digest; 128 bytes
_HEADER = struct.Struct("<8sIQ32s32s44x")
_SUFFIX = ".kernel"
_KEY = re.compile(r"[0-9a-f]{64}")
_MAPPED_BYTES = 16 << 20
# A temporary file this old belongs to a process that died while it wrote.
_STALE_SECONDS = 3600.0
# Other processes write to the same directory, so the running estimate of its size is refreshed now and then.
_PUTS_PER_SCAN = 64
# Evicting below the limit, not just to it, so that a full cache does not scan its directory at every put.
_EVICT_TO = 0.9


def cache_key(*parts: str | bytes) -> str:
    """The content key of `parts`: the hex sha256 of their length-prefixed bytes, so that boundaries count.

    >>> cache_key("ab", "c") == cache_key("a", "bc")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        # The type is part of the key: a str and its bytes are different parts.
        digest.update(b"s" if isinstance(part, str) else b"b")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


@record
class CacheInfo:
    """What a cache directory holds: how many files, how many bytes, and the limit in bytes."""

    directory: Path
    entries: int
    bytes: int
    limit: int


@record
class _Entry:
    path: str
    size: int
    used: float


class Cache:
    """A content-addressed store of bytes in `directory`, holding at most `limit` bytes (least recently used go first).

    A directory that cannot be created, written or trusted gives one `RuntimeWarning` and a cache that always misses.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     cache = Cache(directory)
    ...     cache.put(cache_key("kernel"), b"machine code")
    ...     cache.get(cache_key("kernel"))
    b'machine code'
    """

    def __init__(self, directory: str | os.PathLike[str], limit: int = DEFAULT_LIMIT) -> None:
        if limit < 0:
            raise ValueError(f"Cache: the limit is {limit} bytes; give 0 (store nothing) or more")
        self.directory = Path(directory)
        self.limit = limit
        self._warned = False
        # None: not looked at yet. A directory that does not exist yet is looked at again.
        self._trusted: bool | None = None
        self._estimate = 0
        self._puts_until_scan = 0

    def __repr__(self) -> str:
        return f"Cache({str(self.directory)!r}, limit={self.limit})"

    def get(self, key: str) -> bytes | None:
        """The bytes stored under `key`, or None; a file that does not verify is removed.

        Raises ValueError if `key` is not 64 lower-case hexadecimal digits.
        """
        payload = self.view(key)
        return None if payload is None else bytes(payload)

    def view(self, key: str) -> memoryview | None:
        """What `get` gives, in memory that starts at a multiple of 64 bytes: what lies in it is used without a copy."""
        path = self._path(key)
        if not self._usable(create=False):
            return None
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                data = _contents(file, status.st_size) if _owned(status) else memoryview(b"")
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(f"cannot read {path}: {error}")
            return None
        payload = _verified(data, key)
        if payload is None:
            _remove(path)
            return None
        # It may fail (evicted by another process a moment ago, a read-only directory): the bytes are good all the same.
        with contextlib.suppress(OSError):
            os.utime(path)
        return payload

    def put(self, key: str, blob: bytes) -> None:
        """Store `blob` under `key`, replacing what is there; when it cannot be stored, warn once and go on.

        Raises ValueError if `key` is not 64 lower-case hexadecimal digits.
        """
        path = self._path(key)
        size = _HEADER.size + len(blob)
        if size > self.limit or not self._usable(create=True):
            return
        header = _header(key, blob)
        temporary = self.directory / f".{key[:16]}-{os.getpid()}-{os.urandom(8).hex()}.tmp"
        try:
            try:
                # O_EXCL: the name is ours alone, whatever other threads and processes do.
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
                with open(os.open(temporary, flags, 0o600), "wb") as file:
                    file.write(header)
                    file.write(blob)
                os.replace(temporary, path)
            except BaseException:
                # Also on KeyboardInterrupt: a half-written temporary file must not stay behind.
                _remove(temporary)
                raise
        except FileNotFoundError:
            # The directory was removed under us (a `clear` by hand): the next put makes it again.
            self._trusted = None
            return
        except PermissionError as error:
            # Windows refuses to replace a file that another process has open; that file holds the same bytes.
            if not (sys.platform == "win32" and path.exists()):
                self._warn(f"cannot write to {self.directory}: {error}")
            return
        except OSError as error:
            self._warn(f"cannot write to {self.directory}: {error}")
            return
        self._estimate += size
        self._puts_until_scan -= 1
        if self._estimate > self.limit or self._puts_until_scan < 0:
            self._evict(keep=path)

    def info(self) -> CacheInfo:
        """How many entries and bytes the directory holds now."""
        entries = list(self._entries())
        return CacheInfo(self.directory, len(entries), sum(entry.size for entry in entries), self.limit)

    def clear(self) -> int:
        """Remove every entry and temporary file, and return how many entries were removed; other files stay."""
        removed = sum(_remove(entry.path) for entry in self._entries())
        for entry in self._entries(temporary=True):
            _remove(entry.path)
        self._estimate = 0
        return removed

    def _path(self, key: str) -> Path:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise ValueError(f"cache key {key!r}: expected 64 lower-case hexadecimal digits, as cache_key() gives")
        return self.directory / (key + _SUFFIX)

    def _usable(self, *, create: bool) -> bool:
        if self._trusted is not None:
            return self._trusted
        try:
            if create:
                self.directory.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    self.directory.mkdir(mode=0o700)
            status = os.stat(self.directory)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._trusted = False
            self._warn(f"cannot use {self.directory}: {error}")
            return False
        problem = _distrust(status)
        self._trusted = problem is None
        if problem is not None:
            self._warn(f"{self.directory} {problem}, so its machine code cannot be trusted")
        return self._trusted

    def _entries(self, *, temporary: bool = False) -> Iterator[_Entry]:
        try:
            with os.scandir(self.directory) as listing:
                for item in listing:
                    if temporary:
                        ours = item.name.startswith(".") and item.name.endswith(".tmp")
                    else:
                        ours = item.name.endswith(_SUFFIX) and _KEY.fullmatch(item.name[: -len(_SUFFIX)]) is not None
                    if not ours:
                        continue
                    try:
                        status = item.stat(follow_symlinks=False)
                    except OSError:
                        continue  # removed by another process while we read the directory
                    yield _Entry(item.path, status.st_size, status.st_mtime)
        except OSError:
            return

    def _evict(self, keep: Path) -> None:
        """Remove least recently used entries until the directory is under its limit; never the one just written."""
        entries = sorted(self._entries(), key=lambda entry: entry.used)
        total = sum(entry.size for entry in entries)
        if total > self.limit:
            target = int(self.limit * _EVICT_TO)
            for entry in entries:
                if total <= target:
                    break
                if entry.path != str(keep):
                    _remove(entry.path)
                    total -= entry.size
        now = time.time()
        for entry in self._entries(temporary=True):
            if now - entry.used > _STALE_SECONDS:
                _remove(entry.path)
        self._estimate = total
        self._puts_until_scan = _PUTS_PER_SCAN

    def _warn(self, problem: str) -> None:
        if self._warned:
            return
        self._warned = True
        warnings.warn(
            f"kernel cache: {problem}; compiled kernels are not kept (set INGOT_CACHE_DIR to a private directory)",
            RuntimeWarning,
            stacklevel=4,
        )


def default_directory() -> Path:
    """The cache directory: `INGOT_CACHE_DIR`, or `ingot` in the platform's cache directory."""
    if chosen := os.environ.get("INGOT_CACHE_DIR"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local")
        return Path(base) / "ingot" / "cache"
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches")) / "ingot"
    # The XDG base directory specification: a relative path in the variable is to be ignored.
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache")) / "ingot"


def default_limit() -> int:
    """The size limit in bytes: `INGOT_CACHE_LIMIT` (such as `500000000`, `500M` or `2G`), or 1 GiB."""
    text = os.environ.get("INGOT_CACHE_LIMIT", "").strip()
    if not text:
        return DEFAULT_LIMIT
    match = re.fullmatch(r"(\d+)\s*([KMG]?)(?:i?B)?", text, re.IGNORECASE)
    if match is None:
        raise ValueError(f"INGOT_CACHE_LIMIT={text!r}: expected a size in bytes such as 500000000, 500M or 2G")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()]


_caches: dict[tuple[Path, int], Cache] = {}


def default_cache() -> Cache:
    """The cache that the environment asks for; the same object as long as the environment stays the same."""
    place = (default_directory(), default_limit())
    if place not in _caches:
        # Two threads may both come here: the first one's cache wins.
        _caches.setdefault(place, Cache(*place))
    return _caches[place]


def _contents(file: BinaryIO, size: int) -> memoryview:
    """A whole file, its payload at a multiple of 64 bytes: large ones are mapped, which touches no new memory.

    Whoever cuts a mapped file short ends the process, so only those with weights in them are; writing here replaces
    files, and leaves the mapped ones as they are.
    """
    if size > _MAPPED_BYTES:
        return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -(memory.ctypes.data + _HEADER.size) % ALIGNMENT
    data = memoryview(memory)[start : start + size]  # type: ignore[arg-type]
    return data[: file.readinto(data)]  # type: ignore[attr-defined,no-any-return]


def _digest(payload: bytes | memoryview) -> bytes:
    """The SHA-256 of a payload; of the digests of its pieces if it is large."""
    if len(payload) > PIECE_BYTES:
        payload = b"".join(piece_digests(payload))
    return hashlib.sha256(payload).digest()


def _verified(data: memoryview, key: str) -> memoryview | None:
    if len(data) < _HEADER.size:
        return None
    payload = data[_HEADER.size :]
    return payload if data[: _HEADER.size] == _header(key, payload) else None


def _header(key: str, payload: bytes | memoryview) -> bytes:
    return _HEADER.pack(_MAGIC, FORMAT_VERSION, len(payload), bytes.fromhex(key), _digest(payload))


def _owned(status: os.stat_result) -> bool:
    return sys.platform == "win32" or status.st_uid == os.geteuid()


def _distrust(status: os.stat_result) -> str | None:
    """Why a directory with this status cannot hold code that will be run, or None."""
    if not stat.S_ISDIR(status.st_mode):
        return "is not a directory"
    if not _owned(status):
        return "belongs to another user"
    if sys.platform != "win32" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "can be written by other users"
    return None


def _remove(path: str | os.PathLike[str]) -> bool:
    try:
        os.unlink(path)
    except OSError:
        return False
    return True
