// packed.h - W4 and W8 times int8 activations, written once; each matmul_*.cpp instantiates it. layout.h has where
// the bytes of a packed matrix lie, pack.h makes them.
//
// An integer `Isa` has: Vector of 32-bit lanes, one lane a row; `lanes`; `rows`, row vectors of a tile; `tokens`, most
// tokens of a tile; dot4() and dot8(), which add four columns' products to each lane; scaled(); start4() and start8(),
// what the activations' sums add so that weights may be taken as unsigned; and a Float of as many lanes.
//
// Exactness: the sum over a group of 32 nibbles is an integer below 2^15, over a block of 128 columns below 2^28; only
// then does it become a float, once for 128 columns, in the order of the columns, multiplied and added apart. So every
// instruction set, tile shape and batch gives the same bits, and reference.py gives them too.
//
// No std:: here, everything in an unnamed namespace: matmul.h says why.
#pragma once
#include "haina.h"
#include "kernels.h"
#include "layout.h"

#if defined(__clang__)
#define HAINA_UNROLL _Pragma("clang loop unroll(full)")
#define HAINA_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define HAINA_UNROLL _Pragma("GCC unroll 16")
#define HAINA_ROLLED _Pragma("GCC unroll 1")
#endif

namespace haina {
namespace {

template <bool FIRST, class A, class B>
struct Select { using Type = A; };
template <class A, class B>
struct Select<false, A, B> { using Type = B; };

constexpr int64_t AHEAD_BYTES = 8192;   // how far ahead weights are asked for; a core's own prefetcher falls behind

// Nibbles as they lie in the file: every vector holds the columns of two dots.
template <class Isa>
struct Nibbles {
    static constexpr int64_t group_bytes = 512;
    using Vector = typename Isa::Vector;
    static void load(const uint8_t* group, int pair, int v, Vector& first, Vector& second) {
        Isa::nibbles(group + pair * 128 + v * 4 * Isa::lanes, first, second);
    }
};

// A byte a weight: W8 as it lies in the file, or nibbles spread out before.
template <class Isa>
struct Bytes {
    static constexpr int64_t group_bytes = 1024;
    using Vector = typename Isa::Vector;
    static void load(const uint8_t* group, int pair, int v, Vector& first, Vector& second) {
        first = Isa::load(group + pair * 256 + v * 4 * Isa::lanes);
        second = Isa::load(group + pair * 256 + 128 + v * 4 * Isa::lanes);
    }
};

// sum[t][v] += the products of group g, for the ROWS row vectors from `v0` on and TOKENS tokens.
template <class Isa, bool FOUR_BITS, class Source, int ROWS, int TOKENS>
inline __attribute__((always_inline)) void add_products(typename Isa::Vector (&sum)[TOKENS][ROWS], const uint8_t* group,
                                                        const Piece* x, int g, int v0) {
    HAINA_ROLLED for (int pair = 0; pair < 4; pair++) {   // or GCC reorders the sums and spills
        typename Isa::Vector w[2][ROWS];
        HAINA_UNROLL for (int v = 0; v < ROWS; v++) Source::load(group, pair, v0 + v, w[0][v], w[1][v]);
        HAINA_UNROLL for (int k = 0; k < 2; k++)
            HAINA_UNROLL for (int t = 0; t < TOKENS; t++) {
                const auto a = Isa::spread4(x[t].q + g * GROUP_COLS + pair * 8 + k * 4);
                HAINA_UNROLL for (int v = 0; v < ROWS; v++)
                    sum[t][v] = FOUR_BITS ? Isa::dot4(sum[t][v], w[k][v], a) : Isa::dot8(sum[t][v], w[k][v], a);
            }
    }
}

// The same of W4: the products of a group for themselves, then times its scale.
template <class Isa, class Source, int ROWS, int TOKENS>
inline __attribute__((always_inline)) void add_group4(typename Isa::Vector (&sum)[TOKENS][ROWS], const uint8_t* group,
                                                      const int8_t* group_scale, const Piece* x, int g, int v0) {
    typename Isa::Vector products[TOKENS][ROWS];
    HAINA_UNROLL for (int t = 0; t < TOKENS; t++)
        HAINA_UNROLL for (int v = 0; v < ROWS; v++) products[t][v] = Isa::spread(x[t].start4[g]);
    add_products<Isa, true, Source>(products, group, x, g, v0);
    HAINA_UNROLL for (int v = 0; v < ROWS; v++) {
        const auto s = Isa::group_scale(group_scale + (v0 + v) * Isa::lanes);
        HAINA_UNROLL for (int t = 0; t < TOKENS; t++) sum[t][v] = Isa::scaled(sum[t][v], products[t][v], s);
    }
}

// y[t][row] += what this chunk adds, for the ROWS row vectors from `v0` on and TOKENS tokens.
template <class Isa, bool FOUR_BITS, class Source, int ROWS, int TOKENS, bool PREFETCH>
inline __attribute__((always_inline)) void tile(const uint8_t* weights, const int8_t* group_scale, const float* scale,
                                                int groups, const Piece* x, float* y, int v0) {
    using Vector = typename Isa::Vector;
    using Float = typename Isa::Float;
    Float part[TOKENS][ROWS];
    for (int t = 0; t < TOKENS; t++)
        for (int v = 0; v < ROWS; v++) part[t][v] = Isa::zero();
    for (int block = 0; block * BLOCK_GROUPS < groups; block++) {
        const int last = (block + 1) * BLOCK_GROUPS < groups ? (block + 1) * BLOCK_GROUPS : groups;
        Vector sum[TOKENS][ROWS];
        for (int t = 0; t < TOKENS; t++)
            for (int v = 0; v < ROWS; v++) sum[t][v] = Isa::spread(FOUR_BITS ? 0 : x[t].start8[block]);
        for (int g = block * BLOCK_GROUPS; g < last; g++) {
            const uint8_t* group = weights + g * Source::group_bytes;
            if (PREFETCH)
                for (int i = 0; i < Source::group_bytes; i += 64) __builtin_prefetch(group + AHEAD_BYTES + i);
            if constexpr (FOUR_BITS)
                add_group4<Isa, Source>(sum, group, group_scale + g * BLOCK_ROWS, x, g, v0);
            else
                add_products<Isa, false, Source>(sum, group, x, g, v0);
        }
        for (int t = 0; t < TOKENS; t++) {
            const Float by = Isa::spread_float(x[t].scale[block]);
            for (int v = 0; v < ROWS; v++)
                part[t][v] = Isa::add(part[t][v], Isa::mul(Isa::to_float(sum[t][v]), by));
        }
    }
    for (int t = 0; t < TOKENS; t++)
        for (int v = 0; v < ROWS; v++) {
            const int at = (v0 + v) * Isa::lanes;
            float* to = y + t * BLOCK_ROWS + at;
            Isa::store(to, Isa::add(Isa::load_float(to), Isa::mul(part[t][v], Isa::load_float(scale + at))));
        }
}

// All 32 rows of a chunk for TOKENS tokens.
template <class Isa, bool FOUR_BITS, class Source, int TOKENS, bool PREFETCH>
void rows_of(const uint8_t* weights, const int8_t* group_scale, const float* scale, int groups, const Piece* x,
             float* y) {
    constexpr int VECTORS = BLOCK_ROWS / Isa::lanes;
    constexpr int ROWS = TOKENS == 1 || VECTORS < Isa::rows ? (VECTORS < 4 ? VECTORS : 4) : Isa::rows;
    for (int v = 0; v < VECTORS; v += ROWS)
        tile<Isa, FOUR_BITS, Source, ROWS, TOKENS, PREFETCH>(weights, group_scale, scale, groups, x, y, v);
}

// `count` (1 .. TOKENS) tokens: the constant that it is, found by counting down.
template <class Isa, bool FOUR_BITS, class Source, int TOKENS, bool PREFETCH>
void rows_of_some(int64_t count, const uint8_t* weights, const int8_t* group_scale, const float* scale, int groups,
                  const Piece* x, float* y) {
    if (count == TOKENS)
        return rows_of<Isa, FOUR_BITS, Source, TOKENS, PREFETCH>(weights, group_scale, scale, groups, x, y);
    if constexpr (TOKENS > 1)
        rows_of_some<Isa, FOUR_BITS, Source, TOKENS - 1, PREFETCH>(count, weights, group_scale, scale, groups, x, y);
}

// Nibbles spread out to a byte each, in the order of W8.
template <class Isa>
void spread_nibbles(const uint8_t* weights, int groups, uint8_t* out) {
    for (const uint8_t* end = weights + groups * 512; weights < end; weights += 128, out += 256)
        for (int v = 0; v < BLOCK_ROWS / Isa::lanes; v++) {
            __builtin_prefetch(weights + AHEAD_BYTES + v * 4 * Isa::lanes);
            typename Isa::Vector first, second;
            Isa::nibbles(weights + v * 4 * Isa::lanes, first, second);
            Isa::keep(out + v * 4 * Isa::lanes, first);
            Isa::keep(out + 128 + v * 4 * Isa::lanes, second);
        }
}

template <class Isa, bool FOUR_BITS>
void multiply_packed_as(const PackedProduct& p) {
    using Source = typename Select<FOUR_BITS, Nibbles<Isa>, Bytes<Isa>>::Type;
    alignas(64) uint8_t bytes[CHUNK_GROUPS * 1024];
    for (int64_t i = 0; i < p.tokens * BLOCK_ROWS; i++) p.y[i] = 0;
    for (int64_t c = 0; c * CHUNK_COLS < p.cols; c++) {
        const Chunk chunk = chunk_at(p.dtype, p.cols, c);
        const int groups = int(chunk.groups);
        const float* scale = reinterpret_cast<const float*>(p.block + chunk.scale);
        const int8_t* group_scale = reinterpret_cast<const int8_t*>(p.block + chunk.group_scale);
        const uint8_t* weights = p.block + chunk.weights;
        const bool spread = FOUR_BITS && p.tokens > Isa::tokens;
        if (spread) spread_nibbles<Isa>(weights, groups, bytes);
        const int64_t passes = ceil_div(p.tokens, Isa::tokens);
        for (int64_t pass = 0; pass < passes; pass++) {   // equal shares: 4 tokens are 2 + 2
            const int64_t first = p.tokens * pass / passes, count = p.tokens * (pass + 1) / passes - first;
            const Piece* x = p.x + c * p.x_stride + first;
            float* y = p.y + first * BLOCK_ROWS;
            if (spread)
                rows_of_some<Isa, FOUR_BITS, Bytes<Isa>, Isa::tokens, false>(count, bytes, group_scale, scale, groups,
                                                                             x, y);
            else if (pass == 0)
                rows_of_some<Isa, FOUR_BITS, Source, Isa::tokens, true>(count, weights, group_scale, scale, groups, x,
                                                                        y);
            else
                rows_of_some<Isa, FOUR_BITS, Source, Isa::tokens, false>(count, weights, group_scale, scale, groups, x,
                                                                         y);
        }
    }
}

template <class Isa>
void multiply_packed(const PackedProduct& p) {
    p.dtype == HAINA_W4 ? multiply_packed_as<Isa, true>(p) : multiply_packed_as<Isa, false>(p);
}

inline uint32_t bits_of(float a) {
    uint32_t bits;
    __builtin_memcpy(&bits, &a, 4);
    return bits;
}

inline float float_of(uint32_t bits) {
    float a;
    __builtin_memcpy(&a, &bits, 4);
    return a;
}

// The nearest integer of |a| <= 2^22, ties to even: adding 1.5·2^23 leaves it in the low bits.
inline int32_t nearest(float a) { return int32_t(bits_of(a + 12582912.0f) - 0x4b400000u); }

// 128 activations to int8 with one scale, max|x| / 127. NaN or infinity in, NaN as the scale out.
template <class Isa>
void round_block(const float* x, Piece& piece, int block) {
    uint32_t top = 0;
    for (int i = 0; i < BLOCK_COLS; i++) {
        const uint32_t size = bits_of(x[i]) & 0x7fffffffu;   // as integers, floats without sign are in order
        top = size > top ? size : top;
    }
    const bool finite = top < 0x7f800000u;
    const float scale = finite ? float_of(top) / 127.0f : float_of(0x7fc00000u);
    const float inverse = finite && scale >= 1.17549435e-38f ? 1.0f / scale : 0.0f;
    int8_t* q = piece.q + block * BLOCK_COLS;
    for (int i = 0; i < BLOCK_COLS; i++) {
        const int32_t n = nearest(finite ? x[i] * inverse : 0.0f);
        q[i] = int8_t(n > 127 ? 127 : n < -127 ? -127 : n);
    }
    int32_t all = 0;
    for (int g = 0; g < BLOCK_GROUPS; g++, q += GROUP_COLS) {
        int32_t low = 0, high = 0;   // of columns 0, 1 and of columns 2, 3 of each four
        for (int i = 0; i < GROUP_COLS; i += 4) low += q[i] + q[i + 1], high += q[i + 2] + q[i + 3];
        piece.start4[block * BLOCK_GROUPS + g] = Isa::start4(-8 * low, -8 * high);
        all += low + high;
    }
    piece.start8[block] = Isa::start8(-128 * all);
    piece.scale[block] = scale;
}

template <class Isa>
void round_token(const float* x, int64_t cols, Piece* pieces, int64_t stride) {
    for (int64_t c = 0; c < cols; c += CHUNK_COLS, pieces += stride)
        for (int b = 0; b < CHUNK_COLS / BLOCK_COLS && c + b * BLOCK_COLS < cols; b++) {
            const int64_t from = c + b * BLOCK_COLS;
            if (from + BLOCK_COLS <= cols) {
                round_block<Isa>(x + from, *pieces, b);
                continue;
            }
            float rest[BLOCK_COLS] = {};
            for (int64_t i = 0; from + i < cols; i++) rest[i] = x[from + i];
            round_block<Isa>(rest, *pieces, b);
        }
}

}  // namespace
}  // namespace haina
