"""The native code of the thread pool, as LLVM IR: the worker's loop, `parallel_for`, and the layout of their memory.

All state is one block of memory. A caller owns the pool while BUSY is 1. It writes the job, sets the open bit of STATE
and increments GENERATION; workers that see the change enter by incrementing STATE, and take chunks only if the open bit
was set at that moment. The caller takes chunks, too, then clears the open bit and waits until STATE is 0: nobody is
inside, so every chunk is done and the job may be overwritten. Entering and closing meet in one word, so no interleaving
lets a late worker run half of the next job.

The chunks of a job lie in sections, one per thread, each with a counter. A thread takes chunks of its own section first
(loops over the same data find it in the same core's cache, and threads do not contend for one counter), then of the
others', for balance.

Sleeping is exact: every worker has a slot with a semaphore of its own. It marks its slot as sleeping, looks once more
for a reason to stay awake, and waits for one token; whoever turns the mark back owes it that token. A worker that
changes its mind turns the mark back itself, or takes the token that is on its way. The caller sleeps likewise, on a
semaphore of the pool, when the last chunk takes long (the wait bit of STATE).
"""

from .pool_places import MASK_WORDS, OCCUPIED_WORDS, PLACES
from .support import filled

# Fields that different threads write lie 128 bytes apart: two cache lines, because x86 prefetches lines in pairs.
# The job:
FUNCTION, ARGUMENT, COUNT, SECTIONS, BASE, REMAINDER, GRAIN, TOTAL = range(0, 64, 8)
# The configuration: how many workers there are, how many slots were ever used, how long to spin, the operating system's
# functions that wait for a semaphore and post it, the handle of the caller's semaphore, and the operating system's
# functions that say where a thread runs and may run (see `pool_places`).
WORKERS, SLOT_COUNT, SPINS, WAIT, POST, DONE, GETCPU, GETAFFINITY, SETAFFINITY = range(128, 200, 8)
# What all threads write:
GENERATION, STATE, SLEEPERS, BUSY = range(256, 768, 128)
# The CPUs of the job's threads lie in the cache line of STATE, which a thread that enters writes anyway.
OCCUPIED = STATE + 8
# Room for the caller's semaphore (sem_t has 32 bytes on 64-bit Linux), then the slots. Slot i is that of worker i,
# besides the counter NEXT, which is that of section i: the caller's section is 0, worker i's is i + 1.
DONE_SEMAPHORE, SLOTS = 768, 1024
SLOT_SIZE = 384
SLEEPING, STOP, HANDLE, THREAD, NARROWED, SEMAPHORE, NEXT, SAVED = 0, 8, 16, 24, 32, 64, 128, 256
BLOCK_ALIGNMENT = 128

ENTRY_POINTS = ("ingot_worker", "ingot_wake_slot", "ingot_spin", "ingot_parallel_for")

# Bits of STATE, above the number of workers inside.
OPEN = 1 << 32
WAITING = 1 << 33

_RELAX = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    # Hint 1 is YIELD (Arm Architecture Reference Manual, "Hint instructions").
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}

