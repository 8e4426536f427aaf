// SPDX-License-Identifier: Apache-2.0
// Blocks of threads on fibers. A fiber keeps its stack for all the threads that it serves and hands over
// to the scheduler at barriers and collectives, by _setjmp and _longjmp, which cost no system call. Every
// second launch runs the threads of a block from the last to the first, so that a missing barrier
// shows as a result that changes.
#include <cuda_runtime.h>

#include <deque>
#include <memory>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define SWITCH_START(saved, stack, bytes) __sanitizer_start_switch_fiber(saved, stack, bytes)
#define SWITCH_DONE(saved, stack, bytes)  __sanitizer_finish_switch_fiber(saved, stack, bytes)
#else
#define SWITCH_START(saved, stack, bytes) (void)(saved)
#define SWITCH_DONE(saved, stack, bytes)  (void)(saved)
#endif

__thread uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

const size_t stack_bytes = 256 << 10;
const unsigned max_threads = 1024;

// Threads that must meet: those of a block, or of one warp.
struct meeting {
    unsigned expected = 0, arrived = 0;
    unsigned long generation = 0;
};

struct copy {
    void *to;
    const void *from;
    unsigned group;
};

// A stack and where its thread goes on.
struct fiber {
    jmp_buf context;
    ucontext_t first;
    char *stack = nullptr;
    bool begun = false;
    void *fake_stack = nullptr;
};

struct thread {
    uint3 index;
    fiber *on = nullptr; // NULL before the first step
    bool finished = false;
    const meeting *waits_for = nullptr;
    unsigned long seen = 0;
    std::vector<copy> copies;
    unsigned groups = 0; // of copies, committed
};

struct warp {
    meeting meet;
    on_cpu::slot slots[2][32];
    unsigned parity[32];
};

// Everything of one host thread's running launch.
struct machine {
    std::deque<fiber> fibers; // contexts must not move
    std::vector<fiber *> idle;
    std::vector<thread> threads;
    std::vector<warp> warps;
    meeting block;
    unsigned current = 0, started = 0, running = 0;
    bool backwards = false;
    const std::function<void()> *kernel = nullptr;
    void *shared = nullptr;
    unsigned long launches = 0;
    jmp_buf scheduler;
    void *fake_stack = nullptr;
    const void *stack = nullptr;
    size_t stack_size = 0;
    ~machine() {
        for (fiber &f : fibers) free(f.stack);
    }
};

thread_local std::unique_ptr<machine> owned;
__thread machine *mine; // the same, at the price of a plain load

[[noreturn]] void stop(const char *text) {
    fprintf(stderr, "cuda_on_cpu: %s (block %u,%u,%u, thread %u)\n", text, blockIdx.x, blockIdx.y,
            blockIdx.z, threadIdx.x);
    abort();
}

void release(meeting &meet) {
    meet.arrived = 0;
    meet.generation++;
}

// From the running fiber to the scheduler, and back when it is resumed.
void yield(fiber *f) {
    SWITCH_START(&f->fake_stack, mine->stack, mine->stack_size);
    if (!_setjmp(f->context)) _longjmp(mine->scheduler, 1);
    SWITCH_DONE(f->fake_stack, &mine->stack, &mine->stack_size);
}

void wait(meeting &meet) {
    thread &t = mine->threads[mine->current];
    if (++meet.arrived == meet.expected) {
        release(meet);
        return;
    }
    t.waits_for = &meet;
    t.seen = meet.generation;
    yield(t.on);
}

// The threads of a block in the order of this launch.
unsigned in_order(unsigned i) {
    return mine->backwards ? (unsigned)mine->threads.size() - 1 - i : i;
}

// Run the current thread from its beginning to its end.
void run_thread(fiber *f) {
    mine->threads[mine->current].on = f;
    threadIdx = mine->threads[mine->current].index;
    (*mine->kernel)();
    mine->threads[mine->current].finished = true;
    mine->running--;
    if (--mine->block.expected && mine->block.arrived == mine->block.expected) release(mine->block);
}

// A fiber goes on with the next thread that has not begun: those that never wait cost no switch.
void fiber_main() {
    SWITCH_DONE(nullptr, &mine->stack, &mine->stack_size);
    fiber *f = mine->threads[mine->current].on;
    for (;;) {
        run_thread(f);
        if (mine->started < mine->threads.size()) {
            mine->current = in_order(mine->started++);
        } else {
            mine->idle.push_back(f);
            yield(f);
        }
    }
}

void make_fiber() {
    mine->fibers.emplace_back();
    fiber &f = mine->fibers.back();
    f.stack = static_cast<char *>(malloc(stack_bytes));
    if (!f.stack) stop("no memory for a thread");
    mine->idle.push_back(&f);
}

