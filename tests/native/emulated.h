// emulated.h - AVX-512 and AVX-VNNI on machines with AVX2 only, by way of SIMDe (Debian: libsimde-dev): to be included
// before matmul_avx512.cpp and matmul_avxvnni.cpp, as conftest.py does. An intrinsic that neither SIMDe nor this file
// defines does not compile.
#pragma once
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#define __AVX512F__ 1   // what those files ask the compiler for
#define __AVX512VNNI__ 1
#define __AVXVNNI__ 1

// What SIMDe 0.7.4 lacks: the same on two halves, added up by halves.
static inline __m512i both(__m256i low, __m256i high) {
    return _mm512_inserti32x8(_mm512_castsi256_si512(low), high, 1);
}
static inline __m512 both(__m256 low, __m256 high) {
    return _mm512_castsi512_ps(both(_mm256_castps_si256(low), _mm256_castps_si256(high)));
}
static inline __m128i upper(__m256i a) { return _mm256_extracti128_si256(a, 1); }
static inline __m256i upper(__m512i a) { return _mm512_extracti64x4_epi64(a, 1); }
static inline __m512i widen_bytes(__m128i a) {
    return both(_mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8)));
}
static inline __m512i widen_words(__m256i a) {
    return both(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)), _mm256_cvtepu16_epi32(upper(a)));
}
static inline __m512 widen_halves(__m256i a) {
    return both(_mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(upper(a)));
}
static inline __m512 to_floats(__m512i a) {
    return both(_mm256_cvtepi32_ps(_mm512_castsi512_si256(a)), _mm256_cvtepi32_ps(upper(a)));
}
static inline float add_up(__m512 a) {
    float lane[16];
    _mm512_storeu_ps(lane, a);
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}

// SIMDe's are long: not to be repeated in every tile.
static __attribute__((noinline)) __m512i dot_bytes(__m512i sum, __m512i a, __m512i b) {
    return simde_mm512_dpbusd_epi32(sum, a, b);
}
static __attribute__((noinline)) __m256i dot_bytes(__m256i sum, __m256i a, __m256i b) {
    return simde_mm256_dpbusd_epi32(sum, a, b);
}

#define _mm512_cvtepi8_epi32 widen_bytes
#define _mm512_cvtepu16_epi32 widen_words
#define _mm512_cvtph_ps widen_halves
#define _mm512_cvtepi32_ps to_floats
#define _mm512_reduce_add_ps add_up
#undef _mm512_dpbusd_epi32
#define _mm512_dpbusd_epi32 dot_bytes
#define _mm256_dpbusd_avx_epi32 dot_bytes
#define _mm256_dpwssd_avx_epi32 simde_mm256_dpwssd_epi32
#define __asm__(...)   // ties a value to registers that are not there
