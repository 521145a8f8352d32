"""Functions on dicts and sets that are pasted in front of a driver.

A dict has the header slots: live keys, used entries, capacity, address of the entries, address of the table, mask. An
entry has the slots: hash + 1 (0: deleted), key, value; entries keep the order of insertion. The table holds positions
of entries plus one, 0 where free and -1 where something was deleted; it is probed linearly.

A set has the header slots: live elements, used slots, mask, address of the table, finger. A slot of the table holds a
state (0 free, 1 live, 2 deleted), the hash that Python gives, and the element. Probing and growth are CPython's
(Objects/setobject.c), so that elements come in the order in which Python's own set has them.
"""

__all__ = ["DICT_FUNCTIONS", "dict_find", "set_functions"]

DICT_FUNCTIONS = {
    "dict_new": '''
def dict_new(arena):
    """A new dict; 0 when out of memory."""
    d = arena_allocate(arena, 48)
    if d != 0:
        for k in range(5):
            set_head(d, k, 0)
        set_head(d, 5, -1)
    return d
''',
    "dict_grow": '''
def dict_grow(arena, d, stride):
    """Make room for more entries, without those that were deleted; 0 when out of memory."""
    live, used, old = head(d, 0), head(d, 1), head(d, 3)
    capacity = max(2 * live, 8)
    size = 16
    while size < 2 * capacity:
        size *= 2
    entries, table = arena_allocate(arena, capacity * stride), arena_allocate(arena, 8 * size)
    if entries == 0 or table == 0:
        return 0
    fill_bytes(table, 0, 8 * size)
    at = 0
    for k in range(used):
        h = cell(old + k * stride, 0)
        if h != 0:
            copy_bytes(entries + at * stride, old + k * stride, stride)
            i = (h - 1) & (size - 1)
            while cell(table, i) != 0:
                i = (i + 1) & (size - 1)
            at += 1
            set_cell(table, i, at)
    arena_release(arena, old)
    arena_release(arena, head(d, 4))
    set_head(d, 1, at)
    set_head(d, 2, capacity)
    set_head(d, 3, entries)
    set_head(d, 4, table)
    set_head(d, 5, size - 1)
    return 1
''',
    "dict_add": '''
def dict_add(arena, d, stride, h):
    """The address of a new last entry, its key and value not written yet; 0 when out of memory."""
    if head(d, 1) >= head(d, 2):
        if dict_grow(arena, d, stride) == 0:
            return 0
    table, mask, position = head(d, 4), head(d, 5), head(d, 1)
    i = h & mask
    while cell(table, i) > 0:
        i = (i + 1) & mask
    set_cell(table, i, position + 1)
    set_head(d, 0, head(d, 0) + 1)
    set_head(d, 1, position + 1)
    entry = head(d, 3) + position * stride
    set_cell(entry, 0, h + 1)
    return entry
''',
    "dict_remove": '''
def dict_remove(d, stride, entry):
    """Remove an entry, whose key and value stay readable until the next is added."""
    table, mask, position = head(d, 4), head(d, 5), (entry - head(d, 3)) // stride
    i = (cell(entry, 0) - 1) & mask
    while cell(table, i) != position + 1:
        i = (i + 1) & mask
    set_cell(table, i, -1)
    set_cell(entry, 0, 0)
    set_head(d, 0, head(d, 0) - 1)
    if head(d, 0) == 0:
        fill_bytes(table, 0, 8 * (mask + 1))
        set_head(d, 1, 0)
''',
    "dict_last": '''
def dict_last(d, stride):
    """The address of the last entry, of a dict that has one."""
    k = head(d, 1) - 1
    while cell(head(d, 3) + k * stride, 0) == 0:
        k -= 1
    # Places of the table that were deleted still count as taken.
    set_head(d, 2, head(d, 2) - (head(d, 1) - k - 1))
    set_head(d, 1, k + 1)
    return head(d, 3) + k * stride
''',
    "dict_clear": '''
def dict_clear(d):
    """Remove every entry."""
    if head(d, 5) >= 0:
        fill_bytes(head(d, 4), 0, 8 * (head(d, 5) + 1))
    set_head(d, 0, 0)
    set_head(d, 1, 0)
''',
    "dict_copy": '''
def dict_copy(arena, d, stride):
    """A new dict with the same keys and values; 0 when out of memory."""
    result = dict_new(arena)
    if result == 0 or head(d, 5) < 0:
        return result
    used, capacity, size = head(d, 1), head(d, 2), head(d, 5) + 1
    entries, table = arena_allocate(arena, capacity * stride), arena_allocate(arena, 8 * size)
    if entries == 0 or table == 0:
        return 0
    copy_bytes(entries, head(d, 3), used * stride)
    copy_bytes(table, head(d, 4), 8 * size)
    for k in range(6):
        set_head(result, k, head(d, k))
    set_head(result, 3, entries)
    set_head(result, 4, table)
    return result
''',
    "dict_part": '''
def dict_part(arena, d, stride, first, nbytes):
    """A new list of the slots of all entries from `first` on; 0 when out of memory."""
    result = list_new(arena, head(d, 0), nbytes)
    if result != 0:
        to = head(result, 2)
        for k in range(head(d, 1)):
            entry = head(d, 3) + k * stride
            if cell(entry, 0) != 0:
                copy_bytes(to, entry + 8 * first, nbytes)
                to += nbytes
    return result
''',
    "dict_part_bool": '''
def dict_part_bool(arena, d, stride, first):
    """A new list of bools from slot `first` of all entries; 0 when out of memory."""
    result, at = list_new(arena, head(d, 0), 1), 0
    if result != 0:
        for k in range(head(d, 1)):
            entry = head(d, 3) + k * stride
            if cell(entry, 0) != 0:
                set_cell_u8(head(result, 2), at, cell(entry, first))
                at += 1
    return result
''',
    "python_hash_int": '''
def python_hash_int(a):
    """hash(a) of an int: its remainder by 2**61 - 1, with its sign; -2 for -1."""
    m = 0x1FFFFFFFFFFFFFFF
    # The lowest integer has no positive counterpart.
    h = a % m if a >= 0 else -((-(a + m)) % m if a < -m else (-a) % m)
    return -2 if h == -1 else h
''',
    "python_hash_float": '''
def python_hash_float(a):
    """hash(a) of a float: as the equal rational number modulo 2**61 - 1 (Objects, `_Py_HashDouble`)."""
    bits = float_to_bits_f64(a)
    exponent, mantissa = (bits >> 52) & 0x7FF, bits & 0xFFFFFFFFFFFFF
    if exponent == 0x7FF:
        return 0 if mantissa != 0 else (314159 if a > 0 else -314159)
    if exponent == 0:
        exponent = 1
    else:
        mantissa += 1 << 52
    k = (exponent - 1075) % 61
    h = ((mantissa & ((1 << (61 - k)) - 1)) << k) | (mantissa >> (61 - k))
    if a < 0:
        h = -h
    return -2 if h == -1 else h
''',
    "set_new": '''
def set_new(arena, stride):
    """A new set; 0 when out of memory."""
    s, table = arena_allocate(arena, 40), arena_allocate(arena, 8 * stride)
    if s == 0 or table == 0:
        return 0
    fill_bytes(table, 0, 8 * stride)
    set_head(s, 0, 0)
    set_head(s, 1, 0)
    set_head(s, 2, 7)
    set_head(s, 3, table)
    set_head(s, 4, 0)
    return s
''',
    "set_place": '''
def set_place(table, mask, stride, h):
    """The address of the free slot for an element that is not there, in a table without deleted ones."""
    i, perturb = h & mask, h
    while True:
        for k in range(10 if i + 9 <= mask else 1):
            if cell(table + (i + k) * stride, 0) == 0:
                return table + (i + k) * stride
        perturb = (perturb >> 5) & 0x7FFFFFFFFFFFFFF
        i = (i * 5 + 1 + perturb) & mask
''',
    "set_resize": '''
def set_resize(arena, s, stride, wanted):
    """Move the elements to a table of more than `wanted` slots; 0 when out of memory."""
    size = 8
    while size <= wanted:
        size *= 2
    table, old = arena_allocate(arena, size * stride), head(s, 3)
    if table == 0:
        return 0
    fill_bytes(table, 0, size * stride)
    for k in range(head(s, 2) + 1):
        if cell(old + k * stride, 0) == 1:
            copy_bytes(set_place(table, size - 1, stride, cell(old + k * stride, 1)), old + k * stride, stride)
    arena_release(arena, old)
    set_head(s, 1, head(s, 0))
    set_head(s, 2, size - 1)
    set_head(s, 3, table)
    return 1
''',
    "set_count": '''
def set_count(arena, s, stride):
    """Note that a slot was taken, and grow where three fifths are; 0 when out of memory."""
    set_head(s, 0, head(s, 0) + 1)
    set_head(s, 1, head(s, 1) + 1)
    if head(s, 1) * 5 < head(s, 2) * 3:
        return 1
    live = head(s, 0)
    return set_resize(arena, s, stride, 2 * live if live > 50000 else 4 * live)
''',
    "set_drop": '''
def set_drop(s, place):
    """Remove the element in a slot."""
    set_cell(place, 0, 2)
    set_cell(place, 1, -1)
    set_head(s, 0, head(s, 0) - 1)
''',
    "set_clear": '''
def set_clear(arena, s, stride):
    """Remove every element; 0 when out of memory."""
    table = arena_allocate(arena, 8 * stride)
    if table == 0:
        return 0
    fill_bytes(table, 0, 8 * stride)
    arena_release(arena, head(s, 3))
    set_head(s, 0, 0)
    set_head(s, 1, 0)
    set_head(s, 2, 7)
    set_head(s, 3, table)
    set_head(s, 4, 0)
    return 1
''',
    "set_next": '''
def set_next(s, stride):
    """The address of the slot that `pop` takes, of a set that is not empty."""
    i, mask = head(s, 4) & head(s, 2), head(s, 2)
    while cell(head(s, 3) + i * stride, 0) != 1:
        i = (i + 1) & mask
    set_head(s, 4, i + 1)
    return head(s, 3) + i * stride
''',
    "set_values": '''
def set_values(arena, s, stride):
    """A new list of the elements; 0 when out of memory."""
    result = list_new(arena, head(s, 0), stride - 16)
    if result != 0:
        to = head(result, 2)
        for k in range(head(s, 2) + 1):
            place = head(s, 3) + k * stride
            if cell(place, 0) == 1:
                copy_bytes(to, place + 16, stride - 16)
                to += stride - 16
    return result
''',
    "set_values_bool": '''
def set_values_bool(arena, s, stride):
    """A new list of the elements of a set of bools; 0 when out of memory."""
    result, at = list_new(arena, head(s, 0), 1), 0
    if result != 0:
        for k in range(head(s, 2) + 1):
            place = head(s, 3) + k * stride
            if cell(place, 0) == 1:
                set_cell_u8(head(result, 2), at, cell(place, 2))
                at += 1
    return result
''',
}


