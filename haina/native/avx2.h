// avx2.h - what the tile loops need of AVX2, FMA and F16C: floats eight at a time, rows of packed matrices eight at
// a time. For matmul_avx2.cpp and matmul_avxvnni.cpp. No std:: here, see matmul.h.
#pragma once
#include <immintrin.h>

#include "matmul.h"
#include "pack.h"
#include "packed.h"
#include "pages.h"
#include "rows.h"

namespace haina {
namespace {

struct Avx2 {
    using Vector = __m256;
    static constexpr int width = 8;
    static constexpr int tokens = 3;   // 4 rows x 3 tokens = 12 accumulators + 3 + 1 of 16 registers

    static __m128i bits16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
    static Vector load(const float* p) { return _mm256_loadu_ps(p); }
    static Vector load(const Half* p) { return _mm256_cvtph_ps(bits16(p)); }
    static Vector load(const Bfloat* p) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits16(p)), 16));
    }
    static Vector load(const int8_t* p) {
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
    }
    static void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
    static Vector spread(float a) { return _mm256_set1_ps(a); }
    static Vector mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
    static Vector madd(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
    static float sum(Vector v) {
        __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        s = _mm_add_ps(s, _mm_movehl_ps(s, s));
        return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
    }
};

// Four columns of eight rows. vpmaddubsw multiplies unsigned by signed bytes and adds pairs into 16 bits: a nibble
// times an activation stays so small that a whole group fits, and vpmaddwd by the group's scale widens it. Of W8 a
// group would not fit, and a weight has a sign, which goes to the activation: that is never -128, which has no
// opposite in a byte, while a weight may be; a pair is at most 2 · 128 · 127 < 2^15.
struct Avx2Rows {
    using Vector = __m256i;
    using Float = __m256;
    static constexpr int lanes = 8, rows = 2, tokens = 4;   // 8 accumulators + 4 weights + 1 of 16 registers

    static Vector load(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static void keep(uint8_t* p, Vector v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
    static void nibbles(const uint8_t* p, Vector& low, Vector& high) {
        const Vector both = load(p), mask = _mm256_set1_epi8(15);
        low = _mm256_and_si256(both, mask);
        high = _mm256_and_si256(_mm256_srli_epi16(both, 4), mask);
    }
    static Vector spread(int32_t a) { return _mm256_set1_epi32(a); }
    static Vector spread4(const int8_t* p) {
        int32_t four;
        __builtin_memcpy(&four, p, 4);
        return _mm256_set1_epi32(four);
    }
    static Vector dot4(Vector sum, Vector w, Vector x) {
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x));
        __asm__("" : "+x"(sum));   // or GCC adds products among themselves first, and runs out of registers
        return sum;
    }
    static Vector dot8(Vector sum, Vector w, Vector x) {
        const Vector pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
        return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    // The same scale in both halves of a lane, for the two 16-bit sums there.
    static Vector group_scale(const int8_t* p) {
        const Vector s = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
        return _mm256_blend_epi16(s, _mm256_slli_epi32(s, 16), 0xaa);
    }
    static Vector scaled(Vector sum, Vector group, Vector s) {
        return _mm256_add_epi32(sum, _mm256_madd_epi16(group, s));
    }
    static int32_t start4(int32_t low, int32_t high) {
        return int32_t((uint32_t(high) << 16) | (uint32_t(low) & 0xffff));
    }
    static int32_t start8(int32_t) { return 0; }

    static Float zero() { return _mm256_setzero_ps(); }
    static Float to_float(Vector v) { return _mm256_cvtepi32_ps(v); }
    static Float spread_float(float a) { return _mm256_set1_ps(a); }
    static Float load_float(const float* p) { return _mm256_loadu_ps(p); }
    static void store(float* p, Float v) { _mm256_storeu_ps(p, v); }
    static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
    static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
};

}  // namespace
}  // namespace haina
