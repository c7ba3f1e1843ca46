// pages.h - the loops over one page of keys or values, written once and compiled for each instruction set: queries
// times keys, weights times values, and rounding into a slot.
//
// The keys of a page lie with slots innermost, the values with columns innermost, so both products are the same: a
// tile is QUERIES queries times VECTORS vectors of slots (of columns), in registers, and what is added up is spread
// over the lanes. Nothing is ever summed across lanes, and each sum has one order, whatever the tile.
// No std:: here, see matmul.h.
#pragma once
#include "matmul.h"

namespace haina {
namespace {

template <int VECTORS>
struct Strip {
    static constexpr int vectors = VECTORS;
};

// Calls work(Strip<4>, i), or 2 or 1 where fewer are left, for all whole vectors from i on; returns where they end.
template <class Isa, int VECTORS = 4, class Work>
int64_t each_strip(int64_t i, int64_t count, Work&& work) {
    constexpr int64_t step = VECTORS * Isa::width;
    for (; i + step <= count; i += step) work(Strip<VECTORS>(), i);
    if constexpr (VECTORS > 1) i = each_strip<Isa, VECTORS / 2>(i, count, work);
    return i;
}

template <class Isa>
int64_t whole(int64_t slots) {
    return ceil_div(slots, Isa::width) * Isa::width;
}

// y[q, slots] = x[q, :] · keys[:, slots] for slots `s` to `s` + VECTORS·width and QUERIES queries from q on.
template <class Isa, class Element, int QUERIES, int VECTORS>
void score_tile(const Score& p, int32_t q, int64_t s, const char* ahead) {
    typename Isa::Vector sum[QUERIES][VECTORS] = {};
    const float* x[QUERIES];
    for (int i = 0; i < QUERIES; i++) x[i] = p.x[q + i];
    const Element* k = static_cast<const Element*>(p.page) + s;
    ahead += s * int64_t(sizeof(Element));
    for (int64_t e = 0; e < p.width; e++, k += p.slots, ahead += p.slots * int64_t(sizeof(Element))) {
        __builtin_prefetch(ahead);
        typename Isa::Vector a[QUERIES];
        for (int i = 0; i < QUERIES; i++) a[i] = Isa::spread(x[i][e]);
        for (int v = 0; v < VECTORS; v++) {
            const auto key = Isa::load(k + v * Isa::width);
            for (int i = 0; i < QUERIES; i++) sum[i][v] = Isa::madd(a[i], key, sum[i][v]);
        }
    }
    for (int i = 0; i < QUERIES; i++)
        for (int v = 0; v < VECTORS; v++) Isa::store(p.y + (q + i) * p.slots + s + v * Isa::width, sum[i][v]);
}

// y[q, e] += weights[q, s] · values[s, e] for slots `first` to `last` and VECTORS vectors of columns from e on; before
// slot 0 y is multiplied by keep[q].
template <class Isa, class Element, int QUERIES, int VECTORS, class Load, class Put>
void blend_tile(const Blend& p, int32_t q, int64_t e, int32_t first, int32_t last, const char* ahead, Load load,
                Put put) {
    typename Isa::Vector y[QUERIES][VECTORS];
    const float* weights[QUERIES];
    float* to[QUERIES];
    for (int i = 0; i < QUERIES; i++) {
        weights[i] = p.weights + (q + i) * p.slots;
        to[i] = p.y[q + i] + e;
        const auto keep = Isa::spread(first ? 1 : p.keep[q + i]);
        for (int v = 0; v < VECTORS; v++) y[i][v] = Isa::mul(load(to[i] + v * Isa::width), keep);
    }
    const Element* from = static_cast<const Element*>(p.page) + first * p.width + e;
    ahead += (first * p.width + e) * int64_t(sizeof(Element));
    for (int32_t s = first; s < last; s++, from += p.width, ahead += p.width * int64_t(sizeof(Element))) {
        __builtin_prefetch(ahead);
        typename Isa::Vector a[QUERIES];
        for (int i = 0; i < QUERIES; i++) a[i] = Isa::spread(weights[i][s]);
        for (int v = 0; v < VECTORS; v++) {
            const auto value = load(from + v * Isa::width);
            for (int i = 0; i < QUERIES; i++) y[i][v] = Isa::madd(a[i], value, y[i][v]);
        }
    }
    for (int i = 0; i < QUERIES; i++)
        for (int v = 0; v < VECTORS; v++) put(to[i] + v * Isa::width, y[i][v]);
}

// All columns of a tile.
template <class Isa, class Element, int QUERIES>
void blend_rows(const Blend& p, int32_t q, int32_t first, int32_t last, const void* next) {
    const char* ahead = static_cast<const char*>(next);
    const int64_t e = each_strip<Isa>(0, p.width, [&](auto strip, int64_t from) {
        blend_tile<Isa, Element, QUERIES, strip.vectors>(
            p, q, from, first, last, ahead, [](const auto* row) { return Isa::load(row); },
            [](float* row, typename Isa::Vector v) { Isa::store(row, v); });
    });
    const int64_t rest = p.width - e;
    if (rest > 0)
        blend_tile<Isa, Element, QUERIES, 1>(
            p, q, e, first, last, ahead, [rest](const auto* row) { return load_part<Isa>(row, rest); },
            [rest](float* row, typename Isa::Vector v) { store_part<Isa>(row, v, rest); });
}

// The slots that all queries of a tile see together, then what each sees beyond.
template <class Isa, class Element, int QUERIES>
void tiles(const Blend& p, int32_t q, const void* next) {
    blend_rows<Isa, Element, QUERIES>(p, q, 0, p.seen[q], next);
    for (int32_t i = q + 1; i < q + QUERIES; i++)
        if (p.seen[i] > p.seen[q]) blend_rows<Isa, Element, 1>(p, i, p.seen[q], p.seen[i], next);
}

template <class Isa, class Element, int QUERIES>
void tiles(const Score& p, int32_t q, const void* next) {
    each_strip<Isa>(0, whole<Isa>(p.seen), [&](auto strip, int64_t s) {
        score_tile<Isa, Element, QUERIES, strip.vectors>(p, q, s, static_cast<const char*>(next));
    });
}

// `count` (1 .. QUERIES) queries: the constant that it is, found by counting down.
template <class Isa, class Element, int QUERIES, class Page>
void tiles_of(int32_t count, const Page& p, int32_t q, const void* next) {
    if (count == QUERIES) return tiles<Isa, Element, QUERIES>(p, q, next);
    if constexpr (QUERIES > 1) tiles_of<Isa, Element, QUERIES - 1>(count, p, q, next);
}

// All queries, in equal shares: 4 are 2 + 2. The first share fetches the next page.
template <class Isa, class Element, class Page>
void all_queries(const Page& p) {
    const int32_t shares = int32_t(ceil_div(p.queries, Isa::tokens));
    for (int32_t share = 0; share < shares; share++) {
        const int32_t first = p.queries * share / shares, last = p.queries * (share + 1) / shares;
        tiles_of<Isa, Element, Isa::tokens>(last - first, p, first, share ? p.page : p.next);
    }
}

template <class Isa, class Page>
void on_page(const Page& p) {
    switch (p.dtype) {
        case HAINA_F32: return all_queries<Isa, float>(p);
        case HAINA_F16: return all_queries<Isa, Half>(p);
        case HAINA_BF16: return all_queries<Isa, Bfloat>(p);
        default: return all_queries<Isa, int8_t>(p);
    }
}

template <class Isa>
void score(const Score& p) { on_page<Isa>(p); }

template <class Isa>
void blend(const Blend& p) { on_page<Isa>(p); }

// Nearest half, ties to even. Adding 2^(e+13) to a float of exponent e would round its fraction to ten bits; adding
// half a step less one, and one more where the last kept bit is set, does the same to its bits. For subnormal halves
// the step is 2^-24, that of floats from 0.5 on.
inline void round_to(float value, Half& to) {
    uint32_t bits, small;
    __builtin_memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000, body = bits & 0x7fffffff;
    const float shifted = __builtin_fabsf(value) + 0.5f;
    __builtin_memcpy(&small, &shifted, sizeof small);
    uint32_t half = (body - 0x38000000 + 0xfff + (body >> 13 & 1)) >> 13;
    half = body < 0x38800000 ? small - 0x3f000000 : half;     // below 2^-14
    half = body >= 0x477ff000 ? 0x7c00 : half;                // rounds to 65536 or more: infinity
    half = body > 0x7f800000 ? 0x7e00 : half;                 // NaN stays NaN
    to.bits = uint16_t(sign | half);
}

inline void round_to(float value, Bfloat& to) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
    to.bits = uint16_t((value != value ? bits | 0x400000 : rounded) >> 16);
}

inline void round_to(float value, float& to) { to = value; }

// |value| <= 127. Adding 1.5·2^23 leaves the nearest whole number in the lowest bits, ties to even.
inline void round_to(float value, int8_t& to) {
    const float shifted = value + 0x1.8p23f;
    int32_t bits;
    __builtin_memcpy(&bits, &shifted, sizeof bits);
    to = int8_t(bits);
}

// The largest |x|, NaN if there is one: as whole numbers, the bits of floats above zero are in the same order.
inline float largest(const float* x, int64_t width) {
    int32_t most = 0;
    for (int64_t i = 0; i < width; i++) {
        int32_t bits;
        __builtin_memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float value;
    __builtin_memcpy(&value, &most, sizeof value);
    return value;
}

// x·factor rounded into to[i·stride], by way of an array that the compiler can fill with vectors.
template <class Element>
void keep_as(const Keep& p, float factor, float most) {
    constexpr int64_t part = 64;
    Element* to = static_cast<Element*>(p.to);
    for (int64_t from = 0; from < p.width; from += part) {
        const int64_t count = smaller(part, p.width - from);
        Element rounded[part];
        for (int64_t i = 0; i < count; i++) {
            float value = p.x[from + i] * factor;
            value = value > most ? most : value;
            round_to(value < -most ? -most : value, rounded[i]);
        }
        for (int64_t i = 0; i < count; i++) to[(from + i) * p.stride] = rounded[i];
    }
}

inline void keep(const Keep& p) {
    constexpr float infinity = __builtin_inff();
    switch (p.dtype) {
        case HAINA_F32: return keep_as<float>(p, 1, infinity);
        case HAINA_F16: return keep_as<Half>(p, 1, infinity);
        case HAINA_BF16: return keep_as<Bfloat>(p, 1, infinity);
    }
    const float most = largest(p.x, p.width);
    *p.scale = most < infinity ? most / 127 : __builtin_nanf("");
    keep_as<int8_t>(p, *p.scale >= 0x1p-126f ? 1 / *p.scale : 0, 127);   // less is not worth a subnormal scale
}

}  // namespace
}  // namespace haina
