// matmul_generic.cpp - the loops for any machine.
#include "generic.h"

namespace haina {
namespace {

// Four columns of four rows, byte by byte.
struct GenericRows {
    typedef int32_t Vector __attribute__((vector_size(16)));
    typedef float Float __attribute__((vector_size(16)));
    static constexpr int lanes = 4, rows = 2, tokens = 2;

    static Vector load(const uint8_t* p) { Vector v; memcpy(&v, p, sizeof v); return v; }
    static void keep(uint8_t* p, Vector v) { memcpy(p, &v, sizeof v); }
    static void nibbles(const uint8_t* p, Vector& low, Vector& high) {
        const Vector both = load(p);
        low = both & 0x0f0f0f0f;
        high = both >> 4 & 0x0f0f0f0f;
    }
    static Vector spread(int32_t a) { return Vector{a, a, a, a}; }
    static Vector spread4(const int8_t* p) { int32_t four; memcpy(&four, p, 4); return spread(four); }
    // Signed bytes of each lane, one after another: shifted to the top and back.
    static Vector dot8(Vector sum, Vector w, Vector x) {
        for (int shift = 24; shift >= 0; shift -= 8) sum += (w << shift >> 24) * (x << shift >> 24);
        return sum;
    }
    static Vector dot4(Vector sum, Vector w, Vector x) { return dot8(sum, w, x); }   // nibbles are positive bytes
    static Vector group_scale(const int8_t* p) { return Vector{p[0], p[1], p[2], p[3]}; }
    static Vector scaled(Vector sum, Vector group, Vector s) { return sum + group * s; }
    static int32_t start4(int32_t low, int32_t high) { return low + high; }
    static int32_t start8(int32_t) { return 0; }

    static Float zero() { return Float{}; }
    static Float to_float(Vector v) { return __builtin_convertvector(v, Float); }
    static Float spread_float(float a) { return Float{a, a, a, a}; }
    static Float load_float(const float* p) { Float v; memcpy(&v, p, sizeof v); return v; }
    static void store(float* p, Float v) { memcpy(p, &v, sizeof v); }
    static Float mul(Float a, Float b) { return a * b; }
    static Float add(Float a, Float b) { return a + b; }
};

}  // namespace

extern const Kernels kernels_generic = {
    multiply<Generic>, score<Generic>, soften<Generic>, blend<Generic>, keep, rms_norm<Generic>, silu_mul<Generic>,
    weigh<Generic>, multiply_packed<GenericRows>, round_token<GenericRows>, pack_block};

}  // namespace haina