_TEMPLATE = """
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
$RELAX_DECLARATION

define internal void @relax() alwaysinline {
  $RELAX_CALL
  ret void
}

; The operating system's wait(handle, for ever) and post(handle, 1, null). POSIX takes the handle alone and macOS two
; arguments; surplus ones are harmless in the C calling conventions of x86-64 and AArch64. A wait that a signal
; interrupted is repeated.
define internal void @wait(ptr %pool, ptr %handle_at) {
entry:
  %function_at = getelementptr i8, ptr %pool, i64 $WAIT
  %function = load ptr, ptr %function_at, align 8
  %handle = load i64, ptr %handle_at, align 8
  br label %again
again:
  %status = call i32 %function(i64 %handle, i64 -1)
  %interrupted = icmp ne i32 %status, 0
  br i1 %interrupted, label %again, label %done
done:
  ret void
}

define internal void @post(ptr %pool, ptr %handle_at) {
  %function_at = getelementptr i8, ptr %pool, i64 $POST
  %function = load ptr, ptr %function_at, align 8
  %handle = load i64, ptr %handle_at, align 8
  %status = call i32 %function(i64 %handle, i64 1, i64 0)
  ret void
}

define void @ingot_spin(i64 %times) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %following, %loop ]
  call void @relax()
  %following = add i64 %i, 1
  %more = icmp slt i64 %following, %times
  br i1 %more, label %loop, label %done
done:
  ret void
}

; Takes the sleeping mark off a slot: 1 if this call did it.
define internal i64 @unmark(ptr %pool, ptr %slot) {
  %sleepers = getelementptr i8, ptr %pool, i64 $SLEEPERS
  %swap = cmpxchg ptr %slot, i64 1, i64 0 seq_cst seq_cst
  %taken = extractvalue { i64, i1 } %swap, 1
  %one = zext i1 %taken to i64
  %before = atomicrmw sub ptr %sleepers, i64 %one seq_cst
  ret i64 %one
}

; Wakes the worker of one slot if it sleeps: 1 if this call did it.
define i64 @ingot_wake_slot(i64 %address, i64 %slot_address) {
entry:
  %pool = inttoptr i64 %address to ptr
  %slot = inttoptr i64 %slot_address to ptr
  %sleeping = load atomic i64, ptr %slot seq_cst, align 8
  %asleep = icmp ne i64 %sleeping, 0
  br i1 %asleep, label %take, label %no
take:
  %taken = call i64 @unmark(ptr %pool, ptr %slot)
  %mine = icmp ne i64 %taken, 0
  br i1 %mine, label %post, label %no
post:
  call void @keep_apart(ptr %pool, ptr %slot)
  %handle_at = getelementptr i8, ptr %slot, i64 $HANDLE
  call void @post(ptr %pool, ptr %handle_at)
  ret i64 1
no:
  ret i64 0
}

; Wakes at most %limit sleeping workers.
define internal void @wake(ptr %pool, i64 %limit) {
entry:
  %address = ptrtoint ptr %pool to i64
  %sleepers = getelementptr i8, ptr %pool, i64 $SLEEPERS
  %slot_count_at = getelementptr i8, ptr %pool, i64 $SLOT_COUNT
  %asleep = load atomic i64, ptr %sleepers seq_cst, align 8
  %any = icmp sgt i64 %asleep, 0
  %asked = icmp sgt i64 %limit, 0
  %go = and i1 %any, %asked
  br i1 %go, label %scan, label %done
scan:
  %slot_count = load atomic i64, ptr %slot_count_at monotonic, align 8
  br label %test
test:
  %i = phi i64 [ 0, %scan ], [ %following, %slot ]
  %woken = phi i64 [ 0, %scan ], [ %woken_now, %slot ]
  %slots_left = icmp slt i64 %i, %slot_count
  %wanted = icmp slt i64 %woken, %limit
  %continue = and i1 %slots_left, %wanted
  br i1 %continue, label %slot, label %done
slot:
  %distance = mul i64 %i, $SLOT_SIZE
  %offset = add i64 %distance, $SLOTS
  %slot_address = add i64 %address, %offset
  %one = call i64 @ingot_wake_slot(i64 %address, i64 %slot_address)
  %woken_now = add i64 %woken, %one
  %following = add i64 %i, 1
  br label %test
done:
  ret void
}

; Takes chunks of the open job until none is left: those of section %own first. Section s has the chunks from
; s * COUNT / SECTIONS on. A job has BASE * COUNT + REMAINDER units of GRAIN iterations: every chunk gets BASE units,
; the first REMAINDER chunks one more, and the last chunk the iterations that fill no unit.
define internal void @run_chunks(ptr %pool, i64 %own) {
entry:
  %function = load ptr, ptr %pool, align 8
  %argument_at = getelementptr i8, ptr %pool, i64 $ARGUMENT
  %argument = load i64, ptr %argument_at, align 8
  %count_at = getelementptr i8, ptr %pool, i64 $COUNT
  %count = load i64, ptr %count_at, align 8
  %sections_at = getelementptr i8, ptr %pool, i64 $SECTIONS
  %sections = load i64, ptr %sections_at, align 8
  %base_at = getelementptr i8, ptr %pool, i64 $BASE
  %base = load i64, ptr %base_at, align 8
  %remainder_at = getelementptr i8, ptr %pool, i64 $REMAINDER
  %remainder = load i64, ptr %remainder_at, align 8
  %grain_at = getelementptr i8, ptr %pool, i64 $GRAIN
  %grain = load i64, ptr %grain_at, align 8
  %total_at = getelementptr i8, ptr %pool, i64 $TOTAL
  %total = load i64, ptr %total_at, align 8
  br label %next_section
next_section:
  %visited = phi i64 [ 0, %entry ], [ %visited_now, %exhausted ]
  %sections_left = icmp slt i64 %visited, %sections
  br i1 %sections_left, label %section, label %done
section:
  %unwrapped = add i64 %own, %visited
  %number = urem i64 %unwrapped, %sections
  %following_number = add i64 %number, 1
  %end_scaled = mul i64 %following_number, %count
  %end = udiv i64 %end_scaled, %sections
  %next_offset = call i64 @next_offset(i64 %number)
  %next = getelementptr i8, ptr %pool, i64 %next_offset
  br label %look
look:
  ; Reading first spares the other threads a contended write when the section is done, as most are at the end.
  %glimpse = load atomic i64, ptr %next monotonic, align 8
  %maybe = icmp slt i64 %glimpse, %end
  br i1 %maybe, label %take, label %exhausted
take:
  %chunk = atomicrmw add ptr %next, i64 1 monotonic
  %left = icmp slt i64 %chunk, %end
  br i1 %left, label %run, label %exhausted
run:
  %extra = call i64 @llvm.smin.i64(i64 %chunk, i64 %remainder)
  %units_before = mul i64 %chunk, %base
  %first_unit = add i64 %units_before, %extra
  %lo = mul i64 %first_unit, %grain
  %following = add i64 %chunk, 1
  %following_extra = call i64 @llvm.smin.i64(i64 %following, i64 %remainder)
  %following_before = mul i64 %following, %base
  %following_unit = add i64 %following_before, %following_extra
  %boundary = mul i64 %following_unit, %grain
  %last = icmp eq i64 %following, %count
  %hi = select i1 %last, i64 %total, i64 %boundary
  call void %function(i64 %argument, i64 %lo, i64 %hi)
  br label %look
exhausted:
  %visited_now = add i64 %visited, 1
  br label %next_section
done:
  ret void
}

; Where the counter of a section lies in the block.
define internal i64 @next_offset(i64 %section) alwaysinline {
  %distance = mul i64 %section, $SLOT_SIZE
  %offset = add i64 %distance, $FIRST_NEXT
  ret i64 %offset
}

; A worker's life, until its slot says stop.
define void @ingot_worker(i64 %address, i64 %slot_address) {
entry:
  %pool = inttoptr i64 %address to ptr
  %slot = inttoptr i64 %slot_address to ptr
  %stop = getelementptr i8, ptr %slot, i64 $STOP
  %handle_at = getelementptr i8, ptr %slot, i64 $HANDLE
  %done_at = getelementptr i8, ptr %pool, i64 $DONE
  %generation = getelementptr i8, ptr %pool, i64 $GENERATION
  %state = getelementptr i8, ptr %pool, i64 $STATE
  %sleepers = getelementptr i8, ptr %pool, i64 $SLEEPERS
  %spins_at = getelementptr i8, ptr %pool, i64 $SPINS
  %count_at = getelementptr i8, ptr %pool, i64 $COUNT
  %sections_at = getelementptr i8, ptr %pool, i64 $SECTIONS
  %slots = add i64 %address, $SLOTS
  %slot_distance = sub i64 %slot_address, %slots
  %slot_number = udiv i64 %slot_distance, $SLOT_SIZE
  %preferred = add i64 %slot_number, 1
  ; A job that is open already is one that this worker has not seen.
  %newest = load atomic i64, ptr %generation acquire, align 8
  %earlier = sub i64 %newest, 1
  br label %idle
idle:
  %seen = phi i64 [ %earlier, %entry ], [ %seen, %block ], [ %seen, %withdraw ], [ %current, %left ]
  %spins = load atomic i64, ptr %spins_at monotonic, align 8
  br label %spin
spin:
  %i = phi i64 [ 0, %idle ], [ %i_following, %relaxed ]
  %current = load atomic i64, ptr %generation acquire, align 8
  %changed = icmp ne i64 %current, %seen
  br i1 %changed, label %join, label %check_stop
check_stop:
  %stop_now = load atomic i64, ptr %stop acquire, align 8
  %stopped = icmp ne i64 %stop_now, 0
  br i1 %stopped, label %exit, label %relaxed
relaxed:
  call void @relax()
  %i_following = add i64 %i, 1
  %patient = icmp slt i64 %i_following, %spins
  br i1 %patient, label %spin, label %sleep
sleep:
  %announced = atomicrmw add ptr %sleepers, i64 1 seq_cst
  %marked = atomicrmw xchg ptr %slot, i64 1 seq_cst
  %current_again = load atomic i64, ptr %generation seq_cst, align 8
  %stop_again = load atomic i64, ptr %stop seq_cst, align 8
  %unchanged = icmp eq i64 %current_again, %seen
  %wanted = icmp eq i64 %stop_again, 0
  %stay = and i1 %unchanged, %wanted
  br i1 %stay, label %block, label %withdraw
withdraw:
  %mine = call i64 @unmark(ptr %pool, ptr %slot)
  %withdrawn = icmp ne i64 %mine, 0
  br i1 %withdrawn, label %idle, label %block
block:
  call void @wait(ptr %pool, ptr %handle_at)
  call void @spread_out(ptr %pool, ptr %slot)
  br label %idle
join:
  call void @take_place(ptr %pool)
  %entered = atomicrmw add ptr %state, i64 1 seq_cst
  %open_bit = and i64 %entered, $OPEN
  %open = icmp ne i64 %open_bit, 0
  br i1 %open, label %work, label %leave
work:
  ; The caller wakes a few workers and those wake the others, so that waking many does not hold up the caller.
  %count = load i64, ptr %count_at, align 8
  %inside_before = sub i64 %entered, $OPEN
  %inside_and_caller = add i64 %inside_before, 2
  %room = sub i64 %count, %inside_and_caller
  %to_wake = call i64 @llvm.smin.i64(i64 %room, i64 2)
  call void @wake(ptr %pool, i64 %to_wake)
  %sections = load i64, ptr %sections_at, align 8
  %own = urem i64 %preferred, %sections
  call void @run_chunks(ptr %pool, i64 %own)
  br label %leave
leave:
  %inside = load atomic i64, ptr %state seq_cst, align 8
  %caller_sleeps = icmp eq i64 %inside, $LAST_AND_WAITING
  %one_less = sub i64 %inside, 1
  %outside = select i1 %caller_sleeps, i64 0, i64 %one_less
  %departure = cmpxchg ptr %state, i64 %inside, i64 %outside seq_cst seq_cst
  %departed = extractvalue { i64, i1 } %departure, 1
  br i1 %departed, label %report, label %leave
report:
  br i1 %caller_sleeps, label %wake_caller, label %left
wake_caller:
  call void @post(ptr %pool, ptr %done_at)
  br label %left
left:
  br label %idle
exit:
  ret void
}

define void @ingot_parallel_for(i64 %address, i64 %function, i64 %argument, i64 %n, i64 %given_grain) {
entry:
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %check_pool, label %done
check_pool:
  %no_pool = icmp eq i64 %address, 0
  br i1 %no_pool, label %serial, label %plan
plan:
  %pool = inttoptr i64 %address to ptr
  %workers_at = getelementptr i8, ptr %pool, i64 $WORKERS
  %workers = load atomic i64, ptr %workers_at monotonic, align 8
  %alone = icmp sle i64 %workers, 0
  br i1 %alone, label %serial, label %cut
cut:
  %grain = call i64 @llvm.smax.i64(i64 %given_grain, i64 1)
  %units = sdiv i64 %n, %grain
  %threads = add i64 %workers, 1
  %most = shl i64 %threads, 2
  %count = call i64 @llvm.smin.i64(i64 %units, i64 %most)
  %several = icmp sgt i64 %count, 1
  br i1 %several, label %acquire, label %serial
acquire:
  ; Taken: by another caller, or by this very call's caller (a nested loop). Either way this one runs here, alone.
  %busy = getelementptr i8, ptr %pool, i64 $BUSY
  %owner = cmpxchg ptr %busy, i64 0, i64 1 acquire monotonic
  %owned = extractvalue { i64, i1 } %owner, 1
  br i1 %owned, label %open, label %serial
open:
  %argument_at = getelementptr i8, ptr %pool, i64 $ARGUMENT
  %count_at = getelementptr i8, ptr %pool, i64 $COUNT
  %base_at = getelementptr i8, ptr %pool, i64 $BASE
  %remainder_at = getelementptr i8, ptr %pool, i64 $REMAINDER
  %grain_at = getelementptr i8, ptr %pool, i64 $GRAIN
  %total_at = getelementptr i8, ptr %pool, i64 $TOTAL
  %sections_at = getelementptr i8, ptr %pool, i64 $SECTIONS
  %state = getelementptr i8, ptr %pool, i64 $STATE
  %generation = getelementptr i8, ptr %pool, i64 $GENERATION
  %spins_at = getelementptr i8, ptr %pool, i64 $SPINS
  %base = sdiv i64 %units, %count
  %remainder = srem i64 %units, %count
  store i64 %function, ptr %pool, align 8
  store i64 %argument, ptr %argument_at, align 8
  store i64 %count, ptr %count_at, align 8
  store i64 %base, ptr %base_at, align 8
  store i64 %remainder, ptr %remainder_at, align 8
  store i64 %grain, ptr %grain_at, align 8
  store i64 %n, ptr %total_at, align 8
  %sections = call i64 @llvm.smin.i64(i64 %threads, i64 %count)
  store i64 %sections, ptr %sections_at, align 8
  br label %reset
reset:
  %section = phi i64 [ 0, %open ], [ %following_section, %reset ]
  %first_scaled = mul i64 %section, %count
  %first = udiv i64 %first_scaled, %sections
  %next_offset = call i64 @next_offset(i64 %section)
  %next = getelementptr i8, ptr %pool, i64 %next_offset
  store atomic i64 %first, ptr %next monotonic, align 8
  %following_section = add i64 %section, 1
  %more_sections = icmp slt i64 %following_section, %sections
  br i1 %more_sections, label %reset, label %publish
publish:
  call void @begin_places(ptr %pool)
  %opened = atomicrmw add ptr %state, i64 $OPEN seq_cst
  %announced = atomicrmw add ptr %generation, i64 1 seq_cst
  %others = sub i64 %count, 1
  %to_wake = call i64 @llvm.smin.i64(i64 %others, i64 4)
  call void @wake(ptr %pool, i64 %to_wake)
  call void @run_chunks(ptr %pool, i64 0)
  %closed = atomicrmw sub ptr %state, i64 $OPEN seq_cst
  %spins = load atomic i64, ptr %spins_at monotonic, align 8
  br label %spin
spin:
  %i = phi i64 [ 0, %publish ], [ %following, %relaxed ]
  %inside = load atomic i64, ptr %state acquire, align 8
  %empty = icmp eq i64 %inside, 0
  br i1 %empty, label %release, label %relaxed
relaxed:
  call void @relax()
  %following = add i64 %i, 1
  %patient = icmp slt i64 %following, %spins
  br i1 %patient, label %spin, label %sleep
sleep:
  %still = load atomic i64, ptr %state seq_cst, align 8
  %empty_now = icmp eq i64 %still, 0
  br i1 %empty_now, label %release, label %announce
announce:
  %waiting = or i64 %still, $WAITING
  %announcement = cmpxchg ptr %state, i64 %still, i64 %waiting seq_cst seq_cst
  %noted = extractvalue { i64, i1 } %announcement, 1
  br i1 %noted, label %block, label %sleep
block:
  %done_at = getelementptr i8, ptr %pool, i64 $DONE
  call void @wait(ptr %pool, ptr %done_at)
  br label %release
release:
  store atomic i64 0, ptr %busy release, align 8
  br label %done
serial:
  %serial_function = inttoptr i64 %function to ptr
  call void %serial_function(i64 %argument, i64 0, i64 %n)
  br label %done
done:
  ret void
}
"""


