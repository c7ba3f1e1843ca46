// attention.cpp - keys and values into their slots, and queries against them, softmax on the way.
//
// A unit of work is a key head and some neighbouring queries that read it: those of a few tokens of one row, and of
// all heads that share it. So a page is read from memory once for all of them. A page goes: scores (a small
// multiplication), their bias, a running maximum and sum, and the values blended in. Each query goes through the
// pages of its own row in order and stops at its own position, so neither its neighbours in the unit nor other rows
// can change a bit of its result.
#include <cmath>
#include <cstring>

#include "ops.h"

namespace haina {
namespace {

constexpr int32_t UNIT_QUERIES = 48;   // a multiple of every Isa::tokens

// The part of a page that belongs to one layer and key head.
struct Place {
    char *keys, *values;                // [E, page_tokens] and [page_tokens, E]
    float *key_scale, *value_scale;     // [page_tokens], or null
};

float* offset(float* scales, int64_t slot) { return scales ? scales + slot : nullptr; }

Place place_of(const haina_model& model, const haina_cache& cache, int32_t layer, int32_t page, int32_t k) {
    const int64_t slot = ((int64_t(layer) * cache.pages + page) * model.key_heads + k) * cache.page_tokens;
    const int64_t bytes = slot * model.head_width * int64_t(element_bytes(cache.dtype));
    return {static_cast<char*>(cache.keys) + bytes, static_cast<char*>(cache.values) + bytes,
            offset(cache.key_scale, slot), offset(cache.value_scale, slot)};
}

int32_t page_of(const haina_step& step, const haina_cache& cache, int32_t row, int32_t position) {
    return step.pages[step.page_start[row] + position / cache.page_tokens];
}

// `count` queries of row `row` from its `first` on. Query i is that of the row's fed token i / G and head i % G of the
// G heads that share a key head.
struct Unit { int32_t row, first, count; };

int64_t units_of(const haina_step& step, int32_t G, Unit* units) {
    int64_t n = 0;
    for (int32_t b = 0; b < step.rows; b++) {
        const int32_t queries = (step.row_start[b + 1] - step.row_start[b]) * G;
        for (int32_t i = 0; i < queries; i += UNIT_QUERIES, n++)
            if (units) units[n] = {b, i, queries - i < UNIT_QUERIES ? queries - i : UNIT_QUERIES};
    }
    return n;
}

struct Attention {
    const Kernels& kernels;
    const haina_model& model;
    const haina_cache& cache;
    const haina_step& step;
    int32_t layer;
    const float* q;
    float* y;

    void run(const Unit& unit, int32_t k) const {
        const int32_t E = model.head_width, G = model.heads / model.key_heads, slots = cache.page_tokens;
        const float *in[UNIT_QUERIES];
        float *out[UNIT_QUERIES], scores[UNIT_QUERIES * HAINA_MAX_PAGE_TOKENS], keep[UNIT_QUERIES];
        int32_t at[UNIT_QUERIES], seen[UNIT_QUERIES];
        Softmax softmax[UNIT_QUERIES];

        for (int32_t i = 0; i < unit.count; i++) {
            const int32_t n = step.row_start[unit.row] + (unit.first + i) / G, head = k * G + (unit.first + i) % G;
            const int64_t from = (int64_t(n) * model.heads + head) * E;
            in[i] = q + from, out[i] = y + from, at[i] = step.at[n];
            memset(out[i], 0, size_t(E) * sizeof(float));
            softmax[i].scale = float(1 / std::sqrt(double(E)));
            softmax[i].slope = model.slopes ? model.slopes[head] : 0;
            softmax[i].largest = -INFINITY, softmax[i].sum = 0;
        }
        const int32_t end = at[unit.count - 1] + 1;
        Place place, next = find(unit.row, 0, k);
        for (int32_t j = 0; j < end; j += slots) {
            place = next;
            if (j + slots < end) next = find(unit.row, j + slots, k);
            fetch(next.key_scale), fetch(next.value_scale);
            int32_t first = 0;                                    // of the queries that see this page
            while (at[first] < j) first++;
            const int32_t count = unit.count - first, most = end - j < slots ? end - j : slots;
            kernels.score({cache.dtype, place.keys, next.keys, in + first, count, slots, most, E, scores});
            for (int32_t i = first; i < unit.count; i++) {
                Softmax& s = softmax[i];
                s.scores = scores + (i - first) * slots;
                s.key_scale = place.key_scale, s.value_scale = place.value_scale;
                s.first = j - at[i];
                s.seen = seen[i] = at[i] + 1 - j < slots ? at[i] + 1 - j : slots;
                kernels.soften(s);
                keep[i] = s.keep;
            }
            kernels.blend({cache.dtype, place.values, next.values, scores, keep + first, seen + first, count, slots, E,
                           out + first});
        }
        for (int32_t i = 0; i < unit.count; i++) {
            const float share = 1 / softmax[i].sum;
            for (int32_t e = 0; e < E; e++) out[i][e] *= share;
        }
    }

