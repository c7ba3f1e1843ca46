// generic.h - what the tile loops need of any machine: vectors of four floats in the portable notation of GCC and
// Clang, which is SSE2 on every x86-64 and NEON on every 64-bit ARM. For matmul_generic.cpp and matmul_neon.cpp.
#pragma once
#include <string.h>
#if defined(__aarch64__)
#include <arm_neon.h>   // vfmaq_f32: the portable notation has no fused multiply-add
#endif

#include "matmul.h"
#include "pack.h"
#include "packed.h"
#include "pages.h"
#include "rows.h"

namespace haina {
namespace {

struct Generic {
    typedef float Vector __attribute__((vector_size(16)));
    typedef uint32_t Bits __attribute__((vector_size(16)));
    typedef int32_t Ints __attribute__((vector_size(16)));
    static constexpr int width = 4;
    static constexpr int tokens = 3;

    static Vector load(const float* p) { Vector v; memcpy(&v, p, sizeof v); return v; }
    static Bits widen(const uint16_t* p) { return Bits{p[0], p[1], p[2], p[3]}; }
    static Vector load(const Bfloat* p) { return reinterpret_cast<Vector>(widen(&p->bits) << 16); }
    static Vector load(const Half* p) {
        // The half's exponent and fraction, moved to a float's place, are the value times 2^-112: subnormals
        // come out right too. Infinity and NaN keep their fraction and get the largest exponent.
        const Bits half = widen(&p->bits);
        const Bits body = (half & 0x7fff) << 13;
        const Bits special = reinterpret_cast<Bits>(body >= 0x7c00u << 13);
        const Bits value = reinterpret_cast<Bits>(reinterpret_cast<Vector>(body) * 0x1p112f);
        return reinterpret_cast<Vector>(value | (special & 0x7f800000u) | (half & 0x8000) << 16);
    }
    static Vector load(const int8_t* p) { return __builtin_convertvector((Ints{p[0], p[1], p[2], p[3]}), Vector); }
    static void store(float* p, Vector v) { memcpy(p, &v, sizeof v); }
    static Vector spread(float a) { return Vector{a, a, a, a}; }
    static Vector mul(Vector a, Vector b) { return a * b; }
#if defined(__aarch64__)
    static Vector madd(Vector a, Vector b, Vector c) {
        return reinterpret_cast<Vector>(vfmaq_f32(reinterpret_cast<float32x4_t>(c), reinterpret_cast<float32x4_t>(a),
                                                  reinterpret_cast<float32x4_t>(b)));
    }
#else
    static Vector madd(Vector a, Vector b, Vector c) { return a * b + c; }
#endif
    static float sum(Vector v) { return (v[0] + v[2]) + (v[1] + v[3]); }
};

}  // namespace
}  // namespace haina