def pool_module(architecture: str) -> str:
    """The pool's LLVM IR for `x86_64`, `aarch64`, or any other architecture (which then spins without a hint)."""
    declaration, call = _RELAX.get(architecture, ("", 'call void asm sideeffect "", ""()'))
    return filled(
        _TEMPLATE + PLACES,
        RELAX_DECLARATION=declaration,
        RELAX_CALL=call,
        OPEN=OPEN,
        WAITING=WAITING,
        LAST_AND_WAITING=WAITING | 1,
        ARGUMENT=ARGUMENT,
        COUNT=COUNT,
        BASE=BASE,
        REMAINDER=REMAINDER,
        GRAIN=GRAIN,
        TOTAL=TOTAL,
        WORKERS=WORKERS,
        SPINS=SPINS,
        WAIT=WAIT,
        POST=POST,
        SLOT_COUNT=SLOT_COUNT,
        SLOTS=SLOTS,
        SLOT_SIZE=SLOT_SIZE,
        STOP=STOP,
        HANDLE=HANDLE,
        DONE=DONE,
        GENERATION=GENERATION,
        SECTIONS=SECTIONS,
        FIRST_NEXT=SLOTS + NEXT,
        STATE=STATE,
        SLEEPERS=SLEEPERS,
        BUSY=BUSY,
        GETCPU=GETCPU,
        GETAFFINITY=GETAFFINITY,
        SETAFFINITY=SETAFFINITY,
        OCCUPIED=OCCUPIED,
        OCCUPIED_WORDS=OCCUPIED_WORDS,
        OCCUPIED_CPUS=64 * OCCUPIED_WORDS,
        MASK_WORDS=MASK_WORDS,
        MASK_BYTES=8 * MASK_WORDS,
        THREAD=THREAD,
        NARROWED=NARROWED,
        SAVED=SAVED,
    )
