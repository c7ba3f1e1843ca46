// matmul.h - the tile loops, written once; each matmul_*.cpp instantiates them for one instruction set.
//
// An `Isa` has: Vector, `width` (floats in it), `tokens` (most tokens of a tile), load() from float, Half, Bfloat
// and int8_t, store(), spread() (one float to all lanes), madd(a, b, c) = a·b + c, sum() of the lanes.
//
// A tile is ROWS rows of weights times TOKENS tokens with one vector accumulator per pair, so that a weight is
// widened once for all its tokens. Order of summation: lane l of a pair's accumulator sums columns l, l + width,
// l + 2·width, ... and the lanes are added at the end. That holds for every tile shape and every chunk size, so
// a result never depends on how many tokens or threads there are.
//
// ODR hazard: this code is compiled several times with different compiler flags. An inline function or template
// with external linkage, from us or from std::, would be merged by the linker, and an AVX-512 body could be
// called on a machine without it. So everything here is in an unnamed namespace and nothing of std:: is used.
#pragma once
#include "haina.h"
#include "kernels.h"

namespace haina {
namespace {

struct Half { uint16_t bits; };
struct Bfloat { uint16_t bits; };

constexpr int64_t STRIP_COLS = 1024;   // columns of a tile before the next rows: its activations stay in L1

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

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

// sum[r][t] += w[r, 0..cols) · x[t, 0..cols), in registers.
template <class Isa, class Weight, int ROWS, int TOKENS>
void tile(const Weight* w, int64_t w_stride, const float* x, int64_t x_stride, int64_t cols,
          typename Isa::Vector (*sum)[TOKENS]) {
    using Vector = typename Isa::Vector;
    Vector s[ROWS][TOKENS];
    for (int r = 0; r < ROWS; r++)
        for (int t = 0; t < TOKENS; t++) s[r][t] = sum[r][t];

    auto step = [&](auto&& load_x, auto&& load_w) {
        Vector a[TOKENS];
        for (int t = 0; t < TOKENS; t++) a[t] = load_x(x + t * x_stride);
        for (int r = 0; r < ROWS; r++) {
            const Vector b = load_w(w + r * w_stride);
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

// All of p.cols for `rows` <= BLOCK_ROWS rows from `row` on and TOKENS tokens from `token` on.
template <class Isa, class Weight, int TOKENS>
void block(const Product& p, int64_t row, int64_t rows, int64_t token) {
    constexpr int ROWS = TOKENS == 1 ? 8 : 4;
    const Weight* w = static_cast<const Weight*>(p.w) + row * p.w_stride;
    const float* x = p.x + token * p.x_stride;
    typename Isa::Vector sum[BLOCK_ROWS][TOKENS] = {};
    const int64_t chunk = TOKENS == 1 ? p.cols : STRIP_COLS;   // one token: read each row from end to end
    for (int64_t c = 0; c < p.cols; c += chunk) {
        const int64_t cols = smaller(chunk, p.cols - c);
        int64_t r = 0;
        for (; r + ROWS <= rows; r += ROWS)
            tile<Isa, Weight, ROWS, TOKENS>(w + r * p.w_stride + c, p.w_stride, x + c, p.x_stride, cols, sum + r);
        for (; r < rows; r++)
            tile<Isa, Weight, 1, TOKENS>(w + r * p.w_stride + c, p.w_stride, x + c, p.x_stride, cols, sum + r);
    }
    for (int t = 0; t < TOKENS; t++) {
        float* y = p.y + (token + t) * p.y_stride + row;
        for (int64_t r = 0; r < rows; r++) {
            float value = Isa::sum(sum[r][t]);
            if (p.scale) value *= p.scale[row + r];
            if (p.bias) value += p.bias[row + r];
            y[r] = p.add ? y[r] + value : value;
        }
    }
}

// `tokens` (1 .. TOKENS) tokens: the constant that it is, found by counting down.
template <class Isa, class Weight, int TOKENS>
void block_of(int64_t tokens, const Product& p, int64_t row, int64_t rows, int64_t token) {
    if (tokens == TOKENS) return block<Isa, Weight, TOKENS>(p, row, rows, token);
    if constexpr (TOKENS > 1) block_of<Isa, Weight, TOKENS - 1>(tokens, p, row, rows, token);
}

template <class Isa, class Weight>
void multiply_as(const Product& p) {
    const int64_t passes = (p.tokens + Isa::tokens - 1) / Isa::tokens;   // equal shares: 4 tokens are 2 + 2
    for (int64_t row = 0; row < p.rows; row += BLOCK_ROWS) {
        const int64_t rows = smaller(BLOCK_ROWS, p.rows - row);
        for (int64_t pass = 0; pass < passes; pass++) {
            const int64_t first = p.tokens * pass / passes, last = p.tokens * (pass + 1) / passes;
            block_of<Isa, Weight, Isa::tokens>(last - first, p, row, rows, first);
        }
    }
}

template <class Isa>
void multiply(const Product& p) {
    switch (p.dtype) {
        case HAINA_F32: return multiply_as<Isa, float>(p);
        case HAINA_F16: return multiply_as<Isa, Half>(p);
        case HAINA_BF16: return multiply_as<Isa, Bfloat>(p);
        default: return multiply_as<Isa, int8_t>(p);
    }
}

}  // namespace
}  // namespace haina
