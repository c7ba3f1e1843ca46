// emulated.cpp - takes the place of isa.cpp where the machine is not asked: both instruction sets of emulated.h.
#include "haina.h"
#include "kernels.h"

const haina::Kernels* haina::kernels_for(int32_t isa) {
    if (isa == HAINA_AVXVNNI) return &kernels_avxvnni;
    return isa == HAINA_BEST || isa == HAINA_AVX512 ? &kernels_avx512 : nullptr;
}

extern "C" int32_t haina_has_isa(int32_t isa) { return haina::kernels_for(isa) != nullptr; }
