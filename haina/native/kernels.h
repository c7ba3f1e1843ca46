// kernels.h - the two inner loops that exist once per instruction set, and how they are chosen.
//
// Included by files that are compiled for different instruction sets, so it must stay free of code: only plain
// structs and declarations (matmul.h says why).
#pragma once
#include <stdint.h>

namespace haina {

// y[t, r] (+)= scale[r] · sum_c x[t, c]·w[r, c] + bias[r]. Strides count elements from one row to the next.
struct Product {
    int32_t dtype;                  // of w: haina_dtype
    const void* w;                  // [rows, cols]
    int64_t w_stride;
    const float *scale, *bias;      // [rows], or null
    const float* x;                 // [tokens, cols]
    int64_t x_stride;
    float* y;                       // [tokens, rows]
    int64_t y_stride;
    int64_t rows, cols, tokens;
    bool add;                       // add to y instead of writing it
};

// y[e] = y[e]·keep + sum_s p[s]·v[s, e], slots in ascending order.
struct Blend {
    int32_t dtype;                  // of v: haina_dtype
    const void* v;                  // [slots, width]
    const float* p;                 // [slots]
    int64_t slots, width;
    float keep;
    float* y;                       // [width]
};

struct Kernels {
    void (*multiply)(const Product&);
    void (*blend)(const Blend&);
};

#if defined(__x86_64__) || defined(_M_X64)
#define HAINA_X86 1
extern const Kernels kernels_avx2, kernels_avx512;
#endif
extern const Kernels kernels_generic;

// The kernels of an instruction set (haina_isa), the best that this machine has for HAINA_BEST; null if it has not.
const Kernels* kernels_for(int32_t isa);

}  // namespace haina
