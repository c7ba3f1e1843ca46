// pack.h - floats to W4 and W8, compiled with the loops that read them. reference.py has the rule in words and NumPy.
//
// Only additions, multiplications and comparisons in a fixed order: the bytes are the same on every machine.
// No std:: here, everything in an unnamed namespace: matmul.h says why.
#pragma once
#include "haina.h"
#include "kernels.h"
#include "packed.h"

namespace haina {
namespace {

constexpr int SCALES_TRIED = 10;
constexpr int LANES = 8;

inline float magnitude(float a) { return a < 0 ? -a : a; }

typedef float Lanes __attribute__((vector_size(32)));   // split in two where registers are smaller

// Nearest of -8 .. 7.
template <class Number>
inline __attribute__((always_inline)) void to_nibble(Number& a) {
    const Number least = Number{} - 8.0f, most = Number{} + 7.0f, round = Number{} + 12582912.0f;
    a = a < least ? least : a;
    a = a > most ? most : a;
    a = (a + round) - round;
}

// The signed scale of the least squared error: each scale tried, from the one that puts the largest weight at -8, gives
// integers q; the best scale for those is a/b, with a = sum w·q and b = sum q², and leaves sum w² - a²/b.
inline float group_scale_of(const float* w) {
    float extreme = 0;
    for (int i = 0; i < GROUP_COLS; i++)
        if (magnitude(w[i]) > magnitude(extreme)) extreme = w[i];
    if (magnitude(extreme) < 1e-30f) return 0;
    float best = extreme * -0.125f, most = -1;
    for (int step = 0; step < SCALES_TRIED; step++) {
        const float inverse = 1.0f / (extreme * -0.125f * (0.7f + 0.05f * float(step)));
        Lanes wq = {}, qq = {};
        for (int i = 0; i < GROUP_COLS; i += LANES) {
            Lanes value;
            __builtin_memcpy(&value, w + i, sizeof value);
            Lanes q = value * inverse;
            to_nibble(q);
            wq += q * value;
            qq += q * q;
        }
        float a = 0, b = 0;
        for (int l = 0; l < LANES; l++) a += wq[l], b += qq[l];
        if (b > 0 && a * a > most * b) best = a / b, most = a * a / b;
    }
    return best;
}

// A row of a chunk: q for each column, an integer scale for each group; returns the scale of the chunk.
inline float pack4(const float* w, int groups, int8_t* q, int8_t* group_scale) {
    float ideal[CHUNK_GROUPS], top = 0;
    for (int g = 0; g < groups; g++) {
        ideal[g] = group_scale_of(w + g * GROUP_COLS);
        top = magnitude(ideal[g]) > top ? magnitude(ideal[g]) : top;
    }
    const float scale = top / 127.0f, inverse = top > 0 ? 127.0f / top : 0.0f;
    for (int g = 0; g < groups; g++) {
        int32_t s = nearest(ideal[g] * inverse);
        if (s == 0) s = 1;
        group_scale[g] = int8_t(s);
        const float back = scale > 0 ? 1.0f / (float(s) * scale) : 0.0f;
        for (int i = g * GROUP_COLS; i < (g + 1) * GROUP_COLS; i++) {
            float n = w[i] * back;
            to_nibble(n);
            q[i] = int8_t(n);
        }
    }
    return scale;
}

inline float pack8(const float* w, int cols, int8_t* q) {
    float top = 0;
    for (int i = 0; i < cols; i++) top = magnitude(w[i]) > top ? magnitude(w[i]) : top;
    const float scale = top / 127.0f, inverse = top >= 1e-36f ? 127.0f / top : 0.0f;
    for (int i = 0; i < cols; i++) q[i] = int8_t(nearest(w[i] * inverse));
    return scale;
}

inline void pack_block(const PackBlock& p) {
    const bool four_bits = p.dtype == HAINA_W4;
    __builtin_memset(p.out, 0, size_t(block_bytes(p.dtype, p.cols)));
    for (int64_t c = 0; c * CHUNK_COLS < p.cols; c++) {
        const Chunk chunk = chunk_at(p.dtype, p.cols, c);
        const int groups = int(chunk.groups), cols = groups * GROUP_COLS;
        const int64_t given = smaller(cols, p.cols - c * CHUNK_COLS);
        for (int row = 0; row < BLOCK_ROWS; row++) {
            float w[CHUNK_COLS] = {}, scale = 0;
            int8_t q[CHUNK_COLS] = {}, group_scale[CHUNK_GROUPS] = {};
            if (row < p.rows) {
                __builtin_memcpy(w, p.w + row * p.cols + c * CHUNK_COLS, size_t(given) * sizeof(float));
                scale = four_bits ? pack4(w, groups, q, group_scale) : pack8(w, cols, q);
            }
            __builtin_memcpy(p.out + chunk.scale + row * 4, &scale, 4);
            for (int g = 0; g < groups; g++) {
                if (four_bits) p.out[chunk.group_scale + g * BLOCK_ROWS + row] = uint8_t(group_scale[g]);
                uint8_t* group = p.out + chunk.weights + g * group_bytes(p.dtype);
                for (int i = 0; i < GROUP_COLS; i++) {
                    uint8_t& byte = group[weight_at(p.dtype, row, i)];
                    const int8_t weight = q[g * GROUP_COLS + i];
                    byte = four_bits ? uint8_t(byte | (weight + 8) << i % 8 / 4 * 4) : uint8_t(weight);
                }
            }
        }
    }
}

}  // namespace
}  // namespace haina
