"""Which CPUs the pool's threads run on, as LLVM IR: threads that find themselves on one CPU move apart.

No thread is pinned. But schedulers put a thread that wakes on the CPU of the one that woke it, or pack threads on few
CPUs, and then two threads of a job take turns at half the speed until somebody balances: more than 20 ms later on some
virtual machines. So every thread of a job notes its CPU in a bit mask. A worker that finds its CPU taken moves: it
takes the taken CPUs out of its affinity mask and gives itself the old mask at once, which leaves it where it is then.
And a sleeping worker is woken with such a mask, and restores its own as soon as it runs. No CPU is used that the
process may not use, and where none is left, nothing is done.

The system's functions are `sched_getcpu`, `sched_getaffinity` and `sched_setaffinity` of Linux; where the pool's block
has none, all of this does nothing.
"""

# The fields GETCPU to SETAFFINITY of the block, OCCUPIED (the mask of a job), and of a slot THREAD, NARROWED, SAVED are
# laid out in `pool_code`. A mask has 1024 bits, as cpu_set_t has; of CPUs beyond OCCUPIED_WORDS words nothing is noted.
MASK_WORDS, OCCUPIED_WORDS = 16, 7

PLACES = """
; The number of this thread's CPU; at least $OCCUPIED_CPUS where that is unknown.
define internal i64 @current_cpu(ptr %pool) {
entry:
  %function_at = getelementptr i8, ptr %pool, i64 $GETCPU
  %function = load ptr, ptr %function_at, align 8
  %unknown = icmp eq ptr %function, null
  br i1 %unknown, label %none, label %ask
ask:
  %cpu = call i32 %function()
  %number = zext i32 %cpu to i64
  ret i64 %number
none:
  ret i64 $OCCUPIED_CPUS
}

; Notes that a CPU is taken: 1 if it was already.
define internal i64 @take_cpu(ptr %pool, i64 %cpu) {
entry:
  %known = icmp ult i64 %cpu, $OCCUPIED_CPUS
  br i1 %known, label %note, label %free
note:
  %word = lshr i64 %cpu, 6
  %distance = shl i64 %word, 3
  %offset = add i64 %distance, $OCCUPIED
  %at = getelementptr i8, ptr %pool, i64 %offset
  %number = and i64 %cpu, 63
  %bit = shl i64 1, %number
  %before = atomicrmw or ptr %at, i64 %bit monotonic
  %shared = and i64 %before, %bit
  %taken = icmp ne i64 %shared, 0
  br i1 %taken, label %crowded, label %free
crowded:
  ret i64 1
free:
  ret i64 0
}

; A new job: only the caller's CPU is taken.
define internal void @begin_places(ptr %pool) {
entry:
  %cpu = call i64 @current_cpu(ptr %pool)
  br label %clear
clear:
  %i = phi i64 [ 0, %entry ], [ %following, %clear ]
  %distance = shl i64 %i, 3
  %offset = add i64 %distance, $OCCUPIED
  %at = getelementptr i8, ptr %pool, i64 %offset
  %base = shl i64 %i, 6
  %number = sub i64 %cpu, %base
  %here = icmp ult i64 %number, 64
  %shifted = shl i64 1, %number
  %bits = select i1 %here, i64 %shifted, i64 0
  store atomic i64 %bits, ptr %at monotonic, align 8
  %following = add i64 %i, 1
  %more = icmp ult i64 %following, $OCCUPIED_WORDS
  br i1 %more, label %clear, label %done
done:
  ret void
}

; Narrows the affinity mask of a thread (0: this one) to CPUs that are not taken, after copying it to %saved. 1 if this
; was done.
define internal i64 @narrow(ptr %pool, i32 %thread, ptr %saved) {
entry:
  %free = alloca [$MASK_WORDS x i64], align 8
  %get_at = getelementptr i8, ptr %pool, i64 $GETAFFINITY
  %get = load ptr, ptr %get_at, align 8
  %got = call i32 %get(i32 %thread, i64 $MASK_BYTES, ptr %saved)
  %readable = icmp eq i32 %got, 0
  br i1 %readable, label %word, label %no
word:
  %i = phi i64 [ 0, %entry ], [ %following, %joined ]
  %any = phi i64 [ 0, %entry ], [ %any_now, %joined ]
  %from = getelementptr i64, ptr %saved, i64 %i
  %allowed = load i64, ptr %from, align 8
  %noted = icmp ult i64 %i, $OCCUPIED_WORDS
  br i1 %noted, label %subtract, label %joined
subtract:
  %distance = shl i64 %i, 3
  %offset = add i64 %distance, $OCCUPIED
  %at = getelementptr i8, ptr %pool, i64 %offset
  %taken = load atomic i64, ptr %at monotonic, align 8
  %others = xor i64 %taken, -1
  %left = and i64 %allowed, %others
  br label %joined
joined:
  %bits = phi i64 [ %allowed, %word ], [ %left, %subtract ]
  %to = getelementptr i64, ptr %free, i64 %i
  store i64 %bits, ptr %to, align 8
  %any_now = or i64 %any, %bits
  %following = add i64 %i, 1
  %more = icmp ult i64 %following, $MASK_WORDS
  br i1 %more, label %word, label %complete
complete:
  %possible = icmp ne i64 %any_now, 0
  br i1 %possible, label %set, label %no
set:
  %set_at = getelementptr i8, ptr %pool, i64 $SETAFFINITY
  %function = load ptr, ptr %set_at, align 8
  %result = call i32 %function(i32 %thread, i64 $MASK_BYTES, ptr %free)
  %good = icmp eq i32 %result, 0
  br i1 %good, label %yes, label %no
yes:
  ret i64 1
no:
  ret i64 0
}

; Gives this thread an affinity mask.
define internal void @restore(ptr %pool, ptr %mask) {
  %at = getelementptr i8, ptr %pool, i64 $SETAFFINITY
  %function = load ptr, ptr %at, align 8
  %result = call i32 %function(i32 0, i64 $MASK_BYTES, ptr %mask)
  ret void
}

; A worker takes its place in a job, on a CPU of its own if there is one.
define internal void @take_place(ptr %pool) {
entry:
  %mask = alloca [$MASK_WORDS x i64], align 8
  %cpu = call i64 @current_cpu(ptr %pool)
  %crowded = call i64 @take_cpu(ptr %pool, i64 %cpu)
  %move = icmp ne i64 %crowded, 0
  br i1 %move, label %leave, label %done
leave:
  %narrowed = call i64 @narrow(ptr %pool, i32 0, ptr %mask)
  %moved = icmp ne i64 %narrowed, 0
  br i1 %moved, label %arrive, label %done
arrive:
  call void @restore(ptr %pool, ptr %mask)
  %new_cpu = call i64 @current_cpu(ptr %pool)
  %ignored = call i64 @take_cpu(ptr %pool, i64 %new_cpu)
  br label %done
done:
  ret void
}

; Before a sleeping worker is woken: keeps it off the CPUs that are taken.
define internal void @keep_apart(ptr %pool, ptr %slot) {
entry:
  %cpu = call i64 @current_cpu(ptr %pool)
  %known = icmp ult i64 %cpu, $OCCUPIED_CPUS
  %thread_at = getelementptr i8, ptr %slot, i64 $THREAD
  %thread = load i32, ptr %thread_at, align 8
  %named = icmp ne i32 %thread, 0
  %able = and i1 %known, %named
  br i1 %able, label %narrow, label %done
narrow:
  %saved = getelementptr i8, ptr %slot, i64 $SAVED
  %narrowed = call i64 @narrow(ptr %pool, i32 %thread, ptr %saved)
  %narrowed_at = getelementptr i8, ptr %slot, i64 $NARROWED
  store i64 %narrowed, ptr %narrowed_at, align 8
  br label %done
done:
  ret void
}

; After a worker has woken: its own mask again.
define internal void @spread_out(ptr %pool, ptr %slot) {
entry:
  %narrowed_at = getelementptr i8, ptr %slot, i64 $NARROWED
  %narrowed = load i64, ptr %narrowed_at, align 8
  %any = icmp ne i64 %narrowed, 0
  br i1 %any, label %widen, label %done
widen:
  store i64 0, ptr %narrowed_at, align 8
  %saved = getelementptr i8, ptr %slot, i64 $SAVED
  call void @restore(ptr %pool, ptr %saved)
  br label %done
done:
  ret void
}
"""
