"""The container of ingots: a zip whose members are stored uncompressed, aligned for memory mapping, and checked.

A file is written to a temporary name, synced and renamed. Reading maps the file and hands out views of it; every
member's checksum is verified, and whatever is wrong is a LoadError that names the member.
"""

import contextlib
import io
import mmap
import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..ir.location import LocatedError
from .errors import JitError, LoadError

__all__ = ["Member", "Members", "part", "read_members", "write_members"]

_ALIGNMENT = 64
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_MAX_MEMBERS = 10_000
# The extra field of the zip format by which Android's zipalign pads; readers skip it.
_PADDING_FIELD = 0xD935


@dataclass
class Member:
    """A named part of a file, to be written."""

    name: str
    data: bytes


def write_members(path: "str | os.PathLike[str] | BinaryIO", members: Sequence[Member]) -> None:
    """Write a file, or to a binary file object; a file is replaced at once, when it is complete."""
    if not isinstance(path, (str, os.PathLike)):
        buffer = io.BytesIO()
        _write_zip(buffer, members)
        path.write(buffer.getvalue())
        return
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target}: the folder {target.parent} does not exist")
    temporary = target.with_name(f".{target.name}-{os.getpid()}-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            _write_zip(file, members)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _write_zip(file: BinaryIO, members: Sequence[Member]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for member in members:
            info = zipfile.ZipInfo(member.name)  # a fixed date: equal content gives equal files
            info.external_attr = 0o644 << 16
            if member.name.endswith(".safetensors"):
                start = file.tell() + _LOCAL_HEADER.size + len(member.name.encode())
                # The field's own header takes four bytes. Members of 4 GiB and more get another field of twenty.
                wide = 20 if len(member.data) >= zipfile.ZIP64_LIMIT else 0
                padding = -(start + wide + 4) % _ALIGNMENT
                info.extra = struct.pack("<HH", _PADDING_FIELD, padding) + bytes(padding)
            archive.writestr(info, member.data)


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Turn what goes wrong in a part of the file into a LoadError that names it."""
    try:
        yield
    except LoadError:
        raise
    except (
        LocatedError, JitError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError,
        RecursionError, MemoryError, RuntimeError,
    ) as error:  # fmt: skip
        raise LoadError(f"{name}: {error}") from error


class Members(Mapping[str, memoryview]):
    """The members of a file, as views of its mapped bytes.

    Checksums are verified when the file is read, except those of machine code (`native/`), which are when it is asked
    for: code for other CPUs is never touched, and signed code (`unchecked`) is known by its signature.
    """

    def __init__(self, views: Mapping[str, memoryview], checksums: Mapping[str, int]) -> None:
        self._views = dict(views)
        self._pending = dict(checksums)
        for name in list(self._pending):
            if not name.startswith("native/"):
                self._check(name)

    def _check(self, name: str) -> None:
        if name in self._pending:
            if zlib.crc32(self._views[name]) != self._pending[name]:
                raise LoadError(f"{name}: damaged: its checksum does not match")
            del self._pending[name]

    def __getitem__(self, name: str) -> memoryview:
        view = self._views[name]
        self._check(name)
        return view

    def __contains__(self, name: object) -> bool:
        return name in self._views

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def unchecked(self, name: str) -> memoryview:
        """A member whose bytes are verified in another way."""
        return self._views[name]

    def verified(self, names: Iterable[str]) -> None:
        """Take these members for undamaged: a signature says so."""
        for name in names:
            self._pending.pop(name, None)


def read_members(path: "str | os.PathLike[str] | BinaryIO") -> Members:
    """The members of a file; LoadError where it is damaged."""
    if isinstance(path, (str, os.PathLike)):
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise LoadError(f"{os.fspath(path)}: the file is empty, so it is not an ingot")
            # Private pages: in-place updates of parameters stay in this process.
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
            infos = _directory(file, os.fspath(path))
    else:
        content = path.read()
        if not isinstance(content, bytes):
            raise TypeError(f"load: expected a binary file, which reads bytes, given {type(path).__name__}")
        data = memoryview(bytearray(content))
        infos = _directory(io.BytesIO(content), "the file")
    return Members({info.filename: _member(data, info) for info in infos}, {info.filename: info.CRC for info in infos})


def _directory(file: BinaryIO, where: str) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        NotImplementedError,
        struct.error,
        EOFError,
        RecursionError,
    ) as error:
        raise LoadError(f"{where}: not an ingot, or cut short: {error}") from None
    if len(infos) > _MAX_MEMBERS or len({info.filename for info in infos}) != len(infos):
        raise LoadError(f"{where}: the directory of parts is damaged: a name occurs twice, or there are too many parts")
    return infos


def _member(data: memoryview, info: zipfile.ZipInfo) -> memoryview:
    """The bytes of one member, not yet verified."""
    name = info.filename
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 0x1:
        raise LoadError(f"{name}: compressed or encrypted, which ingots are not")
    try:
        fields = _LOCAL_HEADER.unpack_from(data, info.header_offset)
    except struct.error:
        raise LoadError(f"{name}: lies outside of the file") from None
    name_at = info.header_offset + _LOCAL_HEADER.size
    start = name_at + fields[9] + fields[10]
    stated = bytes(data[name_at : name_at + fields[9]])
    if fields[0] != b"PK\x03\x04" or stated != (info.orig_filename or name).encode():
        raise LoadError(f"{name}: its header is damaged")
    if start + info.file_size > len(data):
        raise LoadError(f"{name}: cut short")
    return data[start : start + info.file_size]
