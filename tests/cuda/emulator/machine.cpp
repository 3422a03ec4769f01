// The machine that runs kernels on the CPU: one block at a time, with a fiber for each of its threads.
//
// A fiber runs until it reaches a barrier. So a thread that reads what another wrote, with no barrier in between, reads
// a wrong value in some order of the threads. In ascending and descending order each warp runs ahead to the next
// barrier of the block; in random order all threads advance together. Shared memory is poisoned before each block.
#include "machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __SSE__
#include <xmmintrin.h>
#endif

#include <algorithm>
#include <string>
#include <vector>

#include "races.h"
#include "stacks.h"

extern "C" __attribute__((visibility("hidden"))) char __bss_start[], _end[];

namespace machine {

Thread* current;
uint3 block_index;
dim3 block_size, grid_size;
char* dynamic_shared;

namespace {

constexpr unsigned MOST_THREADS = 1024;

enum class State { ready, at_block_barrier, at_meeting, ended };

struct Copy {
    void* target;
    const void* source;  // null for zeros
    unsigned bytes, group;
};

struct Fiber : Thread {
    Stack stack;
    bool started;
    State state;
    Place place;
    const char* what;
    unsigned mask, met, mail_bytes;
    unsigned char mail[MAIL];
    std::vector<Copy> copies;
    unsigned group;  // the group of asynchronous copies to which the next copy will belong
};

struct Warp {
    unsigned first, end, waiting;
    unsigned char mail[WARP][MAIL];
};

Fiber fibers[MOST_THREADS];
Warp warps[MOST_THREADS / WARP];
unsigned threads, alive, at_barrier;
Launch task;
Stack scheduler;
std::string error, visited_text;
std::vector<std::pair<const char*, Place>> visited;
uint32_t random_state;
unsigned char poison;

Fiber& self() { return *static_cast<Fiber*>(current); }

// Records an error and the thread that made it, unless there has been an error before.
void report(const Fiber& fiber, const char* format, ...)
{
    if (!error.empty()) return;
    char text[1000], where[200];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    snprintf(where, sizeof where, " (block %u,%u,%u; thread %u,%u,%u)", block_index.x, block_index.y, block_index.z,
             fiber.index.x, fiber.index.y, fiber.index.z);
    error = std::string(text) + where;
}

// Returns to the scheduler, which runs other fibers.
void pause()
{
    switch_stacks(self().stack, scheduler);
}

// A fiber runs one thread after another, each of a new block.
void fiber_main()
{
    arrive(scheduler);
    for (;;) {
        task.body(task.arguments);
        Fiber& fiber = self();
        if (!fiber.copies.empty()) report(fiber, "a thread ends before its asynchronous copies do");
        fiber.state = State::ended;
        pause();
    }
}

void resume(Fiber& fiber)
{
    if (!fiber.started) {
        fiber.started = true;
        prepare(fiber.stack, fiber_main);
    }
    current = &fiber;
    switch_stacks(scheduler, fiber.stack);
}

// Barriers

// Remembers a barrier that a launch has met.
void visit(const char* what, Place place)
{
    for (const auto& [known, where] : visited)
        if (where.line == place.line && where.file == place.file && known == what) return;
    visited.emplace_back(what, place);
}

// Releases the lanes that take part in a meeting, once all of them that have not ended have arrived.
bool release_meeting(Warp& warp, Fiber& leader)
{
    unsigned lanes = 0;
    for (unsigned i = warp.first; i < warp.end; ++i) {
        Fiber& fiber = fibers[i];
        unsigned bit = 1u << (i - warp.first);
        if (!(leader.mask & bit) || fiber.state == State::ended) continue;
        if (fiber.state != State::at_meeting) return false;
        lanes |= bit;
    }
    for (unsigned i = warp.first; i < warp.end; ++i) {
        Fiber& fiber = fibers[i];
        if (!(lanes >> (i - warp.first) & 1)) continue;
        if (fiber.mask != leader.mask)
            report(fiber, "lanes of a warp disagree on a mask: %08x at %s:%d, %08x at %s:%d", leader.mask,
                   leader.place.file, leader.place.line, fiber.mask, fiber.place.file, fiber.place.line);
        if (strcmp(fiber.what, leader.what))
            report(fiber, "lanes of a warp meet in different instructions: %s at %s:%d, %s at %s:%d", leader.what,
                   leader.place.file, leader.place.line, fiber.what, fiber.place.file, fiber.place.line);
        memcpy(warp.mail[i - warp.first], fiber.mail, fiber.mail_bytes);
        fiber.met = lanes;
        fiber.state = State::ready;
        --warp.waiting;
    }
    visit(leader.what, leader.place);
    if (!strcmp(leader.what, "__syncwarp")) races::meet(leader.rank / WARP, lanes);
    return true;
}

bool release_meetings(Warp& warp)
{
    bool released = false;
    for (unsigned i = warp.first; i < warp.end && warp.waiting; ++i)
        if (fibers[i].state == State::at_meeting) released |= release_meeting(warp, fibers[i]);
    return released;
}

bool release_barrier()
{
    if (!at_barrier || at_barrier != alive) return false;
    const Fiber* first = nullptr;
    for (unsigned i = 0; i < threads; ++i) {
        Fiber& fiber = fibers[i];
        if (fiber.state != State::at_block_barrier) continue;
        if (!first) first = &fiber;
        if (fiber.place.line != first->place.line || strcmp(fiber.place.file, first->place.file))
            report(fiber, "divergent barrier: threads wait at %s:%d and at %s:%d", first->place.file,
                   first->place.line, fiber.place.file, fiber.place.line);
        fiber.state = State::ready;
    }
    at_barrier = 0;
    races::pass_barrier();
    visit("__syncthreads", first->place);
    return true;
}

// In a deadlock, some threads wait at a barrier of the block, and others in a meeting with one of those.
void report_deadlock()
{
    const Fiber *barrier = nullptr, *meeting = nullptr;
    for (unsigned i = 0; i < threads; ++i) {
        if (fibers[i].state == State::at_block_barrier) barrier = &fibers[i];
        if (fibers[i].state == State::at_meeting) meeting = &fibers[i];
    }
    report(*meeting, "deadlock: threads wait in __syncthreads at %s:%d, others in %s at %s:%d", barrier->place.file,
           barrier->place.line, meeting->what, meeting->place.file, meeting->place.line);
}

// Blocks

// Kernels that CuPy compiles treat denormal float32 numbers as zero.
struct FlushDenormals {
#if defined(__SSE__)
    const unsigned before = _mm_getcsr();
    FlushDenormals() { _mm_setcsr(before | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(before); }
#elif defined(__aarch64__)
    const unsigned long before = __builtin_aarch64_get_fpcr();
    FlushDenormals() { __builtin_aarch64_set_fpcr(before | 1u << 24); }
    ~FlushDenormals() { __builtin_aarch64_set_fpcr(before); }
#endif
};

uint32_t random_word()
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

// 0, 1, ... ascending for order 0, descending for 1, shuffled for others.
void arrange(std::vector<unsigned>& order, unsigned count)
{
    order.resize(count);
    for (unsigned i = 0; i < count; ++i) order[i] = task.order == 1 ? count - 1 - i : i;
    if (task.order >= 2)
        for (unsigned i = count; i > 1; --i) std::swap(order[i - 1], order[random_word() % i]);
}

#ifdef __SANITIZE_ADDRESS__
// Not checked by the address sanitizer, since its guard bytes lie between the variables that are filled.
__attribute__((no_sanitize("address"), noinline)) void fill(char* begin, char* end)
{
    for (volatile char* byte = begin; byte < end; ++byte) *byte = static_cast<char>(poison);
}
#else
void fill(char* begin, char* end) { memset(begin, poison, end - begin); }
#endif

void start_block(const std::vector<unsigned>& order)
{
    fill(task.shared_begin, task.shared_end);
    if (dynamic_shared) fill(dynamic_shared, dynamic_shared + task.dynamic_bytes);
    for (unsigned i : order) {
        fibers[i].state = State::ready;
        fibers[i].group = 0;
    }
    for (unsigned w = 0; w * WARP < threads; ++w) {
        warps[w].first = w * WARP;
        warps[w].end = std::min(threads, (w + 1) * WARP);
        warps[w].waiting = 0;
    }
    alive = threads;
    at_barrier = 0;
    races::begin_block();
}

// Runs the threads order[begin..end) until each has ended or waits for threads outside this range.
void run_threads(const std::vector<unsigned>& order, size_t begin, size_t end)
{
    bool released = true;
    while (released) {
        for (size_t k = begin; k < end; ++k) {
            Fiber& fiber = fibers[order[k]];
            if (fiber.state != State::ready) continue;
            resume(fiber);
            if (!error.empty()) return;
            alive -= fiber.state == State::ended;
        }
        released = false;
        for (size_t k = begin; k < end; ++k)
            if (fibers[order[k]].state == State::at_meeting) released |= release_meetings(warps[order[k] / WARP]);
    }
}

// The end of the threads from `begin` on that run together: those of one warp, or all threads in random order.
size_t end_of_group(const std::vector<unsigned>& order, size_t begin)
{
    if (task.order >= 2) return order.size();
    size_t end = begin;
    while (end < order.size() && order[end] / WARP == order[begin] / WARP) ++end;
    return end;
}

void run_block()
{
    static std::vector<unsigned> order;
    arrange(order, threads);
    start_block(order);
    while (alive && error.empty()) {
        for (size_t begin = 0, end; begin < order.size() && error.empty(); begin = end)
            run_threads(order, begin, end = end_of_group(order, begin));
        if (error.empty() && alive && !release_barrier()) report_deadlock();
    }
}

void prepare_threads()
{
    threads = block_size.x * block_size.y * block_size.z;
    for (unsigned i = 0; i < threads; ++i) {
        Fiber& fiber = fibers[i];
        fiber.rank = i;
        fiber.index = {i % block_size.x, i / block_size.x % block_size.y, i / block_size.x / block_size.y};
    }
}

// Abandons the fibers: none of them will be resumed.
void abandon()
{
    for (Fiber& fiber : fibers) {
        fiber.started = false;
        fiber.copies.clear();
    }
}

}  // namespace

void block_barrier(Place place)
{
    self().state = State::at_block_barrier;
    self().place = place;
    ++at_barrier;
    pause();
}

unsigned meet(const char* what, unsigned mask, const void* bytes, unsigned count, Place place)
{
    Fiber& fiber = self();
    if (!(mask >> fiber.rank % WARP & 1)) fail("a lane is not in its own mask", place);
    fiber.state = State::at_meeting;
    fiber.what = what;
    fiber.mask = mask;
    fiber.place = place;
    fiber.mail_bytes = count;
    memcpy(fiber.mail, bytes, count);
    ++warps[fiber.rank / WARP].waiting;
    pause();
    return fiber.met;
}

const void* mail(unsigned lane)
{
    return warps[self().rank / WARP].mail[lane];
}

void fail(const char* what)
{
    report(self(), "%s", what);
    pause();
    abort();  // a launch that has failed is never resumed
}

void fail(const char* what, Place place)
{
    fail((std::string(what) + " at " + place.file + ":" + std::to_string(place.line)).c_str());
}

bool is_private(const void* address)
{
    const char *byte = static_cast<const char*>(address), *stack = static_cast<const char*>(self().stack.bottom);
    return (byte >= stack && byte < stack + STACK) || (byte >= __bss_start && byte < _end);
}

void copy_async(void* target, const void* source, unsigned bytes, Place place)
{
    if (reinterpret_cast<uintptr_t>(target) % bytes || reinterpret_cast<uintptr_t>(source) % bytes)
        fail("an asynchronous copy is not aligned to its size", place);
    races::access<races::write>(target, bytes, __builtin_return_address(0));
    if (source) races::access<races::read>(source, bytes, __builtin_return_address(0));
    memset(target, poison, bytes);
    self().copies.push_back({target, source, bytes, self().group});
}

void commit_copies()
{
    ++self().group;
}

void wait_copies(unsigned groups_left, Place place)
{
    visit("copy_wait", place);
    std::vector<Copy>& copies = self().copies;
    size_t done = 0;
    for (; done < copies.size() && copies[done].group + groups_left < self().group; ++done) {
        const Copy& copy = copies[done];
        races::access<races::write>(copy.target, copy.bytes, __builtin_return_address(0));
        if (copy.source) memcpy(copy.target, copy.source, copy.bytes);
        else memset(copy.target, 0, copy.bytes);
    }
    copies.erase(copies.begin(), copies.begin() + done);
}

const char* launch(const Launch& given)
{
    const FlushDenormals flush;
    task = given;
    error.clear();
    visited.clear();
    grid_size = task.grid;
    block_size = task.block;
    random_state = task.order * 2654435761u + 1;
    poison = task.order == 1 ? 0x7f : 0xff;  // a large number, or a NaN
    prepare_threads();
    dynamic_shared = nullptr;
    if (task.dynamic_bytes && posix_memalign(reinterpret_cast<void**>(&dynamic_shared), 128, task.dynamic_bytes))
        return "no memory";
    races::begin_launch(task);
    std::vector<unsigned> blocks;
    arrange(blocks, grid_size.x * grid_size.y * grid_size.z);
    for (unsigned b : blocks) {
        block_index = {b % grid_size.x, b / grid_size.x % grid_size.y, b / grid_size.x / grid_size.y};
        run_block();
        if (!error.empty()) break;
    }
    races::enabled = false;
    free(dynamic_shared);
    if (error.empty()) return nullptr;
    abandon();
    return error.c_str();
}

}  // namespace machine

// The barriers that the last launch has met, a line each: what they are, file and line.
extern "C" __attribute__((visibility("default"))) const char* visited_barriers()
{
    using namespace machine;
    visited_text.clear();
    for (const auto& [what, place] : visited)
        visited_text += std::string(what) + " " + place.file + ":" + std::to_string(place.line) + "\n";
    return visited_text.c_str();
}
