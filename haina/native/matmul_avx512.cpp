// matmul_avx512.cpp - the tile loops for AVX-512 F (beside AVX2, FMA and F16C). CMake compiles this file alone
// with those flags; elsewhere it is empty. No std:: here, see matmul.h.
#if defined(__AVX512F__)
#include <immintrin.h>

#include "matmul.h"

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

}  // namespace

extern const Kernels kernels_avx512 = {multiply<Avx512>, blend<Avx512>};

}  // namespace haina
#endif