    // Of keys and values, the kernels fetch the next page.
    void fetch(const float* scales) const {
        for (int32_t s = 0; scales && s < cache.page_tokens; s += 16) __builtin_prefetch(scales + s);
    }

    Place find(int32_t row, int32_t position, int32_t k) const {
        return place_of(model, cache, layer, page_of(step, cache, row, position), k);
    }
};

}  // namespace

void store(const Hands& hands, const haina_model& model, const haina_cache& cache, const haina_step& step,
           int32_t layer, const float* keys, const float* values) {
    const int64_t K = model.key_heads, E = model.head_width, slots = cache.page_tokens;
    hands.share(step.rows * K, 4 * step.row_start[step.rows] * K * E, [&](int64_t i) {
        const int32_t b = int32_t(i / K), k = int32_t(i % K);
        for (int32_t n = step.row_start[b]; n < step.row_start[b + 1]; n++) {
            const Place place = place_of(model, cache, layer, page_of(step, cache, b, step.at[n]), k);
            const int64_t slot = step.at[n] % slots, from = (n * K + k) * E, bytes = slot * element_bytes(cache.dtype);
            float *k_scale = offset(place.key_scale, slot), *v_scale = offset(place.value_scale, slot);
            hands.kernels.keep({cache.dtype, keys + from, E, slots, place.keys + bytes, k_scale});
            hands.kernels.keep({cache.dtype, values + from, E, 1, place.values + bytes * E, v_scale});
        }
    });
}

void attend(const Hands& hands, const haina_model& model, const haina_cache& cache, const haina_step& step,
            int32_t layer, const float* q, float* y) {
    const int32_t K = model.key_heads, G = model.heads / K;
    const int64_t count = units_of(step, G, nullptr);
    const Buffer<Unit> units(count);
    units_of(step, G, units);
    const Attention attention{hands.kernels, model, cache, step, layer, q, y};
    int64_t slots = 0;
    for (int32_t n = 0; n < step.row_start[step.rows]; n++) slots += step.at[n] + 1;
    const int64_t cost = slots * model.heads * (2 * model.head_width + 16);   // an exp is about 16
    hands.share(count * K, cost, [&](int64_t i) { attention.run(units[i / K], int32_t(i % K)); });
}

}  // namespace haina

extern "C" int haina_store(const haina_model* model, const haina_cache* cache, const haina_step* step, int32_t layer,
                           const float* keys, const float* values) {
    using namespace haina;
    if (const int wrong = check(model, cache, step)) return wrong;
    if (layer < 0 || layer >= model->layers || !keys || !values) return HAINA_BAD_ARGUMENT;
    return guarded(step->threads, step->isa,
                   [&](const Hands& hands) { store(hands, *model, *cache, *step, layer, keys, values); });
}

extern "C" int haina_attention(const haina_model* model, const haina_cache* cache, const haina_step* step,
                               int32_t layer, const float* q, float* y) {
    using namespace haina;
    if (const int wrong = check(model, cache, step)) return wrong;
    if (layer < 0 || layer >= model->layers || !q || !y) return HAINA_BAD_ARGUMENT;
    return guarded(step->threads, step->isa,
                   [&](const Hands& hands) { attend(hands, *model, *cache, *step, layer, q, y); });
}
