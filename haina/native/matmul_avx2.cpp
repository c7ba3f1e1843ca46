// matmul_avx2.cpp - the tile loops for AVX2, FMA and F16C (x86 since 2013). CMake compiles this file alone with
// those flags; elsewhere it is empty. No std:: here, see matmul.h.
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>

#include "matmul.h"

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

}  // namespace

extern const Kernels kernels_avx2 = {multiply<Avx2>, blend<Avx2>};

}  // namespace haina
#endif
