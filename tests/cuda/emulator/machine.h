// What a kernel compiled for the emulator sees of the machine that runs it: machine.cpp.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

#pragma GCC visibility push(default)
namespace machine {

constexpr unsigned WARP = 32;
constexpr unsigned MAIL = 64;  // bytes that a lane may show to its warp at a time

struct Place {
    const char* file;
    int line;
};

// The running thread, as its kernel sees it.
struct Thread {
    uint3 index;
    unsigned rank;  // within its block
};

extern Thread* current;
extern uint3 block_index;
extern dim3 block_size, grid_size;
extern char* dynamic_shared;

void block_barrier(Place);

// Waits for the lanes of a mask and shows them `count` bytes; returns the lanes that take part. `mail` reads the bytes
// that a lane showed, until the next meeting.
unsigned meet(const char* what, unsigned mask, const void* bytes, unsigned count, Place);
const void* mail(unsigned lane);

// Ends the launch with an error that names the thread.
[[noreturn]] void fail(const char* what);
[[noreturn]] void fail(const char* what, Place);

// Whether the address lies in the running thread's stack or in the machine's own data.
bool is_private(const void* address);

// An asynchronous copy of some bytes, or of zeros where there is no source: its target holds poison until the wait.
void copy_async(void* target, const void* source, unsigned bytes, Place);
void commit_copies();
void wait_copies(unsigned groups_left, Place);

// Everything of one launch. `shared` bounds the static shared memory of all kernels of an object.
struct Launch {
    void (*body)(void** arguments);
    void** arguments;
    dim3 grid, block;
    char *shared_begin, *shared_end;
    size_t dynamic_bytes;
    unsigned order;
    bool check_races;
};
const char* launch(const Launch&);

}  // namespace machine
#pragma GCC visibility pop
