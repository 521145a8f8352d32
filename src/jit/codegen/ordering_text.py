"""Texts of the kernels that sort and select: a network across short rows, digits for long ones, a list for few."""

__all__ = ["EXCHANGE", "EXCHANGE_WITH_PLACES", "INSERTION", "LIST", "NETWORK", "SELECTION", "SORT"]

# Up to this many keys are sorted by insertion.
INSERTION = 64

# Keys of a row, all or those that can come to the places [first, stop) of its order; `below` are before them.
SELECTION = """
    if n > INSERTION and first < stop:
        for d in range(2048):
            counts[d] = 0
        for block in range(0, n, 256):
            until = min(block + 256, n)
            for k in range(block, until):
                v = x[start + k * inner]
                digits[k - block] = (KEY >> TOP) + 1024
            for k in range(until - block):
                counts[digits[k]] += 1
        low = 0
        while below + counts[low] <= first:
            below += counts[low]
            low += 1
        high, total = low, below + counts[low]
        while total < stop:
            high += 1
            total += counts[high]
        count = 0
        for block in range(0, n, 64):
            until = min(block + 64, n)
            wanted = 0
            for k in range(block, until):
                v = x[start + k * inner]
                d = (KEY >> TOP) + 1024
                wanted |= (d >= low) & (d <= high)
            if wanted != 0:
                for k in range(block, until):
                    v = x[start + k * inner]
                    d = (KEY >> TOP) + 1024
                    KEEP
                    count += (d >= low) & (d <= high)
    else:
"""

SORT = """
counts, digits = stack_i64(2048), stack_i64(256)
stop = min(stop, n)
for item in range(lo, hi):
    start = item // inner * n * inner + item % inner
    out = item // inner * taken * inner + item % inner
    old = item * 2 * n
    new = old + n
    below, count = 0, n
SELECTION
        for k in range(n):
            v = x[start + k * inner]
            count = k
            KEEP
        count = n
    if count <= INSERTION:
        for k in range(1, count):
            key = keys[old + k]
            HELD
            p = k
            while p > 0 and keys[old + p - 1] > key:
                keys[old + p] = keys[old + p - 1]
                SHIFT
                p -= 1
            keys[old + p] = key
            DROP
    else:
        # Digits that all keys have in common change nothing.
        some, bits = keys[old], keys[old] ^ keys[old]
        for k in range(count):
            bits |= keys[old + k] ^ some
        shift = FROM
        width = 11 if count > 1024 else 8
        while shift < 64:
            size = min(width, 64 - shift)
            mask = (1 << size) - 1
            if (bits >> shift) & mask != 0:
                flip = 1 << (size - 1) if shift + size == 64 else 0
                for d in range(mask + 1):
                    counts[d] = 0
                for k in range(count):
                    counts[((keys[old + k] >> shift) & mask) ^ flip] += 1
                total = 0
                for d in range(mask + 1):
                    these = counts[d]
                    counts[d] = total
                    total += these
                for k in range(count):
                    d = ((keys[old + k] >> shift) & mask) ^ flip
                    keys[new + counts[d]] = keys[old + k]
                    MOVE
                    counts[d] += 1
                old, new = new, old
            shift += size
    for k in range(first, stop):
        at = old + k - below
        place = PLACE
        y[out + k * inner] = x[start + place * inner]
        z[out + k * inner] = place
"""

# Merge exchange (Knuth, The Art of Computer Programming, volume 3, 5.2.2, algorithm M): which elements are compared
# depends on the length only, so that many rows are sorted by the same steps.
NETWORK = """
z = pointer_i64(results)
if n > LONGEST:
GENERAL
else:
    tile = tile_buffer()
    net = pointer_i64(tile)
    other = pointer_OTHER(tile + AREA)
    top = 1 if n > 1 else 0
    while 2 * top < n:
        top *= 2
    for first_row in range(lo, hi, LANES):
        rows_here = min(LANES, hi - first_row)
        turn_rows_KIND(rows + first_row * n * SIZE, n, n, rows_here, tile + OFFSET)
        for k in range(n):
            number = np.int64(k)
            for c in range(k * LANES, k * LANES + LANES):
                SET
        p = top
        while p > 0:
            q, r, distance = top, 0, p
            while distance > 0:
                for k in range(r, n - distance, 2 * p):
                    a, b = tile + k * LANES * 8, tile + (k + distance) * LANES * 8
                    EXCHANGE
                following = q - p
                q, r, distance = q >> 1, p, following
            p >>= 1
        FINISH
        turn_back_i64(results + first_row * taken * 8, taken, taken, rows_here, tile + PLACES)
        for row in range(first_row, first_row + rows_here):
            for k in range(taken):
                y[row * taken + k] = x[row * n + z[row * taken + k]]
"""

# The smaller of two vectors of keys to the one side, and the larger to the other.
EXCHANGE = """

@body
def exchange(x, y, count):
    for c in range(count):
        u, w = x[c], y[c]
        x[c] = min(u, w)
        y[c] = max(u, w)
"""

EXCHANGE_WITH_PLACES = """

@body
def exchange(x, y, p, q, count):
    for c in range(count):
        u, w, g, h = x[c], y[c], p[c], q[c]
        swap = (u > w) | ((u == w) & (g > h))
        x[c], y[c] = select(swap, w, u), select(swap, u, w)
        p[c], q[c] = select(swap, h, g), select(swap, g, h)
"""

LIST = """
for item in range(lo, hi):
    start = item // inner * n * inner + item % inner
    base = item * COUNT
    filled = 0
    worst = np.int64(0)
    limit = x[start]
    for first in range(0, n, 64):
        last = min(first + 64, n)
        wanted = True
        if filled == COUNT:
            best = x[start + first * inner]
            for k in range(first + 1, last):
                best = STEP(best, x[start + k * inner])
            wanted = not (best COMPARE limit)
        if wanted:
            for k in range(first, last):
                v = x[start + k * inner]
                key = KEY
                if filled < COUNT or key < worst:
                    p = min(filled, COUNT - 1)
                    while p > 0 and keys[base + p - 1] > key:
                        keys[base + p] = keys[base + p - 1]
                        places[base + p] = places[base + p - 1]
                        p -= 1
                    keys[base + p] = key
                    places[base + p] = k
                    filled = min(filled + 1, COUNT)
                    worst = keys[base + filled - 1]
                    limit = x[start + places[base + filled - 1] * inner]
    out = item // inner * COUNT * inner + item % inner
    for k in range(COUNT):
        place = places[base + k]
        y[out + k * inner] = x[start + place * inner]
        z[out + k * inner] = place
"""
