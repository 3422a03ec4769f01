// Stacks that take turns on one thread of the operating system: an own switch on x86-64, the system's elsewhere.
#pragma once
#include <stddef.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__) || defined(PORTABLE)
#define SYSTEM_SWITCH
#include <ucontext.h>
#endif

namespace machine {

constexpr size_t STACK = 256 * 1024;

struct Stack {
    void* top;  // the stack pointer with which it is resumed, while another stack runs
    const void* bottom;
    size_t size;
#ifdef SYSTEM_SWITCH
    ucontext_t context;
#endif
};

#ifdef SYSTEM_SWITCH

inline void swap(Stack& from, Stack& to) { swapcontext(&from.context, &to.context); }

inline void begin(Stack& stack, void (*entry)())
{
    getcontext(&stack.context);
    stack.context.uc_stack.ss_sp = const_cast<void*>(stack.bottom);
    stack.context.uc_stack.ss_size = stack.size;
    stack.context.uc_link = nullptr;
    makecontext(&stack.context, entry, 0);
}

#else

__attribute__((naked, noinline)) inline void swap(Stack& /*from*/, Stack& /*to*/)
{
    asm("push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "mov %rsp, (%rdi)\n mov (%rsi), %rsp\n"
        "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret");
}

inline void begin(Stack& stack, void (*entry)())
{
    void** top = reinterpret_cast<void**>(static_cast<char*>(const_cast<void*>(stack.bottom)) + stack.size);
    *--top = nullptr;  // where `entry` would return to; 16 bytes from here on, as after a call
    *--top = reinterpret_cast<void*>(entry);
    stack.top = top - 6;
}

#endif

// Gives a stack its memory, and what it runs first; whatever it ran before is forgotten.
inline void prepare(Stack& stack, void (*entry)())
{
    if (!stack.bottom) {
        const int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        stack.bottom = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, kind, -1, 0);
        stack.size = STACK;
    }
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(stack.bottom, stack.size);
#endif
    begin(stack, entry);
}

inline void switch_stacks(Stack& from, Stack& to)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(nullptr, to.bottom, to.size);
#endif
    swap(from, to);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

// The first call on a new stack, after the switch from another one.
inline void arrive(Stack& from)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &from.bottom, &from.size);
#else
    (void)from;
#endif
}

}  // namespace machine
