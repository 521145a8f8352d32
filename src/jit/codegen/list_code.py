"""Functions on lists that are pasted in front of a driver. A list is an object in the arena with the header slots
length, capacity (both in elements) and address of the elements; `stride` is the bytes of an element.
"""

__all__ = ["LIST_FUNCTIONS"]

LIST_FUNCTIONS = {
    "list_reserve": '''
def list_reserve(arena, items, stride, extra):
    """Make room for `extra` more elements; 0 when out of memory."""
    length, capacity = head(items, 0), head(items, 1)
    if length + extra <= capacity:
        return 1
    larger = max(2 * capacity, length + extra, 8)
    memory = arena_allocate(arena, larger * stride)
    if memory == 0:
        return 0
    copy_bytes(memory, head(items, 2), length * stride)
    arena_release(arena, head(items, 2))
    set_head(items, 1, larger)
    set_head(items, 2, memory)
    return 1
''',
    "list_new": '''
def list_new(arena, length, stride):
    """A new list of `length` elements, not written yet; 0 when out of memory."""
    items = arena_allocate(arena, 24)
    memory = arena_allocate(arena, max(length, 1) * stride)
    if items == 0 or memory == 0:
        return 0
    set_head(items, 0, length)
    set_head(items, 1, max(length, 1))
    set_head(items, 2, memory)
    return items
''',
    "slice_start": '''
def slice_start(length, from_start, start, step):
    """The first index of a slice, by Python's rules."""
    lowest, highest = (0, length) if step > 0 else (-1, length - 1)
    start = start + length if start < 0 else start
    start = min(max(start, lowest), highest)
    if from_start:
        start = lowest if step > 0 else highest
    return start
''',
    "slice_count": '''
def slice_count(length, start, to_end, stop, step):
    """How many elements a slice has that begins at `start`."""
    lowest, highest = (0, length) if step > 0 else (-1, length - 1)
    stop = stop + length if stop < 0 else stop
    stop = min(max(stop, lowest), highest)
    if to_end:
        stop = highest if step > 0 else lowest
    return max((stop - start + step - 1) // step if step > 0 else (start - stop - step - 1) // (-step), 0)
''',
    "list_slice": '''
def list_slice(arena, items, stride, start, count, step):
    """A new list of `count` elements from `start`; 0 when out of memory."""
    result = list_new(arena, count, stride)
    if result != 0:
        to, source = head(result, 2), head(items, 2)
        if step == 1:
            copy_bytes(to, source + start * stride, count * stride)
        else:
            for k in range(count):
                copy_bytes(to + k * stride, source + (start + k * step) * stride, stride)
    return result
''',
    "list_assign": '''
def list_assign(arena, items, stride, start, count, other):
    """Replace `count` elements from `start` by those of another list; 0 when out of memory."""
    length, added = head(items, 0), head(other, 0)
    if items == other:
        other = list_slice(arena, other, stride, 0, added, 1)
        if other == 0:
            return 0
    if list_reserve(arena, items, stride, max(added - count, 0)) == 0:
        return 0
    memory = head(items, 2)
    rest = (length - start - count) * stride
    move_bytes(memory + (start + added) * stride, memory + (start + count) * stride, rest)
    copy_bytes(memory + start * stride, head(other, 2), added * stride)
    set_head(items, 0, length + added - count)
    return 1
''',
    "list_scatter": '''
def list_scatter(items, stride, start, count, step, other):
    """Replace the elements of a slice with a step by those of a list of the same length."""
    memory, source = head(items, 2), head(other, 2)
    for k in range(count):
        copy_bytes(memory + (start + k * step) * stride, source + k * stride, stride)
''',
    "list_delete": '''
def list_delete(items, stride, start, count, step):
    """Remove the elements of a slice."""
    if count > 0:
        if step < 0:
            start, step = start + (count - 1) * step, -step
        memory, length, at, left, following = head(items, 2), head(items, 0), start, count, start
        for k in range(start, length):
            if left > 0 and k == following:
                left -= 1
                following += step
            else:
                move_bytes(memory + at * stride, memory + k * stride, stride)
                at += 1
        set_head(items, 0, at)
''',
    "list_reverse": '''
def list_reverse(items, width):
    """Reverse the order of elements of `width` slots (0: bytes)."""
    length, memory = head(items, 0), head(items, 2)
    for k in range(length // 2):
        if width == 0:
            first, second = cell_u8(memory, k), cell_u8(memory, length - 1 - k)
            set_cell_u8(memory, k, second)
            set_cell_u8(memory, length - 1 - k, first)
        for s in range(width):
            low, high = k * width + s, (length - 1 - k) * width + s
            first, second = slot_i64(memory, low), slot_i64(memory, high)
            set_slot_i64(memory, low, second)
            set_slot_i64(memory, high, first)
''',
    "list_permute": '''
def list_permute(arena, items, stride, order):
    """Put the elements in the order that a table of indices gives; 0 when out of memory."""
    length, memory = head(items, 0), head(items, 2)
    copy = arena_allocate(arena, max(length, 1) * stride)
    if copy == 0:
        return 0
    copy_bytes(copy, memory, length * stride)
    for k in range(length):
        copy_bytes(memory + k * stride, copy + slot_i64(order, k) * stride, stride)
    arena_release(arena, copy)
    return 1
''',
    "list_sizes_differ": '''
def list_sizes_differ(items, rank, axis):
    """Whether tensors of a list differ in a size other than that of `axis`."""
    memory = head(items, 2)
    for k in range(1, head(items, 0)):
        for a in range(rank):
            if a != axis and cell(memory, k * (1 + rank) + 1 + a) != cell(memory, 1 + a):
                return True
    return False
''',
    "list_size_sum": '''
def list_size_sum(items, rank, axis):
    """The sum of the sizes of a list's tensors along a dimension."""
    total, memory = 0, head(items, 2)
    for k in range(head(items, 0)):
        total += cell(memory, k * (1 + rank) + 1 + axis)
    return total
''',
    "list_join": '''
def list_join(items, rank, axis, itemsize, to):
    """Copy a list's tensors side by side along a dimension, which may be a new one."""
    memory = head(items, 2)
    whole = 0
    for k in range(head(items, 0)):
        block = itemsize
        for a in range(axis, rank):
            block *= cell(memory, k * (1 + rank) + 1 + a)
        whole += block
    offset = 0
    for k in range(head(items, 0)):
        outer, block = 1, itemsize
        for a in range(rank):
            size = cell(memory, k * (1 + rank) + 1 + a)
            if a < axis:
                outer *= size
            else:
                block *= size
        source = cell(memory, k * (1 + rank))
        for o in range(outer):
            copy_bytes(to + o * whole + offset, source + o * block, block)
        offset += block
''',
}
