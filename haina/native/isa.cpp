// isa.cpp - which instruction sets this machine has, and the kernels for each.
#include "haina.h"
#include "kernels.h"

#ifdef HAINA_X86
#include <cpuid.h>
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
    constexpr unsigned ymm = 0x06, zmm = 0xe6, avx2 = 1u << 5, avx512f = 1u << 16;
    const bool has_avx2 = (b & avx2) && (saved & ymm) == ymm;
    return isa == HAINA_AVX2 ? has_avx2 : has_avx2 && (b & avx512f) && (saved & zmm) == zmm;
}
#endif

}  // namespace

const Kernels* kernels_for(int32_t isa) {
#ifdef HAINA_X86
    static const bool has_avx2 = machine_has(HAINA_AVX2), has_avx512 = machine_has(HAINA_AVX512);
    if ((isa == HAINA_BEST || isa == HAINA_AVX512) && has_avx512) return &kernels_avx512;
    if ((isa == HAINA_BEST || isa == HAINA_AVX2) && has_avx2) return &kernels_avx2;
#endif
    return isa == HAINA_BEST || isa == HAINA_GENERIC ? &kernels_generic : nullptr;
}

}  // namespace haina

extern "C" int32_t haina_has_isa(int32_t isa) { return haina::kernels_for(isa) != nullptr; }
