// matmul_avx512.cpp - the loops for AVX-512 F, BW, VL and VNNI (beside AVX2, FMA and F16C). CMake compiles this file
// alone with those flags; elsewhere it is empty. No std:: here, see matmul.h.
#if defined(__AVX512F__) && defined(__AVX512VNNI__)
#include <immintrin.h>

#include "matmul.h"
#include "pack.h"
#include "packed.h"
#include "pages.h"
#include "rows.h"

namespace haina {
namespace {

struct Avx512 {
    using Vector = __m512;
    static constexpr int width = 16;
    static constexpr int tokens = 6;   // 4 rows x 6 tokens = 24 accumulators + 6 + 1 of 32 registers

    static __m256i bits16(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
    static Vector load(const float* p) { return _mm512_loadu_ps(p); }
    static Vector load(const Half* p) { return _mm512_cvtph_ps(bits16(p)); }
    static Vector load(const Bfloat* p) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits16(p)), 16));
    }
    static Vector load(const int8_t* p) {
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
    }
    static void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
    static Vector spread(float a) { return _mm512_set1_ps(a); }
    static Vector mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
    static Vector madd(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
    static float sum(Vector v) { return _mm512_reduce_add_ps(v); }   // a tree of additions, always the same
};

// Four columns of sixteen rows; see AvxVnniRows in matmul_avxvnni.cpp.
struct Avx512Rows {
    using Vector = __m512i;
    using Float = __m512;
    static constexpr int lanes = 16, rows = 2, tokens = 8;   // 16 accumulators + 4 weights + 1 of 32 registers

    static Vector load(const uint8_t* p) { return _mm512_loadu_si512(p); }
    static void keep(uint8_t* p, Vector v) { _mm512_storeu_si512(p, v); }
    static void nibbles(const uint8_t* p, Vector& low, Vector& high) {
        const Vector both = load(p), mask = _mm512_set1_epi8(15);
        low = _mm512_and_si512(both, mask);
        high = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
    }
    static Vector spread(int32_t a) { return _mm512_set1_epi32(a); }
    static Vector spread4(const int8_t* p) {
        int32_t four;
        __builtin_memcpy(&four, p, 4);
        return _mm512_set1_epi32(four);
    }
    static Vector dot4(Vector sum, Vector w, Vector x) {
        sum = _mm512_dpbusd_epi32(sum, w, x);
        __asm__("" : "+v"(sum));   // or GCC copies sums from register to register, and spills
        return sum;
    }
    static Vector dot8(Vector sum, Vector w, Vector x) {
        return dot4(sum, _mm512_xor_si512(w, _mm512_set1_epi8(-128)), x);
    }
    static Vector group_scale(const int8_t* p) {
        const Vector s = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        return _mm512_and_si512(s, _mm512_set1_epi32(0xffff));
    }
    static Vector scaled(Vector sum, Vector group, Vector s) { return _mm512_dpwssd_epi32(sum, group, s); }
    static int32_t start4(int32_t low, int32_t high) { return low + high; }
    static int32_t start8(int32_t all) { return all; }

    static Float zero() { return _mm512_setzero_ps(); }
    static Float to_float(Vector v) { return _mm512_cvtepi32_ps(v); }
    static Float spread_float(float a) { return _mm512_set1_ps(a); }
    static Float load_float(const float* p) { return _mm512_loadu_ps(p); }
    static void store(float* p, Float v) { _mm512_storeu_ps(p, v); }
    static Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
    static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
};

}  // namespace

extern const Kernels kernels_avx512 = {
    multiply<Avx512>, score<Avx512>, soften<Avx512>, blend<Avx512>, keep, rms_norm<Avx512>, silu_mul<Avx512>,
    weigh<Avx512>, multiply_packed<Avx512Rows>, round_token<Avx512Rows>, pack_block};

}  // namespace haina
#endif
