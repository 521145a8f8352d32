"""Functions on strings that are pasted in front of a driver. A string is the address of its characters (32 bits each)
and their number; what makes one gives both, the address -1 when out of memory, -2 where only the interpreter knows.
"""

__all__ = ["TEXT_FUNCTIONS", "needed_functions"]

TEXT_FUNCTIONS = {
    "text_equal": '''
def text_equal(a, n, b, m):
    """Whether two strings are equal."""
    if n != m:
        return False
    for i in range(n):
        if char(a, i) != char(b, i):
            return False
    return True
''',
    "text_compare": '''
def text_compare(a, n, b, m):
    """-1, 0 or 1 as a string comes before, is, or comes after another."""
    for i in range(min(n, m)):
        x, y = char(a, i), char(b, i)
        if x != y:
            return -1 if x < y else 1
    return -1 if n < m else (1 if n > m else 0)
''',
    "text_matches": '''
def text_matches(a, at, b, m):
    """Whether a string has another at an index, where it is long enough."""
    for i in range(m):
        if char(a, at + i) != char(b, i):
            return False
    return True
''',
    "text_find": '''
def text_find(a, n, b, m, start, stop):
    """The first index of a string within bounds of another, or -1."""
    for i in range(start, stop - m + 1):
        if text_matches(a, i, b, m):
            return i
    return -1
''',
    "text_find_last": '''
def text_find_last(a, n, b, m, start, stop):
    """The last index of a string within bounds of another, or -1."""
    i = stop - m
    while i >= start:
        if text_matches(a, i, b, m):
            return i
        i -= 1
    return -1
''',
    "text_count": '''
def text_count(a, n, b, m, start, stop):
    """How often a string occurs within bounds of another, without overlap."""
    if m == 0:
        return max(stop - start + 1, 0)
    count, i = 0, start
    while i <= stop - m:
        if text_matches(a, i, b, m):
            count += 1
            i += m
        else:
            i += 1
    return count
''',
    "text_ends": '''
def text_ends(a, n, b, m, start, stop, last):
    """Whether a string within bounds starts (or, `last`, ends) with another."""
    if stop - start < m:
        return False
    return text_matches(a, stop - m if last else start, b, m)
''',
    "text_new": '''
def text_new(arena, n):
    """Room for n characters; -1 when out of memory."""
    memory = arena_allocate(arena, max(n, 1) * 4)
    return -1 if memory == 0 else memory
''',
    "text_join_two": '''
def text_join_two(arena, ends, a, n, b, m):
    """Two strings one after the other. One that was made by joining grows in place while nothing follows it.

    `ends` remembers where the latest four such strings end and how far their memory reaches.
    """
    for k in range(4):
        if head(ends, 2 * k) == a + 4 * n and a + 4 * (n + m) <= head(ends, 2 * k + 1):
            copy_bytes(a + 4 * n, b, 4 * m)
            set_head(ends, 2 * k, a + 4 * (n + m))
            return a
    room = 2 * (n + m) + 8
    memory = arena_allocate(arena, 4 * room)
    if memory == 0:
        return -1
    copy_bytes(memory, a, 4 * n)
    copy_bytes(memory + 4 * n, b, 4 * m)
    k = head(ends, 8)
    set_head(ends, 8, (k + 1) % 4)
    set_head(ends, 2 * k, memory + 4 * (n + m))
    set_head(ends, 2 * k + 1, memory + 4 * room)
    return memory
''',
    "text_slice": '''
def text_slice(arena, a, n, from_start, start, to_end, stop, step):
    """The characters of a slice, by Python's rules: in place where they are neighbours."""
    lowest, highest = (0, n) if step > 0 else (-1, n - 1)
    start = start + n if start < 0 else start
    stop = stop + n if stop < 0 else stop
    start = min(max(start, lowest), highest)
    stop = min(max(stop, lowest), highest)
    if from_start:
        start = lowest if step > 0 else highest
    if to_end:
        stop = highest if step > 0 else lowest
    count = max((stop - start + step - 1) // step if step > 0 else (start - stop - step - 1) // (-step), 0)
    if step == 1 or count == 0:
        return a + 4 * start, count
    memory = text_new(arena, count)
    if memory != -1:
        for k in range(count):
            set_char(memory, k, char(a, start + k * step))
    return memory, count
''',
    "text_repeat": '''
def text_repeat(arena, a, n, times):
    """A string several times over."""
    count = n * max(times, 0)
    memory = text_new(arena, count)
    if memory != -1:
        for k in range(max(times, 0)):
            copy_bytes(memory + 4 * k * n, a, 4 * n)
    return memory, count
''',
    "text_replace": '''
def text_replace(arena, a, n, b, m, c, k, limit):
    """A string with at most `limit` occurrences of another replaced (-1: all)."""
    found = text_count(a, n, b, m, 0, n)
    if limit >= 0:
        found = min(found, limit)
    length = n + found * (k - m)
    memory = text_new(arena, length)
    if memory == -1:
        return memory, 0
    i, at, left = 0, 0, found
    while left > 0:
        if m == 0:
            copy_bytes(memory + 4 * at, c, 4 * k)
            at += k
            if i < n:
                set_char(memory, at, char(a, i))
                at += 1
            i += 1
            left -= 1
        elif text_matches(a, i, b, m):
            copy_bytes(memory + 4 * at, c, 4 * k)
            at += k
            i += m
            left -= 1
        else:
            set_char(memory, at, char(a, i))
            at += 1
            i += 1
    if i < n:
        copy_bytes(memory + 4 * at, a + 4 * i, 4 * (n - i))
    return memory, length
''',
    "is_space": '''
def is_space(c):
    """Whether a character is white space, as str.isspace has it (Unicode: bidirectional type WS, B or S, or Zs)."""
    if c < 128:
        return c == 32 or (9 <= c and c <= 13) or (28 <= c and c <= 31)
    return (
        c == 0x85 or c == 0xA0 or c == 0x1680 or (0x2000 <= c and c <= 0x200A)
        or c == 0x2028 or c == 0x2029 or c == 0x202F or c == 0x205F or c == 0x3000
    )
''',
    "text_strip": '''
def text_strip(a, n, b, m, blank, left, right):
    """Where a string starts and how long it is without characters of another (`blank`: white space) at its ends."""
    start, stop = 0, n
    if left:
        while start < stop and (is_space(char(a, start)) if blank else has_char(b, m, char(a, start))):
            start += 1
    if right:
        while stop > start and (is_space(char(a, stop - 1)) if blank else has_char(b, m, char(a, stop - 1))):
            stop -= 1
    return a + 4 * start, stop - start
''',
    "has_char": '''
def has_char(a, n, c):
    """Whether a string has a character."""
    for i in range(n):
        if char(a, i) == c:
            return True
    return False
''',
    "text_case": '''
def text_case(arena, a, n, method):
    """upper (0), lower and casefold (1), swapcase (2), title (3), capitalize (4), of ASCII."""
    for i in range(n):
        if char(a, i) > 127:
            return -2, 0
    memory = text_new(arena, n)
    if memory == -1:
        return memory, 0
    inside = False
    for i in range(n):
        c = char(a, i)
        small, large = 97 <= c and c <= 122, 65 <= c and c <= 90
        raises = method == 0 or method == 2 or (method == 3 and not inside) or (method == 4 and i == 0)
        lowers = method == 1 or method == 2 or (method == 3 and inside) or (method == 4 and i > 0)
        if small and raises:
            set_char(memory, i, c - 32)
        elif large and lowers:
            set_char(memory, i, c + 32)
        else:
            set_char(memory, i, c)
        inside = small or large
    return memory, n
''',
    "text_test": '''
def text_test(a, n, method):
    """isdigit, isdecimal, isnumeric (0), isalpha (1), isalnum (2), isupper (4), islower (5), istitle (6),
    isidentifier (7), isprintable (8), of ASCII: 1 or 0; -2 elsewhere."""
    for i in range(n):
        if char(a, i) > 127:
            return -2
    cased, inside = False, False
    for i in range(n):
        c = char(a, i)
        small, large, digit = 97 <= c and c <= 122, 65 <= c and c <= 90, 48 <= c and c <= 57
        if method == 0 and not digit:
            return 0
        if method == 1 and not (small or large):
            return 0
        if method == 2 and not (small or large or digit):
            return 0
        if (method == 4 and small) or (method == 5 and large):
            return 0
        if method == 6 and ((large and inside) or (small and not inside)):
            return 0
        if method == 7 and not (small or large or c == 95 or (digit and i > 0)):
            return 0
        if method == 8 and (c < 32 or c == 127):
            return 0
        inside = small or large
        cased = cased or inside
    if method == 8:
        return 1
    if method >= 4 and method <= 6:
        return 1 if cased else 0
    return 1 if n > 0 else 0
''',
    "text_spaces": '''
def text_spaces(a, n):
    """Whether a string is white space, and not empty."""
    for i in range(n):
        if not is_space(char(a, i)):
            return False
    return n > 0
''',
    "text_split": '''
def text_split(arena, a, n, b, m, blank, limit):
    """The parts of a string between separators (`blank`: runs of white space), at most `limit` cuts (-1: all)."""
    parts = list_new(arena, 0, 16)
    if parts == 0:
        return 0
    start, i, cuts = 0, 0, 0
    if blank:
        while True:
            while i < n and is_space(char(a, i)):
                i += 1
            if i >= n:
                return parts
            start = i
            stop = n
            if limit < 0 or cuts < limit:
                while i < n and not is_space(char(a, i)):
                    i += 1
                stop = i
            else:
                while is_space(char(a, stop - 1)):
                    stop -= 1
                i = n
            if push_text(arena, parts, a + 4 * start, stop - start) == 0:
                return 0
            cuts += 1
    while i <= n - m and (limit < 0 or cuts < limit):
        if text_matches(a, i, b, m):
            if push_text(arena, parts, a + 4 * start, i - start) == 0:
                return 0
            cuts += 1
            i += m
            start = i
        else:
            i += 1
    if push_text(arena, parts, a + 4 * start, n - start) == 0:
        return 0
    return parts
''',
    "text_split_last": '''
def text_split_last(arena, a, n, b, m, blank, limit):
    """As text_split, with the cuts counted from the end."""
    parts = list_new(arena, 0, 16)
    if parts == 0:
        return 0
    stop, cuts = n, 0
    if blank:
        while True:
            while stop > 0 and is_space(char(a, stop - 1)):
                stop -= 1
            if stop <= 0:
                break
            start = 0
            if limit < 0 or cuts < limit:
                start = stop
                while start > 0 and not is_space(char(a, start - 1)):
                    start -= 1
            else:
                while is_space(char(a, start)):
                    start += 1
            if push_text(arena, parts, a + 4 * start, stop - start) == 0:
                return 0
            if limit >= 0 and cuts >= limit:
                break
            cuts += 1
            stop = start
    else:
        i = n - m
        while i >= 0 and (limit < 0 or cuts < limit):
            if text_matches(a, i, b, m):
                if push_text(arena, parts, a + 4 * (i + m), stop - i - m) == 0:
                    return 0
                cuts += 1
                stop = i
                i -= m
            else:
                i -= 1
        if push_text(arena, parts, a, stop) == 0:
            return 0
    list_reverse(parts, 2)
    return parts
''',
    "is_line_end": '''
def is_line_end(c):
    """Whether str.splitlines ends a line at a character."""
    return (10 <= c and c <= 13) or (28 <= c and c <= 30) or c == 0x85 or c == 0x2028 or c == 0x2029
''',
    "text_lines": '''
def text_lines(arena, a, n, keep):
    """The lines of a string, with their ends or without."""
    parts = list_new(arena, 0, 16)
    if parts == 0:
        return 0
    start, i = 0, 0
    while i < n:
        if is_line_end(char(a, i)):
            stop = i
            i += 2 if char(a, i) == 13 and i + 1 < n and char(a, i + 1) == 10 else 1
            if push_text(arena, parts, a + 4 * start, (i if keep else stop) - start) == 0:
                return 0
            start = i
        else:
            i += 1
    if start < n:
        if push_text(arena, parts, a + 4 * start, n - start) == 0:
            return 0
    return parts
''',
    "push_text": '''
def push_text(arena, items, a, n):
    """Add a string at the end of a list of strings; 0 when out of memory."""
    if list_reserve(arena, items, 16, 1) == 0:
        return 0
    place = head(items, 2) + 16 * head(items, 0)
    set_cell(place, 0, a)
    set_cell(place, 1, n)
    set_head(items, 0, head(items, 0) + 1)
    return 1
''',
    "text_join": '''
def text_join(arena, b, m, items):
    """The strings of a list with a separator between them."""
    count, source = head(items, 0), head(items, 2)
    length = max(count - 1, 0) * m
    for k in range(count):
        length += cell(source, 2 * k + 1)
    memory = text_new(arena, length)
    if memory == -1:
        return memory, 0
    at = memory
    for k in range(count):
        if k > 0:
            copy_bytes(at, b, 4 * m)
            at += 4 * m
        size = 4 * cell(source, 2 * k + 1)
        copy_bytes(at, cell(source, 2 * k), size)
        at += size
    return memory, length
''',
    "text_pad": '''
def text_pad(arena, a, n, before, after, fill):
    """A string with so many fill characters before and after it."""
    length = n + before + after
    memory = text_new(arena, length)
    if memory == -1:
        return memory, 0
    for k in range(before):
        set_char(memory, k, fill)
    copy_bytes(memory + 4 * before, a, 4 * n)
    for k in range(after):
        set_char(memory, before + n + k, fill)
    return memory, length
''',
    "text_zfill": '''
def text_zfill(arena, a, n, width):
    """A string with zeros before its digits, after its sign."""
    memory, length = text_pad(arena, a, n, max(width - n, 0), 0, 48)
    if memory != -1 and n > 0 and width > n and (char(a, 0) == 43 or char(a, 0) == 45):
        set_char(memory, width - n, 48)
        set_char(memory, 0, char(a, 0))
    return memory, length
''',
    "text_hash": '''
def text_hash(a, n):
    """A number that equal strings share: the scheme of FNV-1a, with factors that keep products within 64 bits."""
    h = 1469598103934665603
    for i in range(n):
        h = ((h ^ char(a, i)) * 435) & 0x1FFFFFFFFFFFFF
    return h
''',
}

_CALLS = {
    "text_find": ("text_matches",),
    "text_find_last": ("text_matches",),
    "text_count": ("text_matches",),
    "text_ends": ("text_matches",),
    "text_slice": ("text_new",),
    "text_repeat": ("text_new",),
    "text_replace": ("text_new", "text_count", "text_matches"),
    "text_strip": ("is_space", "has_char"),
    "text_case": ("text_new",),
    "text_spaces": ("is_space",),
    "push_text": ("list_reserve",),
    "text_split": ("is_space", "list_new", "push_text", "text_matches"),
    "text_split_last": ("is_space", "list_new", "list_reverse", "push_text", "text_matches"),
    "text_lines": ("is_line_end", "list_new", "push_text"),
    "text_join": ("text_new",),
    "text_pad": ("text_new",),
    "text_zfill": ("text_pad",),
}


def needed_functions(name: str) -> list[str]:
    """A function and those that it calls, each after what it calls itself."""
    found: dict[str, None] = {}
    for callee in _CALLS.get(name, ()):
        found.update(dict.fromkeys(needed_functions(callee)))
    return [*found, name]
