// matmul_neon.cpp - the loops for Armv8.2 with the dot product (Apple M1, Cortex-A76 and later). CMake compiles this
// file alone with those flags; elsewhere it is empty. Floats go as in generic.h, which is NEON there.
#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#include "generic.h"

namespace haina {
namespace {

// Four columns of four rows. sdot multiplies signed bytes and adds four of them into 32 bits.
struct NeonRows {
    using Vector = int32x4_t;
    using Float = float32x4_t;
    static constexpr int lanes = 4, rows = 4, tokens = 4;   // 16 accumulators + 8 weights + 1 of 32 registers

    static Vector load(const uint8_t* p) { return vreinterpretq_s32_u8(vld1q_u8(p)); }
    static void keep(uint8_t* p, Vector v) { vst1q_u8(p, vreinterpretq_u8_s32(v)); }
    static void nibbles(const uint8_t* p, Vector& low, Vector& high) {
        const uint8x16_t both = vld1q_u8(p);
        low = vreinterpretq_s32_u8(vandq_u8(both, vdupq_n_u8(15)));
        high = vreinterpretq_s32_u8(vshrq_n_u8(both, 4));
    }
    static Vector spread(int32_t a) { return vdupq_n_s32(a); }
    static Vector spread4(const int8_t* p) {
        int32_t four;
        __builtin_memcpy(&four, p, 4);
        return vdupq_n_s32(four);
    }
    static Vector dot8(Vector sum, Vector w, Vector x) {
        return vdotq_s32(sum, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(x));
    }
    static Vector dot4(Vector sum, Vector w, Vector x) { return dot8(sum, w, x); }   // nibbles are positive bytes
    static Vector group_scale(const int8_t* p) {
        int32_t four;
        __builtin_memcpy(&four, p, 4);
        return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)))));
    }
    static Vector scaled(Vector sum, Vector group, Vector s) { return vmlaq_s32(sum, group, s); }
    static int32_t start4(int32_t low, int32_t high) { return low + high; }
    static int32_t start8(int32_t) { return 0; }

    static Float zero() { return vdupq_n_f32(0); }
    static Float to_float(Vector v) { return vcvtq_f32_s32(v); }
    static Float spread_float(float a) { return vdupq_n_f32(a); }
    static Float load_float(const float* p) { return vld1q_f32(p); }
    static void store(float* p, Float v) { vst1q_f32(p, v); }
    static Float mul(Float a, Float b) { return vmulq_f32(a, b); }
    static Float add(Float a, Float b) { return vaddq_f32(a, b); }
};

}  // namespace

extern const Kernels kernels_neon = {
    multiply<Generic>, score<Generic>, soften<Generic>, blend<Generic>, keep, rms_norm<Generic>, silu_mul<Generic>,
    weigh<Generic>, multiply_packed<NeonRows>, round_token<NeonRows>, pack_block};

}  // namespace haina
#endif