def dict_find(name: str, keys: list[str], equal: str, slots: list[str]) -> str:
    """The source of a function that looks a key up; `slots` reads the key of the entry at `entry`."""
    return f'''
def {name}(d, stride, h, {", ".join(keys)}):
    """The address of a key's entry, or 0."""
    mask = head(d, 5)
    if mask < 0:
        return 0
    table, entries = head(d, 4), head(d, 3)
    i = h & mask
    while True:
        k = cell(table, i)
        if k == 0:
            return 0
        if k > 0:
            entry = entries + (k - 1) * stride
            if cell(entry, 0) == h + 1 and {equal}({", ".join([*keys, *slots])}):
                return entry
        i = (i + 1) & mask
'''.strip()


def set_functions(suffix: str, keys: list[str], equal: str, slots: list[str], write: list[str]) -> dict[str, str]:
    """Functions of a set's element type: `slots` reads the element at `place`, `write` are statements that write it."""
    listed = ", ".join(keys)
    taken = ", ".join(slots)
    writes = "\n    ".join(write)
    return {
        f"set_find_{suffix}": f'''
def set_find_{suffix}(s, stride, h, {listed}):
    """The address of an element's slot; that of the free slot where it would go, with state 0, if it is not there."""
    table, mask = head(s, 3), head(s, 2)
    i, perturb = h & mask, h
    while True:
        for k in range(10 if i + 9 <= mask else 1):
            place = table + (i + k) * stride
            if cell(place, 0) == 0:
                return place
            if cell(place, 0) == 1 and cell(place, 1) == h and {equal}({listed}, {taken}):
                return place
        perturb = (perturb >> 5) & 0x7FFFFFFFFFFFFFF
        i = (i * 5 + 1 + perturb) & mask
'''.strip(),
        f"set_add_{suffix}": f'''
def set_add_{suffix}(arena, s, stride, h, {listed}):
    """Add an element; 0 when out of memory."""
    place = set_find_{suffix}(s, stride, h, {listed})
    if cell(place, 0) == 1:
        return 1
    set_cell(place, 0, 1)
    set_cell(place, 1, h)
    {writes}
    return set_count(arena, s, stride)
'''.strip(),
        f"set_merge_{suffix}": f'''
def set_merge_{suffix}(arena, s, other, stride):
    """Add the elements of another set; 0 when out of memory."""
    if s == other or head(other, 0) == 0:
        return 1
    if (head(s, 1) + head(other, 0)) * 5 >= head(s, 2) * 3:
        if set_resize(arena, s, stride, (head(s, 0) + head(other, 0)) * 2) == 0:
            return 0
    if head(s, 1) == 0 and head(s, 2) == head(other, 2) and head(other, 1) == head(other, 0):
        copy_bytes(head(s, 3), head(other, 3), (head(s, 2) + 1) * stride)
        set_head(s, 0, head(other, 0))
        set_head(s, 1, head(other, 1))
        return 1
    clean = head(s, 1) == 0
    for k in range(head(other, 2) + 1):
        place = head(other, 3) + k * stride
        if cell(place, 0) == 1:
            if clean:
                copy_bytes(set_place(head(s, 3), head(s, 2), stride, cell(place, 1)), place, stride)
                set_head(s, 0, head(s, 0) + 1)
                set_head(s, 1, head(s, 1) + 1)
            elif set_add_{suffix}(arena, s, stride, cell(place, 1), {taken}) == 0:
                return 0
    return 1
'''.strip(),
        f"set_common_{suffix}": f'''
def set_common_{suffix}(arena, s, other, stride):
    """A new set of the elements that two sets share; 0 when out of memory."""
    result = set_new(arena, stride)
    if result == 0:
        return 0
    if head(other, 0) > head(s, 0):
        s, other = other, s
    for k in range(head(other, 2) + 1):
        place = head(other, 3) + k * stride
        if cell(place, 0) == 1 and cell(set_find_{suffix}(s, stride, cell(place, 1), {taken}), 0) == 1:
            if set_add_{suffix}(arena, result, stride, cell(place, 1), {taken}) == 0:
                return 0
    return result
'''.strip(),
        f"set_without_{suffix}": f'''
def set_without_{suffix}(arena, s, other, stride):
    """Remove the elements of another set in place; 0 when out of memory."""
    if s == other:
        return set_clear(arena, s, stride)
    for k in range(head(other, 2) + 1):
        place = head(other, 3) + k * stride
        if cell(place, 0) == 1:
            found = set_find_{suffix}(s, stride, cell(place, 1), {taken})
            if cell(found, 0) == 1:
                set_drop(s, found)
    if head(s, 1) - head(s, 0) <= head(s, 2) // 4:
        return 1
    live = head(s, 0)
    return set_resize(arena, s, stride, 2 * live if live > 50000 else 4 * live)
'''.strip(),
        f"set_minus_{suffix}": f'''
def set_minus_{suffix}(arena, s, other, stride):
    """A new set of the elements that are not in another; 0 when out of memory."""
    result = set_new(arena, stride)
    if result == 0:
        return 0
    if head(s, 0) >> 2 > head(other, 0):
        if set_merge_{suffix}(arena, result, s, stride) == 0 or set_without_{suffix}(arena, result, other, stride) == 0:
            return 0
        return result
    for k in range(head(s, 2) + 1):
        place = head(s, 3) + k * stride
        if cell(place, 0) == 1 and cell(set_find_{suffix}(other, stride, cell(place, 1), {taken}), 0) != 1:
            if set_add_{suffix}(arena, result, stride, cell(place, 1), {taken}) == 0:
                return 0
    return result
'''.strip(),
        f"set_toggle_{suffix}": f'''
def set_toggle_{suffix}(arena, s, other, stride):
    """Remove the elements of another set that a set has and add the others; 0 when out of memory."""
    if s == other:
        return set_clear(arena, s, stride)
    for k in range(head(other, 2) + 1):
        place = head(other, 3) + k * stride
        if cell(place, 0) == 1:
            found = set_find_{suffix}(s, stride, cell(place, 1), {taken})
            if cell(found, 0) == 1:
                set_drop(s, found)
            elif set_add_{suffix}(arena, s, stride, cell(place, 1), {taken}) == 0:
                return 0
    return 1
'''.strip(),
        f"set_inside_{suffix}": f'''
def set_inside_{suffix}(s, other, stride):
    """How many elements of a set are in another."""
    count = 0
    for k in range(head(s, 2) + 1):
        place = head(s, 3) + k * stride
        if cell(place, 0) == 1 and cell(set_find_{suffix}(other, stride, cell(place, 1), {taken}), 0) == 1:
            count += 1
    return count
'''.strip(),
    }
