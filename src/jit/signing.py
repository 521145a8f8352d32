"""Signatures by which this user's ingots are told from others: an HMAC with a key that never leaves the machine.

Machine code in a file runs only if its signature was made with the key of the user who loads it (or on request). The
key is 32 random bytes in the cache directory, readable by its owner alone; losing it costs a recompilation.
"""

import contextlib
import hashlib
import hmac
import os
import stat
import sys
from pathlib import Path

from .runtime.cache import default_directory
from .runtime.pieces import PIECE_BYTES, piece_digests

__all__ = ["is_signed_by_us", "sign"]

Part = bytes | memoryview

_KEY_BYTES = 32
_FILE = "signing-key"


def sign(*parts: Part) -> str | None:
    """The signature of some bytes in hexadecimal; None where no key can be kept."""
    key = _key(create=True)
    return None if key is None else _mac(key, parts)


def is_signed_by_us(signature: str, *parts: Part) -> bool:
    """Whether `sign` made the signature of these bytes for this user."""
    key = _key(create=False)
    return key is not None and hmac.compare_digest(_mac(key, parts), signature)


def _mac(key: bytes, parts: tuple[Part, ...]) -> str:
    mac = hmac.new(key, b"ingot native code 2", hashlib.sha256)
    for part in parts:
        # With their lengths, so that bytes cannot move from one part to the next.
        mac.update(len(part).to_bytes(8, "little"))
        # Large parts, as packed weights, by the digests of pieces, which several threads compute.
        if len(part) > PIECE_BYTES:
            for digest in piece_digests(part):
                mac.update(digest)
        else:
            mac.update(part)
    return mac.hexdigest()


def _key(*, create: bool) -> bytes | None:
    path = default_directory() / _FILE
    key = _read(path)
    if key is None and create:
        with contextlib.suppress(OSError):
            _create(path)
        key = _read(path)
    return key


def _read(path: Path) -> bytes | None:
    """The key, if it is one that nobody else can have read or put there."""
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            status = os.fstat(file.fileno())
            if sys.platform != "win32" and (
                status.st_uid != os.geteuid()
                or not stat.S_ISREG(status.st_mode)
                or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
            ):
                return None
            key = file.read(_KEY_BYTES + 1)
    except OSError:
        return None
    return key if len(key) == _KEY_BYTES else None


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{_FILE}-{os.getpid()}-{os.urandom(8).hex()}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # Linking fails where another process was faster: its key stands.
        try:
            os.link(temporary, path)
        except (AttributeError, NotImplementedError):
            if not path.exists():
                os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
