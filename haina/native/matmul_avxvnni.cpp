// matmul_avxvnni.cpp - the loops for AVX-VNNI beside AVX2 (Intel since 2021, AMD since 2024). CMake compiles this file
// alone with those flags; elsewhere it is empty.
#if defined(__AVXVNNI__)
#include "avx2.h"

namespace haina {
namespace {

// vpdpbusd multiplies unsigned by signed bytes and adds four of them into 32 bits; vpdpwssd does two of 16 bits, of
// which the upper is nothing here: a group's sum fits into 16 bits.
struct AvxVnniRows : Avx2Rows {
    static Vector dot4(Vector sum, Vector w, Vector x) {
        sum = _mm256_dpbusd_avx_epi32(sum, w, x);
        __asm__("" : "+x"(sum));   // or GCC copies sums from register to register, and spills
        return sum;
    }
    static Vector dot8(Vector sum, Vector w, Vector x) {
        return dot4(sum, _mm256_xor_si256(w, _mm256_set1_epi8(-128)), x);
    }
    static Vector group_scale(const int8_t* p) {
        const Vector s = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
        return _mm256_and_si256(s, _mm256_set1_epi32(0xffff));
    }
    static Vector scaled(Vector sum, Vector group, Vector s) { return _mm256_dpwssd_avx_epi32(sum, group, s); }
    static int32_t start4(int32_t low, int32_t high) { return low + high; }
    static int32_t start8(int32_t all) { return all; }
};

}  // namespace

extern const Kernels kernels_avxvnni = {
    multiply<Avx2>, score<Avx2>, soften<Avx2>, blend<Avx2>, keep, rms_norm<Avx2>, silu_mul<Avx2>,
    weigh<Avx2>, multiply_packed<AvxVnniRows>, round_token<AvxVnniRows>, pack_block};

}  // namespace haina
#endif
