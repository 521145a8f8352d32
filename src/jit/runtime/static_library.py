"""Several object files as one: the `ar` format of static libraries, whose members refer to each other's symbols.

A program is one driver and kernels that other programs have, too; each is compiled once, and put together here without
touching the code. The layout is POSIX's (`ar`, "Extended description"), so that `ar t` and `objdump -d` read it.
"""

import re
from collections.abc import Sequence

__all__ = ["MAGIC", "pack_objects", "unpack_objects"]

MAGIC = b"!<arch>\n"
_HEADER_BYTES = 60
_END = b"`\n"
_FIELD = re.compile(rb"(\d+) *")


def pack_objects(objects: Sequence[bytes]) -> bytes:
    """A static library of object files, named by their positions.

    >>> unpack_objects(pack_objects([b"first", b"second"]))
    [b'first', b'second']
    """
    parts = [MAGIC]
    for index, content in enumerate(objects):
        # name, time, owner, group, mode, size: fixed values, so that equal objects give equal libraries
        header = f"{f'{index}.o/':<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}"
        parts += [header.encode(), _END, content]
        if len(content) % 2:
            parts.append(b"\n")
    return b"".join(parts)


def unpack_objects(library: bytes) -> list[bytes]:
    """The object files in a static library; ValueError where it is damaged."""
    if not library.startswith(MAGIC):
        raise ValueError("not a static library")
    objects = []
    position = len(MAGIC)
    while position < len(library):
        header = library[position : position + _HEADER_BYTES]
        size = _FIELD.fullmatch(header[48:58])
        if len(header) != _HEADER_BYTES or not header.endswith(_END) or size is None:
            raise ValueError(f"the header at byte {position} is damaged")
        start = position + _HEADER_BYTES
        end = start + int(size[1])
        if end > len(library):
            raise ValueError(f"the object at byte {start} ends at byte {end} of {len(library)}")
        objects.append(library[start:end])
        position = end + end % 2
    return objects
