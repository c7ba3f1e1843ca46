// matmul_avx2.cpp - the loops for AVX2, FMA and F16C (x86 since 2013). CMake compiles this file alone with those flags;
// elsewhere it is empty.
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "avx2.h"

namespace haina {

extern const Kernels kernels_avx2 = {
    multiply<Avx2>, score<Avx2>, soften<Avx2>, blend<Avx2>, keep, rms_norm<Avx2>, silu_mul<Avx2>,
    weigh<Avx2>, multiply_packed<Avx2Rows>, round_token<Avx2Rows>, pack_block};

}  // namespace haina
#endif
