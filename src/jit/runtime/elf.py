"""Relocatable ELF objects for x86-64 mapped into the process by us: LLVM's library, which can, takes 30 ms to load.

What compiled programs consist of is laid out, relocated and protected: code can be executed and not written, constants
can only be read. Anything else (thread-local variables, other relocations) is `NotMappable`, and LLVM does it. The
layouts are those of the System V ABI ("Object files") and its AMD64 supplement ("Relocation", table 4.9).
"""

import ctypes
import functools
import mmap
import struct
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .objects import ElfSection, ObjectError, elf_section_bytes, elf_sections, elf_symbols, name_at

__all__ = ["NotMappable", "can_map", "map_objects"]

_PROGBITS, _SYMTAB, _RELA, _NOBITS, _REL = 1, 2, 4, 8, 9
_INIT_ARRAYS = (14, 15, 16)
_WRITE, _ALLOC, _EXECUTE, _TLS = 0x1, 0x2, 0x4, 0x400
_UNDEFINED, _ABSOLUTE = 0, 0xFFF1
_FIRST_RESERVED = 0xFF00
_SOURCE_FILE, _THREAD_LOCAL, _CHOSEN_WHEN_LOADED = 4, 6, 10

_R_64, _R_PC32, _R_PLT32, _R_GOTPCREL, _R_PC64, _R_GOTPCRELX, _R_REX_GOTPCRELX = 1, 2, 4, 9, 24, 41, 42
_RELOCATION = struct.Struct("<QIIq")
# jmp *0(%rip), and the address that it jumps to.
_STUB = struct.Struct("<6sQ2x")
_JUMP = b"\xff\x25\x00\x00\x00\x00"
_INT32 = 1 << 31
# Further apart than this, calls within the image would need stubs.
_MAX_IMAGE = 1 << 30
_MAX_ALIGNMENT = 4096
_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_MAP_PRIVATE_ANONYMOUS = 0x22


class NotMappable(Exception):
    """An object with something that only LLVM's loader knows."""


class _Symbol(NamedTuple):
    name: str
    section: int
    value: int


class _Object(NamedTuple):
    blob: bytes
    sections: list[ElfSection]
    symbols: list[_Symbol]
    places: dict[int, int]  # of the sections that are mapped, by index, as offsets in the image
    exported: list[_Symbol]


def can_map() -> bool:
    """Whether this process takes such objects."""
    return sys.platform == "linux" and struct.calcsize("P") == 8


def map_objects(objects: Sequence[bytes], external: Callable[[str], int]) -> dict[str, int]:
    """Map object files that refer to each other, for good, and return the addresses of what they define.

    `external` gives the addresses of what they do not define. Raises ObjectError for malformed objects, and NotMappable
    for those that have what is not known here.
    """
    read = [_read(blob) for blob in objects]
    image = _Image(read)
    try:
        places: dict[str, int] = {}
        for item in read:
            for symbol in item.exported:
                if symbol.section in item.places:
                    places[symbol.name] = image.base + item.places[symbol.section] + symbol.value
        for item in read:
            for index, place in item.places.items():
                if item.sections[index].kind != _NOBITS:
                    content = elf_section_bytes(item.blob, item.sections[index])
                    image.view[place : place + len(content)] = content
            _relocate(item, image, places, external)
        image.protect()
    except BaseException:
        image.discard()
        raise
    return places


def _read(blob: bytes) -> _Object:
    try:
        sections = elf_sections(blob)
        symbols: list[_Symbol] = []
        exported: list[_Symbol] = []
        for table in sections:
            if table.kind != _SYMTAB:
                continue
            if symbols:
                raise ValueError("it has two symbol tables")
            names = elf_section_bytes(blob, sections[table.link])
            for name, info, _, index, value, _ in elf_symbols(blob, table):
                symbol = _Symbol(name_at(names, name) if name else "", index, value)
                symbols.append(symbol)
                if index == _UNDEFINED or (index == _ABSOLUTE and info & 0xF == _SOURCE_FILE):
                    continue
                if index >= _FIRST_RESERVED or info & 0xF in (_THREAD_LOCAL, _CHOSEN_WHEN_LOADED):
                    raise NotMappable(f"the symbol {symbol.name} is of a kind that is not known")
                if value > sections[index].size:
                    raise ValueError(f"the symbol {symbol.name} lies outside of its section")
                if info >> 4 != 0:  # STB_LOCAL
                    exported.append(symbol)
        strings = elf_section_bytes(blob, sections[struct.unpack_from("<H", blob, 62)[0]])
        # Without unwinding tables: nothing unwinds through kernels.
        mapped = [i for i, s in enumerate(sections) if _is_mapped(s) and name_at(strings, s.name) != ".eh_frame"]
    except (struct.error, IndexError, ValueError, UnicodeDecodeError) as error:
        raise ObjectError(f"object file: malformed ({error})") from None
    return _Object(blob, sections, symbols, dict.fromkeys(mapped, 0), exported)


def _is_mapped(section: ElfSection) -> bool:
    if not section.flags & _ALLOC or not section.size:
        return False
    if section.flags & _TLS or section.kind in _INIT_ARRAYS:
        raise NotMappable("it has thread-local variables, or code that runs when it is loaded")
    if section.alignment & (section.alignment - 1) or section.alignment > _MAX_ALIGNMENT:
        raise NotMappable(f"a section is aligned to {section.alignment} bytes")
    return section.kind in (_PROGBITS, _NOBITS)


