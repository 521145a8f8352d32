"""The symbol table of an object file (ELF or Mach-O, 64-bit, little-endian), read without mapping anything.

LLVM aborts the whole process when it links an object with an unknown symbol, so the loader looks here first. Layouts
are from the System V ABI ("Object files", ELF-64) and Apple's `mach-o/loader.h` and `mach-o/nlist.h`.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ...ir.records import record
from .static_library import MAGIC, unpack_objects

_ELF_MACHINES = {62: "x86_64", 183: "aarch64"}
_MACH_CPU_TYPES = {0x01000007: "x86_64", 0x0100000C: "aarch64"}

_ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_ELF_SECTION = struct.Struct("<IIQQQQIIQQ")
_ELF_SYMBOL = struct.Struct("<IBBHQQ")
_MACH_HEADER = struct.Struct("<8I")
_MACH_SYMTAB = struct.Struct("<6I")
_MACH_SYMBOL = struct.Struct("<IBBHQ")


class ObjectError(RuntimeError):
    """An object file that is malformed, made for another machine, or needs symbols that nobody provides."""


@record
class ObjectSymbols:
    """The container ("elf" or "mach-o"), the architecture, and the names an object defines and needs."""

    container: str
    architecture: str
    defined: frozenset[str]
    undefined: frozenset[str]


def object_symbols(blob: bytes) -> ObjectSymbols:
    """The symbols that an object file defines for others and those it needs from others.

    For a static library they are those of all its members together, which provide for each other. Raises ObjectError
    for anything but a relocatable 64-bit little-endian ELF or Mach-O file, or a library of such files.
    """
    try:
        if blob.startswith(MAGIC):
            return _library_symbols(unpack_objects(blob))
        if blob[:4] == b"\x7fELF":
            return _elf_symbols(blob)
        if blob[:4] == b"\xcf\xfa\xed\xfe":
            return _mach_symbols(blob)
    except (struct.error, IndexError, ValueError, UnicodeDecodeError) as error:
        raise ObjectError(f"object file: malformed ({error}); {len(blob)} bytes were given") from None
    raise ObjectError(
        f"object file: starts with {blob[:4]!r}, expected a 64-bit ELF or Mach-O object "
        f"(on Windows, too, LLVM loads ELF: emit for a triple that ends in '-elf')"
    )


def _library_symbols(objects: list[bytes]) -> ObjectSymbols:
    tables = [object_symbols(member) for member in objects]
    kinds = {(table.container, table.architecture) for table in tables}
    if len(kinds) != 1:
        raise ValueError(f"a library of {len(kinds)} kinds of objects")
    ((container, architecture),) = kinds
    defined = frozenset[str]().union(*(table.defined for table in tables))
    if len(defined) != sum(len(table.defined) for table in tables):
        raise ValueError("two objects define the same symbol")
    undefined = frozenset[str]().union(*(table.undefined for table in tables)) - defined
    return ObjectSymbols(container, architecture, defined, undefined)


def name_at(table: bytes, offset: int) -> str:
    """The name that starts at an offset of a string table."""
    return table[offset : table.index(b"\0", offset)].decode("ascii")


def _slice(blob: bytes, offset: int, size: int, what: str) -> bytes:
    if offset + size > len(blob):
        raise ValueError(f"its {what} ends at byte {offset + size}")
    return blob[offset : offset + size]


class ElfSection(NamedTuple):
    """A section header: the fields of Elf64_Shdr."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


def elf_sections(blob: bytes) -> list[ElfSection]:
    """The sections of a relocatable ELF file, whose bytes all lie within it."""
    identity, kind, _, _, _, _, sections_at, _, _, _, _, entry_size, count, _ = _ELF_HEADER.unpack_from(blob)
    if identity[4] != 2 or identity[5] != 1:
        raise ObjectError("object file: ELF, but not 64-bit little-endian")
    if kind != 1:
        raise ObjectError(f"object file: ELF of type {kind}, expected 1 (relocatable)")
    if entry_size != _ELF_SECTION.size:
        raise ValueError(f"its section headers have {entry_size} bytes")
    headers = _slice(blob, sections_at, count * entry_size, "section table")
    sections = [ElfSection._make(fields) for fields in _ELF_SECTION.iter_unpack(headers)]
    for section in sections:
        if section.kind != 8:  # SHT_NOBITS occupies no bytes of the file
            _slice(blob, section.offset, section.size, "last section")
    return sections


