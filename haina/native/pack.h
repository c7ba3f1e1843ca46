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
// integers q; the best scale for those is a/b, with a = sum h·w·q and b = sum h·q², and leaves sum h·w² - a²/b.
inline float group_scale_of(const float* w, const float* h) {
    float extreme = 0;
    for (int i = 0; i < GROUP_COLS; i++)
        if (magnitude(w[i]) > magnitude(extreme)) extreme = w[i];
    if (magnitude(extreme) < 1e-30f) return 0;
    float best = extreme * -0.125f, most = -1;
    for (int step = 0; step < SCALES_TRIED; step++) {
        const float inverse = 1.0f / (extreme * -0.125f * (0.7f + 0.05f * float(step)));
        Lanes wq = {}, qq = {};
        for (int i = 0; i < GROUP_COLS; i += LANES) {
            Lanes value, weight;
            __builtin_memcpy(&value, w + i, sizeof value);
            __builtin_memcpy(&weight, h + i, sizeof weight);
            Lanes q = value * inverse;
            to_nibble(q);
            weight *= q;
            wq += weight * value;
            qq += weight * q;
        }
        float a = 0, b = 0;
        for (int l = 0; l < LANES; l++) a += wq[l], b += qq[l];
        if (b > 0 && a * a > most * b) best = a / b, most = a * a / b;
    }
    return best;
}

// A row of a chunk: q for each column, an integer scale for each group; returns the scale of the chunk.
inline float pack4(const float* w, const float* h, int groups, int8_t* q, int8_t* group_scale) {
    float ideal[CHUNK_GROUPS], top = 0;
    for (int g = 0; g < groups; g++) {
        ideal[g] = group_scale_of(w + g * GROUP_COLS, h + g * GROUP_COLS);
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

// Column i of group g: bytes for W8, nibbles for W4 (which must be 0 before).
inline void put(uint8_t* group, bool four_bits, int row, int i, int8_t q) {
    if (four_bits)
        group[i / 8 * 128 + row * 4 + i % 4] |= uint8_t(uint8_t(q + 8) << (i % 8 / 4 * 4));
    else
        group[i / 4 * 128 + row * 4 + i % 4] = uint8_t(q);
}

inline void pack_block(const PackBlock& p) {
    const bool four_bits = p.dtype == HAINA_W4;
    const int64_t group_bytes = four_bits ? 512 : 1024;
    uint8_t* out = p.out;
    for (int64_t c = 0; c * CHUNK_COLS < p.cols; c++) {
        const int groups = int(groups_of_chunk(p.cols, c)), cols = groups * GROUP_COLS;
        const int64_t given = p.cols - c * CHUNK_COLS < cols ? p.cols - c * CHUNK_COLS : cols;
        uint8_t* weights = out + 128 + (four_bits ? groups * BLOCK_ROWS : 0);
        uint8_t* end = weights + groups * group_bytes;
        __builtin_memset(out, 0, size_t(end - out));
        float h[CHUNK_COLS] = {};
        for (int64_t i = 0; i < given; i++) h[i] = p.importance ? p.importance[c * CHUNK_COLS + i] : 1.0f;
        for (int row = 0; row < BLOCK_ROWS; row++) {
            float w[CHUNK_COLS] = {}, scale = 0;
            int8_t q[CHUNK_COLS] = {}, group_scale[CHUNK_GROUPS] = {};
            if (row < p.rows) {
                __builtin_memcpy(w, p.w + row * p.cols + c * CHUNK_COLS, size_t(given) * sizeof(float));
                scale = four_bits ? pack4(w, h, groups, q, group_scale) : pack8(w, cols, q);
            }
            __builtin_memcpy(out + row * 4, &scale, 4);
            for (int g = 0; g < groups; g++) {
                if (four_bits) out[128 + g * BLOCK_ROWS + row] = uint8_t(group_scale[g]);
                for (int i = 0; i < GROUP_COLS; i++)
                    put(weights + g * group_bytes, four_bits, row, i, q[g * GROUP_COLS + i]);
            }
        }
        out = end;
    }
}

}  // namespace
}  // namespace haina