class _Image:
    """Memory of the process that the objects go to, with stubs for calls to far functions and a table of addresses."""

    def __init__(self, objects: Sequence[_Object]) -> None:
        """Lay the sections out: code, then constants with the table, then variables, each on pages of their own."""
        size = 0
        self._bounds: list[tuple[int, int]] = []
        undefined = {s.name for item in objects for s in item.symbols if s.section == _UNDEFINED}
        for group in range(3):
            start = size
            for item in objects:
                for index in item.places:
                    section = item.sections[index]
                    if group == (0 if section.flags & _EXECUTE else 2 if section.flags & _WRITE else 1):
                        item.places[index] = size = _aligned(size, section.alignment)
                        size += section.size
            if group == 0:
                self._next_stub = size = _aligned(size, _STUB.size)
                size += _STUB.size * len(undefined)
            elif group == 1:
                self._next_entry = size = _aligned(size, 8)
                size += 8 * sum(len(item.symbols) for item in objects)
            size = _aligned(size, mmap.PAGESIZE)
            if size > _MAX_IMAGE:
                raise NotMappable(f"it takes more than {_MAX_IMAGE} bytes")
            self._bounds.append((start, size))
        if not size:
            raise NotMappable("it has no code")
        self.size = size
        self.base = _map(size)
        self.view = memoryview((ctypes.c_char * size).from_address(self.base)).cast("B")
        self._stubs: dict[int, int] = {}
        self._table: dict[int, int] = {}

    def stub(self, target: int) -> int:
        """The address of code that jumps to a target that is too far for a call."""
        if target not in self._stubs:
            self._stubs[target] = self.base + self._next_stub
            _STUB.pack_into(self.view, self._next_stub, _JUMP, target)
            self._next_stub += _STUB.size
        return self._stubs[target]

    def table_entry(self, target: int) -> int:
        """The address of a place that holds the target's address."""
        if target not in self._table:
            self._table[target] = self.base + self._next_entry
            struct.pack_into("<Q", self.view, self._next_entry, target)
            self._next_entry += 8
        return self._table[target]

    def protect(self) -> None:
        """Set what may be done with the pages of code, constants and variables; nothing is written from here on."""
        self.view.release()
        rights = (_PROT_READ | _PROT_EXEC, _PROT_READ, _PROT_READ | _PROT_WRITE)
        for (start, end), right in zip(self._bounds, rights, strict=True):
            if end > start and _system().mprotect(self.base + start, end - start, right):
                raise ObjectError(f"object file: the system refuses protection {right} of its pages")

    def discard(self) -> None:
        """Give the memory back: nothing refers to it yet."""
        self.view.release()
        _system().munmap(self.base, self.size)


@functools.cache
def _system() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    library.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return library


def _map(size: int) -> int:
    address: int | None = _system().mmap(None, size, _PROT_READ | _PROT_WRITE, _MAP_PRIVATE_ANONYMOUS, -1, 0)
    if address is None or address == ctypes.c_void_p(-1).value:
        raise MemoryError(f"object file: the system gives no {size} bytes")
    return address


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment if alignment else size


def _relocate(item: _Object, image: _Image, places: dict[str, int], external: Callable[[str], int]) -> None:
    addresses: dict[int, int] = {}
    for section in item.sections:
        if section.kind == _REL and section.info in item.places:
            raise NotMappable("it has relocations without addends")
        if section.kind != _RELA or section.info not in item.places:
            continue
        start, length = item.places[section.info], item.sections[section.info].size
        table = elf_section_bytes(item.blob, section)
        if len(table) % _RELOCATION.size:
            raise ObjectError("object file: malformed (a relocation is cut short)")
        for offset, kind, index, addend in _RELOCATION.iter_unpack(table):
            target = addresses.get(index)
            if target is None:
                target = addresses[index] = _address(item, index, image, places, external)
            width = 8 if kind in (_R_64, _R_PC64) else 4
            if offset > length - width:
                raise ObjectError("object file: malformed (a relocation lies outside of its section)")
            place = image.base + start + offset
            if kind == _R_64:
                struct.pack_into("<Q", image.view, start + offset, (target + addend) & (1 << 64) - 1)
                continue
            if kind == _R_PC64:
                struct.pack_into("<q", image.view, start + offset, target + addend - place)
                continue
            if kind in (_R_GOTPCREL, _R_GOTPCRELX, _R_REX_GOTPCRELX):
                target = image.table_entry(target)
            elif kind == _R_PLT32 and not -_INT32 <= target + addend - place < _INT32:
                target = image.stub(target)
            elif kind not in (_R_PC32, _R_PLT32):
                raise NotMappable(f"relocation {kind} is not known")
            distance = target + addend - place
            if not -_INT32 <= distance < _INT32:
                raise NotMappable("something is too far to be addressed")
            struct.pack_into("<i", image.view, start + offset, distance)


def _address(item: _Object, index: int, image: _Image, places: dict[str, int], external: Callable[[str], int]) -> int:
    """The address of a symbol of an object."""
    if index >= len(item.symbols):
        raise ObjectError(f"object file: malformed (a relocation refers to symbol {index})")
    symbol = item.symbols[index]
    if symbol.section == _UNDEFINED:
        address = places.get(symbol.name) or external(symbol.name)
        if not address:
            raise ObjectError(f"object file: nobody provides {symbol.name!r}")
        return address
    if symbol.section not in item.places:
        raise NotMappable(f"{symbol.name or 'a symbol'} is in a section that is not mapped")
    return image.base + item.places[symbol.section] + symbol.value
