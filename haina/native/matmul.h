// matmul.h - the tile loops, written once; each matmul_*.cpp instantiates them for one instruction set.
//
// An `Isa` has: Vector, `width` (floats in it), `tokens` (most tokens of a tile), load() from float, Half, Bfloat
// and int8_t, store(), spread() (one float to all lanes), madd(a, b, c) = a·b + c, sum() of the lanes.
//
// A tile is ROWS rows of weights times TOKENS tokens with one vector accumulator per pair, so that a weight is
// widened once for all its tokens. Order of summation: lane l of a pair's accumulator sums columns l, l + width,
// l + 2·width, ... and the lanes are added at the end. That holds for every tile shape and every strip, so
// a result never depends on how many tokens or threads there are.
//
// ODR hazard: this code is compiled several times with different compiler flags. An inline function or template
// with external linkage, from us or from std::, would be merged by the linker, and an AVX-512 body could be
// called on a machine without it. So everything here is in an unnamed namespace and nothing of std:: is used.
#pragma once
#include "haina.h"
#include "kernels.h"
#include "layout.h"

namespace haina {
namespace {

struct Half { uint16_t bits; };
struct Bfloat { uint16_t bits; };

constexpr int64_t STRIP_COLS = 1024;   // columns of a tile before the next rows: its activations stay in L1

// The last count < width elements of a row, zeros after them: nothing is read beyond the row.
template <class Isa, class Element>
typename Isa::Vector load_part(const Element* from, int64_t count) {
    Element lanes[Isa::width] = {};
    for (int64_t i = 0; i < count; i++) lanes[i] = from[i];
    return Isa::load(lanes);
}

template <class Isa>
void store_part(float* to, typename Isa::Vector v, int64_t count) {
    float lanes[Isa::width];
    Isa::store(lanes, v);
    for (int64_t i = 0; i < count; i++) to[i] = lanes[i];
}

// sum[r][t] += w[r, 0..cols) · x[t, 0..cols), in registers; `stride` elements from row to row of both.
template <class Isa, class Weight, int ROWS, int TOKENS>
void tile(const Weight* w, const float* x, int64_t stride, int64_t cols, typename Isa::Vector (*sum)[TOKENS]) {
    using Vector = typename Isa::Vector;
    Vector s[ROWS][TOKENS];
    for (int r = 0; r < ROWS; r++)
        for (int t = 0; t < TOKENS; t++) s[r][t] = sum[r][t];

    auto step = [&](auto&& load_x, auto&& load_w) {
        Vector a[TOKENS];
        for (int t = 0; t < TOKENS; t++) a[t] = load_x(x + t * stride);
        for (int r = 0; r < ROWS; r++) {
            const Vector b = load_w(w + r * stride);
            for (int t = 0; t < TOKENS; t++) s[r][t] = Isa::madd(a[t], b, s[r][t]);
        }
    };
    int64_t c = 0;
    for (; c + Isa::width <= cols; c += Isa::width) {
        auto load = [c](const auto* row) { return Isa::load(row + c); };
        step(load, load);
    }
    if (c < cols) {
        auto load = [c, cols](const auto* row) { return load_part<Isa>(row + c, cols - c); };
        step(load, load);
    }
    for (int r = 0; r < ROWS; r++)
        for (int t = 0; t < TOKENS; t++) sum[r][t] = s[r][t];
}

// All rows and columns for TOKENS tokens from `token` on.
template <class Isa, class Weight, int TOKENS>
void block(const Product& p, int64_t token) {
    constexpr int ROWS = TOKENS == 1 ? 8 : 4;
    const Weight* w = static_cast<const Weight*>(p.w);
    const float* x = p.x + token * p.cols;
    typename Isa::Vector sum[BLOCK_ROWS][TOKENS] = {};
    const int64_t strip = TOKENS == 1 ? p.cols : STRIP_COLS;   // one token: read each row from end to end
    for (int64_t c = 0; c < p.cols; c += strip) {
        const int64_t cols = smaller(strip, p.cols - c);
        int64_t r = 0;
        for (; r + ROWS <= p.rows; r += ROWS)
            tile<Isa, Weight, ROWS, TOKENS>(w + r * p.cols + c, x + c, p.cols, cols, sum + r);
        for (; r < p.rows; r++) tile<Isa, Weight, 1, TOKENS>(w + r * p.cols + c, x + c, p.cols, cols, sum + r);
    }
    for (int t = 0; t < TOKENS; t++)
        for (int64_t r = 0; r < p.rows; r++) p.y[(token + t) * BLOCK_ROWS + r] = Isa::sum(sum[r][t]);
}

// `tokens` (1 .. TOKENS) tokens: the constant that it is, found by counting down.
template <class Isa, class Weight, int TOKENS>
void block_of(int64_t tokens, const Product& p, int64_t token) {
    if (tokens == TOKENS) return block<Isa, Weight, TOKENS>(p, token);
    if constexpr (TOKENS > 1) block_of<Isa, Weight, TOKENS - 1>(tokens, p, token);
}

template <class Isa, class Weight>
void multiply_as(const Product& p) {
    const int64_t passes = ceil_div(p.tokens, Isa::tokens);   // equal shares: 4 tokens are 2 + 2
    for (int64_t pass = 0; pass < passes; pass++) {
        const int64_t first = p.tokens * pass / passes, last = p.tokens * (pass + 1) / passes;
        block_of<Isa, Weight, Isa::tokens>(last - first, p, first);
    }
}

template <class Isa>
void multiply(const Product& p) {
    switch (p.dtype) {
        case HAINA_F32: return multiply_as<Isa, float>(p);
        case HAINA_F16: return multiply_as<Isa, Half>(p);
        default: return multiply_as<Isa, Bfloat>(p);
    }
}

}  // namespace
}  // namespace haina