void begin_fiber(fiber *f) {
    getcontext(&f->first);
    f->first.uc_stack.ss_sp = f->stack;
    f->first.uc_stack.ss_size = stack_bytes;
    f->first.uc_link = nullptr;
    makecontext(&f->first, fiber_main, 0);
    setcontext(&f->first);
}

void resume(unsigned i) {
    thread &t = mine->threads[i];
    if (!t.on) {
        if (mine->idle.empty()) make_fiber();
        t.on = mine->idle.back();
        mine->idle.pop_back();
        mine->started++;
    }
    mine->current = i;
    threadIdx = t.index;
    t.waits_for = nullptr;
    fiber *f = t.on;
    SWITCH_START(&mine->fake_stack, f->stack, stack_bytes);
    if (!_setjmp(mine->scheduler)) {
        if (f->begun) _longjmp(f->context, 1);
        f->begun = true;
        begin_fiber(f);
    }
    SWITCH_DONE(mine->fake_stack, nullptr, nullptr);
}

void run_block() {
    unsigned threads = (unsigned)mine->threads.size();
    mine->block = meeting{threads, 0, 0};
    for (unsigned w = 0; w < threads / 32; w++) {
        mine->warps[w].meet = meeting{32, 0, 0};
        memset(mine->warps[w].parity, 0, sizeof mine->warps[w].parity);
    }
    for (unsigned i = 0; i < threads; i++) {
        thread &t = mine->threads[i];
        t.index = uint3{i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
        t.on = nullptr;
        t.finished = false;
        t.waits_for = nullptr;
        t.copies.clear();
        t.groups = 0;
    }
    mine->started = 0;
    for (mine->running = threads; mine->running;) {
        bool moved = false;
        for (unsigned k = 0; k < threads; k++) {
            unsigned i = in_order(k);
            const thread &t = mine->threads[i];
            if (t.finished || (t.waits_for && t.waits_for->generation == t.seen)) continue;
            resume(i);
            moved = true;
        }
        if (!moved) stop("threads wait for others that never come");
    }
}

} // namespace

namespace on_cpu {

void run(dim3 grid, dim3 block, size_t shared, const std::function<void()> &kernel) {
    unsigned threads = block.x * block.y * block.z;
    if (!threads || threads > max_threads || threads % 32)
        stop("a block is not made of whole warps");
    if (!grid.x || !grid.y || !grid.z) stop("a grid without blocks");
    if (!mine) {
        owned = std::make_unique<machine>();
        mine = owned.get();
    }
    blockDim = uint3{block.x, block.y, block.z};
    gridDim = uint3{grid.x, grid.y, grid.z};
    mine->threads.resize(threads);
    if (mine->warps.size() < threads / 32) mine->warps.resize(threads / 32);
    mine->kernel = &kernel;
    mine->shared = shared ? aligned_alloc(16, (shared + 15) / 16 * 16) : nullptr;
    mine->backwards = mine->launches++ % 2;
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
                if (shared) memset(mine->shared, 0xff, shared);
                run_block();
            }
    free(mine->shared);
    mine->shared = nullptr;
}

void *shared_memory(void) {
    return mine->shared;
}

unsigned lane(void) {
    return mine->current % 32;
}

void block_barrier(void) {
    wait(mine->block);
}

void warp_barrier(unsigned mask) {
    if (mask != 0xffffffffu) stop("a warp barrier of part of the warp");
    wait(mine->warps[mine->current / 32].meet);
}

// Two sets of slots take turns: a lane that is ahead writes the other set while one that is behind
// still reads.
const slot *exchange(const slot &value) {
    unsigned w = mine->current / 32, l = mine->current % 32;
    slot *slots = mine->warps[w].slots[mine->warps[w].parity[l]++ % 2];
    slots[l] = value;
    wait(mine->warps[w].meet);
    return slots;
}

void meet(const slot &value, void (*work)(const slot all[32])) {
    unsigned w = mine->current / 32, l = mine->current % 32;
    slot *slots = mine->warps[w].slots[mine->warps[w].parity[l]++ % 2];
    slots[l] = value;
    if (mine->warps[w].meet.arrived + 1 == mine->warps[w].meet.expected) work(slots);
    wait(mine->warps[w].meet);
}

void copy_later(void *shared, const void *global) {
    thread &t = mine->threads[mine->current];
    t.copies.push_back({shared, global, t.groups});
}

void copies_commit(void) {
    mine->threads[mine->current].groups++;
}

void copies_wait(unsigned pending) {
    thread &t = mine->threads[mine->current];
    size_t left = 0;
    for (const copy &c : t.copies)
        if (c.group + pending < t.groups)
            memcpy(c.to, c.from, 16);
        else
            t.copies[left++] = c;
    t.copies.resize(left);
}

} // namespace on_cpu
