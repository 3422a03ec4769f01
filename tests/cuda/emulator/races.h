// Detects races: two threads access the same memory, at least one of them writes, and no barrier lies in between. With
// a race, the result may still be right in every order of the threads that is tried. Kernels compiled with
// -fsanitize=thread report their accesses to the functions at the end of this file.
#pragma once
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

#include <unordered_map>

#include "machine.h"

namespace machine {
namespace races {

struct Access {
    unsigned block = 0;  // its number in the order in which blocks run, from 1
    unsigned thread = 0;
    unsigned barriers = 0, meetings = 0;  // how many the block, and the warp, had passed before the access
    const char* code = nullptr;
};

// The last write of a word and the reads since: the last, the last by another thread of that thread's warp, and the
// last by a thread of another warp.
struct Word {
    Access write, read, neighbour, stranger;
};

struct WarpHistory {
    unsigned meetings;
    unsigned met[WARP][WARP];  // the last meeting of two lanes that orders their memory
};

inline bool enabled;  // during a launch that is checked
inline std::unordered_map<uintptr_t, Word> words;
inline unsigned block, barriers;
inline WarpHistory warps[32];
inline const char *shared_begin, *shared_end, *dynamic_begin, *dynamic_end;

inline void begin_launch(const Launch& launch)
{
    enabled = launch.check_races;
    words.clear();
    block = 0;
    shared_begin = launch.shared_begin;
    shared_end = launch.shared_end;
    dynamic_begin = dynamic_shared;
    dynamic_end = dynamic_shared + launch.dynamic_bytes;
}

inline void begin_block()
{
    if (!enabled) return;
    ++block;
    barriers = 0;
    memset(warps, 0, sizeof warps);
}

inline void pass_barrier() { ++barriers; }

inline void meet(unsigned warp, unsigned lanes)
{
    if (!enabled) return;
    WarpHistory& history = warps[warp];
    ++history.meetings;
    for (unsigned i = 0; i < WARP; ++i)
        for (unsigned j = 0; j < WARP; ++j)
            if (lanes >> i & lanes >> j & 1) history.met[i][j] = history.meetings;
}

inline bool is_shared(const char* address)
{
    return (address >= shared_begin && address < shared_end) || (address >= dynamic_begin && address < dynamic_end);
}

inline Access current_access(const char* code)
{
    return {block, current->rank, barriers, warps[current->rank / WARP].meetings, code};
}

inline bool may_collide(const Access& before, const char* address)
{
    const unsigned thread = current->rank;
    if (!before.block) return false;
    if (before.block != block) return !is_shared(address);
    if (before.thread == thread || before.barriers < barriers) return false;
    if (before.thread / WARP != thread / WARP) return true;
    return warps[thread / WARP].met[before.thread % WARP][thread % WARP] <= before.meetings;
}

// Where code lies, for addr2line: [object+offset].
inline void place_of(const char* code, char* text, size_t size)
{
    Dl_info info;
    if (!dladdr(code, &info)) info = {"?", nullptr, nullptr, nullptr};
    snprintf(text, size, "[%s+0x%zx]", info.dli_fname, size_t(code - static_cast<char*>(info.dli_fbase)) - 1);
}

inline void check(const Access& before, const char* address, const char* was, const char* is, const char* code)
{
    if (!may_collide(before, address)) return;
    char there[300], here[300], text[800];
    place_of(before.code, there, sizeof there);
    place_of(code, here, sizeof here);
    snprintf(text, sizeof text, "race in %s memory: %s at %s by thread %u%s, %s at %s",
             is_shared(address) ? "shared" : "global", was, there, before.thread,
             before.block == block ? "" : " of another block", is, here);
    fail(text);
}

inline void read(const char* address, const char* code)
{
    Word& word = words[reinterpret_cast<uintptr_t>(address) / 4];
    check(word.write, address, "written", "read", code);
    if (word.read.block != block || word.read.thread / WARP != current->rank / WARP) word.stranger = word.read;
    else if (word.read.thread != current->rank) word.neighbour = word.read;
    word.read = current_access(code);
}

inline void write(const char* address, const char* code)
{
    Word& word = words[reinterpret_cast<uintptr_t>(address) / 4];
    check(word.write, address, "written", "written", code);
    for (const Access* before : {&word.read, &word.neighbour, &word.stranger})
        check(*before, address, "read", "written", code);
    word = Word{current_access(code)};
}

// An access of a thread, unless it is to its own stack or to what the machine keeps.
template <void touch(const char*, const char*)>
void access(const void* begin, size_t bytes, const void* code)
{
    const char* first = static_cast<const char*>(begin);
    if (!enabled || is_private(begin)) return;
    for (size_t i = 0; i < bytes; i += 4) touch(first + i, static_cast<const char*>(code));
}

}  // namespace races
}  // namespace machine

#pragma GCC visibility push(default)
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

#define CALLER __builtin_return_address(0)
#define ACCESSES(name, touch)                                                                               \
    void __tsan_##name##1(void* at) { machine::races::access<machine::races::touch>(at, 1, CALLER); }       \
    void __tsan_##name##2(void* at) { machine::races::access<machine::races::touch>(at, 2, CALLER); }       \
    void __tsan_##name##4(void* at) { machine::races::access<machine::races::touch>(at, 4, CALLER); }       \
    void __tsan_##name##8(void* at) { machine::races::access<machine::races::touch>(at, 8, CALLER); }       \
    void __tsan_##name##16(void* at) { machine::races::access<machine::races::touch>(at, 16, CALLER); }
ACCESSES(read, read)
ACCESSES(write, write)
ACCESSES(unaligned_read, read)
ACCESSES(unaligned_write, write)
#undef ACCESSES
void __tsan_read_range(void* at, size_t bytes) { machine::races::access<machine::races::read>(at, bytes, CALLER); }
void __tsan_write_range(void* at, size_t bytes) { machine::races::access<machine::races::write>(at, bytes, CALLER); }
}
#pragma GCC visibility pop
