// How Python reaches the kernels of an object: EXPORT(name of the entry, kernel).
#pragma once
#include <utility>

extern "C" __attribute__((visibility("hidden"))) char __bss_start[], _end[];  // holds static shared memory, no more

#ifdef __SANITIZE_THREAD__
#define CHECK_RACES true
#else
#define CHECK_RACES false
#endif

namespace machine {

// A parameter's type in NumPy's notation: "f4"; "*f4" for a pointer, "V16" for a structure of 16 bytes.
template <typename T>
void describe(char* text)
{
    using V = std::remove_cv_t<T>;
    if constexpr (std::is_pointer_v<V>) {
        *text = '*';
        using Target = std::remove_pointer_t<V>;
        if constexpr (std::is_void_v<Target>) strcpy(text + 1, "V1");
        else describe<Target>(text + 1);
    } else {
        char kind = std::is_same_v<V, bool>        ? 'b'
                    : std::is_floating_point_v<V>  ? 'f'
                    : !std::is_arithmetic_v<V>     ? 'V'
                    : std::is_signed_v<V>          ? 'i'
                                                   : 'u';
        sprintf(text, "%c%zu", kind, sizeof(V));
    }
}

template <auto kernel>
struct Kernel;

template <typename... Parameters, void (*kernel)(Parameters...)>
struct Kernel<kernel> {
    template <size_t... i>
    static void call(void** arguments, std::index_sequence<i...>)
    {
        kernel(*static_cast<std::remove_cv_t<Parameters>*>(arguments[i])...);
    }
    static void body(void** arguments) { call(arguments, std::index_sequence_for<Parameters...>{}); }

    static void parameters(char* end)  // one after another, each followed by a space
    {
        ((describe<Parameters>(end), end += strlen(end), *end++ = ' '), ...);
        *end = 0;
    }
};

}  // namespace machine

#define EXPORT(name, ...)                                                                                        \
    extern "C" __attribute__((visibility("default"))) void parameters_##name(char* text)\
    {                                                                                                            \
        machine::Kernel<__VA_ARGS__>::parameters(text);                                                       \
    }                                                                                                            \
    extern "C" __attribute__((visibility("default"))) const char* launch_##name(                                 \
        void** arguments, const unsigned* sizes, size_t dynamic_bytes, unsigned order)                           \
    {                                                                                                            \
        return machine::launch({machine::Kernel<__VA_ARGS__>::body, arguments, {sizes[0], sizes[1], sizes[2]},   \
                                {sizes[3], sizes[4], sizes[5]}, __bss_start, _end, dynamic_bytes, order, CHECK_RACES});       \
    }
