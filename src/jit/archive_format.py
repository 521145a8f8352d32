"""The container of ingots: a zip whose members are stored uncompressed, aligned for memory mapping, and checked.

A file is written to a temporary name, synced and renamed. Reading maps the file and hands out views of it; every
member's checksum is verified, and whatever is wrong is a LoadError that names the member.
"""

import contextlib
import io
import mmap
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..ir.location import LocatedError
from .errors import JitError, LoadError

__all__ = ["Member", "Members", "part", "read_members", "write_members"]

_ALIGNMENT = 64
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_DIRECTORY_ENTRY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_WIDE_END = struct.Struct("<4sQ2H2I4Q")
_MAX_MEMBERS = 10_000
# The extra field of the zip format by which Android's zipalign pads; readers skip it.
_PADDING_FIELD = 0xD935


class Member(NamedTuple):
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
    temporary = target.with_name(f".{target.name}-{os.getpid()}-{os.urandom(8).hex()}.tmp")
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
    import zipfile  # not at the top: reading needs none of it, and it imports much

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

    Checksums are verified when the file is read, except those of machine code (`native/`) and weights, which are when
    they are asked for: code for other CPUs is never touched, signed code (`unchecked`) is known by its signature, and
    arrays have checksums of their own.
    """

    def __init__(self, views: Mapping[str, memoryview], checksums: Mapping[str, int]) -> None:
        self._views = dict(views)
        self._pending = dict(checksums)
        # What is known about signatures, by the CPU's label and the number of a graph.
        self.signed: dict[tuple[str, int], bool] = {}
        for name in list(self._pending):
            if not name.startswith("native/") and name != "weights.safetensors":
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

    def size(self, name: str) -> int:
        """The bytes of a member."""
        return len(self._views[name])

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
        where = os.fspath(path)
        # Without waiting for who writes to it, if it is a pipe.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise LoadError(f"{where}: not a file, so it is not an ingot")
            if status.st_size == 0:
                raise LoadError(f"{where}: the file is empty, so it is not an ingot")
            # Private pages: in-place updates of parameters stay in this process.
            data = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY))
        finally:
            os.close(descriptor)
    else:
        where = "the file"
        content = path.read()
        if not isinstance(content, bytes):
            raise TypeError(f"load: expected a binary file, which reads bytes, given {type(path).__name__}")
        data = memoryview(bytearray(content))
    entries = _directory(data, where)
    return Members(_views(data, entries), {entry.name: entry.checksum for entry in entries})


class _Entry(NamedTuple):
    """What the directory at the end of a zip says of a member."""

    name: str
    checksum: int
    size: int
    header: int


def _directory(data: memoryview, where: str) -> list[_Entry]:
    """The directory of a zip, in which every member is stored as it is and lies apart from the others."""
    try:
        count, start, size = _end_of_directory(data)
        entries, position = [], start
        for _ in range(count):
            entry, position = _entry(data, position, start + size)
            entries.append(entry)
        if position != start + size:
            raise ValueError("its size is wrong")
    except (struct.error, ValueError) as error:
        raise LoadError(f"{where}: not an ingot, or cut short: {error}") from None
    if len({entry.name for entry in entries}) != len(entries):
        raise LoadError(f"{where}: the directory of parts is damaged: a name occurs twice")
    return [entry for entry in entries if not entry.name.endswith("/")]


def _end_of_directory(data: memoryview) -> tuple[int, int, int]:
    """How many members there are, where their directory starts, and its size (APPNOTE.TXT, 4.3.14 to 4.3.16)."""
    tail = bytes(data[-(_END.size + 0xFFFF) :])
    found = tail.rfind(b"PK\x05\x06")
    if found < 0:
        raise ValueError("there is no directory at its end")
    end = len(data) - len(tail) + found
    _, disk, first_disk, here, count, size, start, comment = _END.unpack_from(data, end)
    if disk or first_disk or here != count or end + _END.size + comment != len(data):
        raise ValueError("its directory is damaged")
    directory_end = end
    if count == 0xFFFF or 0xFFFFFFFF in (size, start):
        if end < _LOCATOR.size:
            raise ValueError("its directory is damaged")
        signature, _, directory_end, _ = _LOCATOR.unpack_from(data, end - _LOCATOR.size)
        wide_signature, *_, count, size, start = _WIDE_END.unpack_from(data, directory_end)
        if signature != b"PK\x06\x07" or wide_signature != b"PK\x06\x06":
            raise ValueError("its directory is damaged")
    if count > _MAX_MEMBERS:
        raise ValueError(f"it has {count} parts")
    if start + size != directory_end:
        raise ValueError("its directory is not where it should be")
    return count, start, size


def _entry(data: memoryview, position: int, end: int) -> tuple[_Entry, int]:
    """The entry at a position of the directory, and the position of the next."""
    (
        signature, _, _, flags, method, _, _, checksum, stored, size, name_size, extra_size, comment, _, _, _, header
    ) = _DIRECTORY_ENTRY.unpack_from(data, position)  # fmt: skip
    name_at = position + _DIRECTORY_ENTRY.size
    following = name_at + name_size + extra_size + comment
    if signature != b"PK\x01\x02" or following > end:
        raise ValueError("an entry of its directory is damaged")
    name = bytes(data[name_at : name_at + name_size]).decode("utf-8" if flags & 0x800 else "ascii")
    if not name or name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"):
        raise ValueError(f"{name!r} is not the name of a part")
    sizes = _wide_sizes(bytes(data[name_at + name_size : name_at + name_size + extra_size]), size, stored, header)
    size, stored, header = sizes
    if method != 0 or stored != size or flags & 0x1:
        raise LoadError(f"{name}: compressed or encrypted, which ingots are not")
    return _Entry(name, checksum, size, header), following


def _wide_sizes(extra: bytes, *values: int) -> list[int]:
    """Sizes and the place of an entry, with those that need more than 32 bits from the extra field for them."""
    result = list(values)
    if 0xFFFFFFFF not in values:
        return result
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            return [next(wide, value) if value == 0xFFFFFFFF else value for value in values]
        position += 4 + length
    raise ValueError("an entry of its directory has no size")


def _views(data: memoryview, entries: Sequence[_Entry]) -> dict[str, memoryview]:
    """The bytes of every member, not yet verified."""
    views = {}
    reached = 0
    for entry in sorted(entries, key=lambda entry: entry.header):
        if entry.header < reached:
            raise LoadError(f"{entry.name}: overlaps another part")
        view, reached = _member(data, entry)
        views[entry.name] = view
    return {entry.name: views[entry.name] for entry in entries}


def _member(data: memoryview, entry: _Entry) -> tuple[memoryview, int]:
    """The bytes of one member, and where they end."""
    try:
        fields = _LOCAL_HEADER.unpack_from(data, entry.header)
    except struct.error:
        raise LoadError(f"{entry.name}: lies outside of the file") from None
    name_at = entry.header + _LOCAL_HEADER.size
    start = name_at + fields[9] + fields[10]
    if fields[0] != b"PK\x03\x04" or bytes(data[name_at : name_at + fields[9]]) != entry.name.encode():
        raise LoadError(f"{entry.name}: its header is damaged")
    if start + entry.size > len(data):
        raise LoadError(f"{entry.name}: cut short")
    return data[start : start + entry.size], start + entry.size
