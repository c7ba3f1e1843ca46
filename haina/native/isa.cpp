// isa.cpp - which instruction sets this machine has, and the kernels for each.
#include "haina.h"
#include "kernels.h"

#ifdef HAINA_X86
#include <cpuid.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace haina {
namespace {

#ifdef HAINA_X86
// cpuid by hand, because __builtin_cpu_supports needs a runtime that Windows builds do not link.
// Bits: Intel SDM, volume 2A, CPUID; volume 1, section 14.3 and 15.2 (what the system must save: XCR0).
bool machine_has(int32_t isa) {
    unsigned a, b, c, d, saved, saved_high;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return false;
    constexpr unsigned fma = 1u << 12, osxsave = 1u << 27, f16c = 1u << 29;
    if ((c & (fma | osxsave | f16c)) != (fma | osxsave | f16c)) return false;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(saved_high) : "c"(0));
    constexpr unsigned ymm = 0x06, zmm = 0xe6, avx2 = 1u << 5;
    constexpr unsigned avx512 = 1u << 16 | 1u << 30 | 1u << 31, avx512vnni = 1u << 11, avxvnni = 1u << 4;
    if (!(b & avx2) || (saved & ymm) != ymm) return false;
    if (isa == HAINA_AVX512) return (b & avx512) == avx512 && (c & avx512vnni) && (saved & zmm) == zmm;
    if (isa == HAINA_AVXVNNI) return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & avxvnni);
    return true;
}
#elif defined(HAINA_NEON_DOT)
// Every Apple processor has the dot product; on Linux the kernel says so (HWCAP_ASIMDDP, uapi/asm/hwcap.h).
bool machine_has_dot() {
#if defined(__linux__)
    return getauxval(AT_HWCAP) & (1ul << 20);
#else
    return true;
#endif
}
#endif

}  // namespace

const Kernels* kernels_for(int32_t isa) {
#ifdef HAINA_X86
    struct Choice { int32_t isa; const Kernels* kernels; bool here; };
    static const Choice choices[] = {   // the best first
        {HAINA_AVX512, &kernels_avx512, machine_has(HAINA_AVX512)},
        {HAINA_AVXVNNI, &kernels_avxvnni, machine_has(HAINA_AVXVNNI)},
        {HAINA_AVX2, &kernels_avx2, machine_has(HAINA_AVX2)},
    };
    for (const Choice& choice : choices)
        if (choice.here && (isa == HAINA_BEST || isa == choice.isa)) return choice.kernels;
#elif defined(HAINA_NEON_DOT)
    static const bool has_dot = machine_has_dot();
    if ((isa == HAINA_BEST || isa == HAINA_NEON) && has_dot) return &kernels_neon;
#endif
    return isa == HAINA_BEST || isa == HAINA_GENERIC ? &kernels_generic : nullptr;
}

}  // namespace haina

extern "C" int32_t haina_has_isa(int32_t isa) { return haina::kernels_for(isa) != nullptr; }