def elf_section_bytes(blob: bytes, section: ElfSection) -> bytes:
    """The bytes of a section."""
    return blob[section.offset : section.offset + section.size]


def elf_symbols(blob: bytes, table: ElfSection) -> Iterator[tuple[int, int, int, int, int, int]]:
    """The entries of a symbol table: name, info, other, section, value and size (Elf64_Sym)."""
    return _ELF_SYMBOL.iter_unpack(elf_section_bytes(blob, table))


def for_static_linking(blob: bytes, names: Mapping[str, str]) -> bytes:
    """An ELF object that can be linked beside others of its kind: some symbols get other names, the rest become weak.

    Kernels are named after their source, so that two objects that define one define the same: a linker takes either if
    they are weak. Other containers come back as they are.
    """
    if blob[:4] != b"\x7fELF":
        return blob
    changed = bytearray(blob)
    sections = elf_sections(blob)
    at = _ELF_HEADER.unpack_from(blob)[6]
    for table in sections:
        if table.kind != 2:  # SHT_SYMTAB
            continue
        strings = bytearray(elf_section_bytes(blob, sections[table.link]))
        for index, (name, info, other, section, value, size) in enumerate(elf_symbols(blob, table)):
            text = name_at(bytes(strings), name) if name else ""
            if text in names:
                name = len(strings)
                strings += names[text].encode("ascii") + b"\0"
            elif info >> 4 == 1 and section != 0:  # STB_GLOBAL and defined: now STB_WEAK
                info = 2 << 4 | info & 0xF
            place = table.offset + index * _ELF_SYMBOL.size
            _ELF_SYMBOL.pack_into(changed, place, name, info, other, section, value, size)
        header = sections[table.link]._replace(offset=len(changed), size=len(strings))
        _ELF_SECTION.pack_into(changed, at + table.link * _ELF_SECTION.size, *header)
        changed += strings
    return bytes(changed)


def _elf_symbols(blob: bytes) -> ObjectSymbols:
    sections = elf_sections(blob)
    defined: set[str] = set()
    undefined: set[str] = set()
    for table in sections:
        if table.kind != 2:  # SHT_SYMTAB
            continue
        strings = elf_section_bytes(blob, sections[table.link])
        for name, info, _, section, _, _ in elf_symbols(blob, table):
            if name == 0:
                continue
            if section == 0:  # SHN_UNDEF
                undefined.add(name_at(strings, name))
            elif info >> 4 != 0:  # STB_LOCAL
                defined.add(name_at(strings, name))
    (machine,) = struct.unpack_from("<H", blob, 18)
    architecture = _ELF_MACHINES.get(machine, f"ELF machine {machine}")
    return ObjectSymbols("elf", architecture, frozenset(defined), frozenset(undefined))


def _mach_symbols(blob: bytes) -> ObjectSymbols:
    _, cpu_type, _, kind, commands, _, _, _ = _MACH_HEADER.unpack_from(blob)
    if kind != 1:
        raise ObjectError(f"object file: Mach-O of type {kind}, expected 1 (MH_OBJECT)")
    defined: set[str] = set()
    undefined: set[str] = set()
    offset = _MACH_HEADER.size
    for _ in range(commands):
        command, size = struct.unpack_from("<II", blob, offset)
        if size < 8:
            raise ValueError(f"a load command has {size} bytes")
        if command == 2:  # LC_SYMTAB
            _, _, symbols_at, count, strings_at, strings_size = _MACH_SYMTAB.unpack_from(blob, offset)
            strings = _slice(blob, strings_at, strings_size, "string table")
            table = _slice(blob, symbols_at, count * _MACH_SYMBOL.size, "symbol table")
            for start, flags, _, _, _ in _MACH_SYMBOL.iter_unpack(table):
                if flags & 0xE0 or not flags & 0x01:  # N_STAB: debugging; without N_EXT: local
                    continue
                # Mach-O's C names carry a leading underscore.
                name = name_at(strings, start).removeprefix("_")
                (undefined if flags & 0x0E == 0 else defined).add(name)  # N_TYPE == N_UNDF
        offset += size
    architecture = _MACH_CPU_TYPES.get(cpu_type, f"Mach-O CPU type {cpu_type:#x}")
    return ObjectSymbols("mach-o", architecture, frozenset(defined), frozenset(undefined))
