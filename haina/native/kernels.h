// kernels.h - the inner loops that exist once per instruction set, and how they are chosen.
//
// Included by files that are compiled for different instruction sets, so it must stay free of code: only plain
// structs and declarations (matmul.h says why).
#pragma once
#include <stdint.h>

namespace haina {

// What a kernel multiplies at a time: rows of weights that stay in the L2 cache. Of packed matrices, a block.
constexpr int BLOCK_ROWS = 32;

// y[t, r] = sum_c x[t, c]·w[r, c] for up to 32 rows.
struct Product {
    int32_t dtype;                  // of w: HAINA_F32, _F16 or _BF16
    const void* w;                  // [rows, cols]
    const float* x;                 // [tokens, cols]
    int64_t rows, cols, tokens;
    float* y;                       // [tokens, 32]
};

// y[q, s] = x[q, :]·keys[:, s] for slots 0 .. seen-1 of a page.
struct Score {
    int32_t dtype;                  // of the keys: haina_dtype
    const void *page, *next;        // keys [width, slots]; next: a page to fetch meanwhile
    const float* const* x;          // [queries] of [width]
    int32_t queries, slots, seen;   // slots: a multiple of 16; seen is rounded up to one
    int64_t width;
    float* y;                       // [queries, slots]
};

// A query's products with the keys of a page become weights of its values, relative to the largest score so far.
struct Softmax {
    float* scores;                  // [seen], in: products; out: weights, rounded up to 16 slots
    const float *key_scale, *value_scale;   // [slots], or null
    float scale, slope;             // score = product·key_scale·scale + slope·(first + slot)
    int32_t first, seen;
    float largest, sum;             // of all pages so far, in and out; -inf and 0 before the first
    float keep;                     // out: what earlier weights must be multiplied by
};

// y[q, :] = y[q, :]·keep[q] + sum over s < seen[q] of weights[q, s]·values[s, :], slots in ascending order.
struct Blend {
    int32_t dtype;                  // of the values: haina_dtype
    const void *page, *next;        // values [slots, width]; next: a page to fetch meanwhile
    const float *weights, *keep;    // [queries, slots], [queries]
    const int32_t* seen;            // [queries], ascending, from 1 on
    int32_t queries, slots;
    int64_t width;
    float* const* y;                // [queries] of [width]
};

// x [width], rounded into a slot: to[i·stride], and I8's scale.
struct Keep {
    int32_t dtype;                  // haina_dtype
    const float* x;
    int64_t width, stride;
    void* to;
    float* scale;
};

// Packed matrices (layout.h): columns in groups and chunks; activations with one scale are a block.
constexpr int GROUP_COLS = 32, BLOCK_COLS = 128, CHUNK_COLS = 512;
constexpr int BLOCK_GROUPS = BLOCK_COLS / GROUP_COLS, CHUNK_GROUPS = CHUNK_COLS / GROUP_COLS;

// 512 activations of one token, rounded: x = q·scale[block]. Beyond the last column: zeros.
struct Piece {
    int8_t q[CHUNK_COLS];
    int32_t start4[CHUNK_GROUPS];               // -8·(sum of q over the group), as the instruction set wants it
    int32_t start8[CHUNK_COLS / BLOCK_COLS];    // -128·(sum of q over the block), or 0
    float scale[CHUNK_COLS / BLOCK_COLS];
};

// y[t, r] = sum_c x[t, c]·w[r, c] for one block of 32 rows.
struct PackedProduct {
    int32_t dtype;                  // HAINA_W8 or HAINA_W4
    const uint8_t* block;
    const Piece* x;                 // [chunks, x_stride]
    int64_t x_stride, cols, tokens;
    float* y;                       // [tokens, 32]
};

// Up to 32 rows of w [rows, cols] to the bytes of one block.
struct PackBlock {
    int32_t dtype;                  // HAINA_W8 or HAINA_W4
    const float* w;
    int64_t rows, cols;
    uint8_t* out;
};

struct Kernels {
    void (*multiply)(const Product&);
    void (*score)(const Score&);
    void (*soften)(Softmax&);
    void (*blend)(const Blend&);
    void (*keep)(const Keep&);
    void (*rms_norm)(const float* x, const float* weight, float eps, int64_t rows, int64_t width, float* y);
    void (*silu_mul)(const float* gate, const float* up, int64_t count, float* y);
    // How far x is below the largest, divided by the temperature, and exp of minus that: the same bits everywhere.
    void (*weigh)(const float* x, int64_t count, float largest, float temperature, float* fall, float* weight);
    void (*multiply_packed)(const PackedProduct&);
    void (*round_token)(const float* x, int64_t cols, Piece* pieces, int64_t stride);   // piece of chunk c: c·stride
    void (*pack_block)(const PackBlock&);
};

#if defined(__x86_64__) || defined(_M_X64)
#define HAINA_X86 1
extern const Kernels kernels_avx2, kernels_avxvnni, kernels_avx512;
#elif defined(__aarch64__)
#define HAINA_NEON_DOT 1
extern const Kernels kernels_neon;
#endif
extern const Kernels kernels_generic;

// The kernels of an instruction set (haina_isa), the best that this machine has for HAINA_BEST; null if it has not.
const Kernels* kernels_for(int32_t isa);

}  // namespace haina
