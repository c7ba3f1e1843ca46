// rows.h - what is done to rows of activations, written once and compiled for each instruction set: exp, silu-times,
// norm, the softmax of scores that arrive page by page, and weights to draw from.
//
// An `Isa` is that of matmul.h. Its vectors know + - * / and comparisons: GCC and Clang give them to every vector.
// No std:: here, see matmul.h.
#pragma once
#include "matmul.h"

namespace haina {
namespace {

// Whole numbers in as many lanes.
template <class Isa>
struct Like {
    typedef int32_t Ints __attribute__((vector_size(4 * Isa::width)));
};

// exp(x) within 1.2 units in the last place, 0.9 with a fused multiply-add; 0 below -104, infinity above 88.73, NaN
// stays NaN. x = n·ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite: ln 2 in two parts, so that n times the first is
// exact). exp(r) is the polynomial of degree 6 with the least relative error, 4e-9, that begins with 1 + r; 2^n is
// multiplied in by halves, so that neither overflows where the result does not.
template <class Isa>
typename Isa::Vector exponential(typename Isa::Vector x) {
    using Vector = typename Isa::Vector;
    using Ints = typename Like<Isa>::Ints;
    const auto c = [](float a) { return Isa::spread(a); };
    x = c(-105) > x ? c(-105) : x;
    x = c(89) < x ? c(89) : x;
    const Vector whole = c(0x1.8p23f), shifted = Isa::madd(x, c(0x1.715476p0f), whole), n = shifted - whole;
    const Vector r = Isa::madd(n, c(0x1.bd0106p-13f), Isa::madd(n, c(-0x1.63p-1f), x));
    Vector p = c(0x1.6a244cp-10f);
    constexpr float factors[] = {0x1.1239d4p-7f, 0x1.5558f2p-5f, 0x1.555492p-3f, 0x1.fffffcp-2f, 1, 1};
    for (const float factor : factors) p = Isa::madd(p, r, c(factor));
    const Ints exponent = reinterpret_cast<Ints>(shifted) - 0x4b400000, half = exponent >> 1;
    return p * reinterpret_cast<Vector>((half + 127) << 23) * reinterpret_cast<Vector>((exponent - half + 127) << 23);
}

// Calls work(load, store, i) for elements i, i + width, ... of rows that are `count` long; the last may be a part.
template <class Isa, class Work>
void each_vector(int64_t count, Work&& work) {
    int64_t i = 0;
    for (; i + Isa::width <= count; i += Isa::width)
        work([i](const float* row) { return Isa::load(row + i); },
             [i](float* row, typename Isa::Vector v) { Isa::store(row + i, v); });
    if (i < count)
        work([i, count](const float* row) { return load_part<Isa>(row + i, count - i); },
             [i, count](float* row, typename Isa::Vector v) { store_part<Isa>(row + i, v, count - i); });
}

template <class Isa>
void silu_mul(const float* gate, const float* up, int64_t count, float* y) {
    each_vector<Isa>(count, [=](auto load, auto store) {
        const auto a = load(gate);
        store(y, a / (Isa::spread(1) + exponential<Isa>(-a)) * load(up));
    });
}

// In double, so that rows of any width and size are exact enough. Sum l is of the squares of elements l, l + 16, ...: a
// loop that the compiler turns into vectors.
inline double sum_of_squares(const float* x, int64_t width) {
    constexpr int sums = 16;
    double sum[sums] = {};
    int64_t i = 0;
    for (; i + sums <= width; i += sums)
        for (int l = 0; l < sums; l++) sum[l] += double(x[i + l]) * double(x[i + l]);
    for (int l = 0; i < width; i++, l++) sum[l] += double(x[i]) * double(x[i]);
    for (int half = sums / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) sum[l] += sum[l + half];
    return sum[0];
}

template <class Isa>
void rms_norm(const float* x, const float* weight, float eps, int64_t rows, int64_t width, float* y) {
    for (int64_t row = 0; row < rows; row++, x += width, y += width) {
        const double mean = sum_of_squares(x, width) / double(width);
        const auto scale = Isa::spread(float(1 / __builtin_sqrt(mean + double(eps))));
        each_vector<Isa>(width, [=](auto load, auto store) { store(y, load(x) * scale * load(weight)); });
    }
}

// A query's products with the keys of a page become weights of its values, relative to the largest score so far.
template <class Isa>
void soften(Softmax& s) {
    using Vector = typename Isa::Vector;
    using Ints = typename Like<Isa>::Ints;
    constexpr float infinity = __builtin_inff();
    Ints ahead = {};
    for (int l = 0; l < Isa::width; l++) ahead[l] = l;
    const Vector scale = Isa::spread(s.scale), slope = Isa::spread(s.slope);
    Vector top = Isa::spread(s.largest);
    for (int32_t j = 0; j < s.seen; j += Isa::width) {
        Vector score = Isa::load(s.scores + j) * scale;
        if (s.key_scale) score *= Isa::load(s.key_scale + j);
        score += slope * __builtin_convertvector(ahead + (s.first + j), Vector);
        score = ahead < s.seen - j ? score : Isa::spread(-infinity);   // slots that it does not see
        top = score > top ? score : top;
        Isa::store(s.scores + j, score);
    }
    float lanes[Isa::width], largest = -infinity;
    Isa::store(lanes, top);
    for (const float lane : lanes) largest = lane > largest ? lane : largest;
    Vector sum = Isa::spread(0);
    for (int32_t j = 0; j < s.seen; j += Isa::width) {
        Vector weight = exponential<Isa>(Isa::load(s.scores + j) - Isa::spread(largest));
        sum += weight;
        if (s.value_scale) weight *= Isa::load(s.value_scale + j);
        Isa::store(s.scores + j, weight);
    }
    Isa::store(lanes, exponential<Isa>(Isa::spread(s.largest - largest)));
    s.keep = lanes[0];
    s.sum = s.sum * s.keep + Isa::sum(sum);
    s.largest = largest;
}

// Without fused multiply-adds exp has the same bits on every instruction set.
template <class Isa>
struct Unfused : Isa {
    using Vector = typename Isa::Vector;
    static Vector madd(Vector a, Vector b, Vector c) { return a * b + c; }
};

template <class Isa>
void weigh(const float* x, int64_t count, float largest, float temperature, float* fall, float* weight) {
    each_vector<Isa>(count, [=](auto load, auto store) {
        const auto v = (Isa::spread(largest) - load(x)) / Isa::spread(temperature);
        store(fall, v);
        store(weight, exponential<Unfused<Isa>>(-v));
    });
}

}  // namespace
}  // namespace haina
