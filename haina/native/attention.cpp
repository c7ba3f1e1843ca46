// attention.cpp - queries against cache pages, softmax on the way.
//
// A unit of work is one query head and a few neighbouring tokens of one row, so that a page is read from memory
// once for all of them. A page goes: scores (a small multiplication), their bias, a running maximum and sum, and
// the values blended in. Each token goes through the pages of its own row in order and stops at its own
// position, so neither its neighbours in the unit nor other rows can change a bit of its result.
#include <cmath>

#include "ops.h"

namespace haina {
namespace {

constexpr int UNIT_TOKENS = 12;   // a multiple of every Isa::tokens

// `count` tokens from fed token `first` on, all of row `row`.
struct Unit { int32_t row, first, count; };

int64_t units_of(const haina_step& step, Unit* units) {
    int64_t n = 0;
    for (int32_t b = 0; b < step.rows; b++)
        for (int32_t t = step.row_start[b]; t < step.row_start[b + 1]; t += UNIT_TOKENS, n++)
            if (units) {
                const int32_t rest = step.row_start[b + 1] - t;
                units[n] = {b, t, rest < UNIT_TOKENS ? rest : UNIT_TOKENS};
            }
    return n;
}

// Softmax over slots that arrive page by page: the largest score so far and the sum of exp(score - largest).
struct Softmax {
    float largest = -INFINITY, sum = 0;

    // Turns scores into weights relative to the new maximum; returns what earlier weights must be multiplied by.
    float take(float* scores, int32_t count) {
        float top = largest;
        for (int32_t j = 0; j < count; j++)
            if (scores[j] > top) top = scores[j];
        const float keep = std::exp(largest - top);
        float total = 0;
        for (int32_t j = 0; j < count; j++) total += scores[j] = std::exp(scores[j] - top);
        largest = top;
        sum = sum * keep + total;
        return keep;
    }
};

struct Attention {
    const Kernels& kernels;
    const haina_model& model;
    const haina_cache& cache;
    const haina_step& step;
    int32_t layer;
    const float* q;
    float* y;

    void run(const Unit& unit, int32_t head) const {
        const int32_t E = model.head_width, page_tokens = cache.page_tokens;
        const int64_t stride = int64_t(model.heads) * E, start = unit.first * stride + int64_t(head) * E;
        const float scale = float(1.0 / std::sqrt(double(E))), slope = model.slopes ? model.slopes[head] : 0;
        const int32_t* at = step.at + unit.first;
        const int32_t end = at[unit.count - 1] + 1;
        Softmax softmax[UNIT_TOKENS];
        float scores[UNIT_TOKENS][HAINA_MAX_PAGE_TOKENS];

        for (int32_t t = 0; t < unit.count; t++)
            for (int32_t e = 0; e < E; e++) y[start + t * stride + e] = 0;
        for (int32_t j = 0; j < end; j += page_tokens) {
            const int32_t slots = end - j < page_tokens ? end - j : page_tokens;
            const char *keys, *values;
            find(unit.row, j, head, &keys, &values);
            kernels.multiply({cache.dtype, keys, E, nullptr, nullptr, q + start, stride, scores[0],
                              HAINA_MAX_PAGE_TOKENS, slots, E, unit.count, false});
            for (int32_t t = 0; t < unit.count; t++) {
                const int32_t seen = at[t] + 1 - j < slots ? at[t] + 1 - j : slots;
                if (seen <= 0) continue;
                for (int32_t s = 0; s < seen; s++)
                    scores[t][s] = scores[t][s] * scale + slope * float(j + s - at[t]);
                const float keep = softmax[t].take(scores[t], seen);
                kernels.blend({cache.dtype, values, scores[t], seen, E, keep, y + start + t * stride});
            }
        }
        for (int32_t t = 0; t < unit.count; t++)
            for (int32_t e = 0; e < E; e++) y[start + t * stride + e] /= softmax[t].sum;
    }

    // The keys and values of the page that holds position j, for the key head of this query head.
    void find(int32_t row, int32_t j, int32_t head, const char** keys, const char** values) const {
        const int32_t k = head / (model.heads / model.key_heads);
        const int64_t slot = slot_offset(model, cache, layer, page_of(step, cache, row, j), k, 0);
        const int64_t bytes = slot * int64_t(element_bytes(cache.dtype));
        *keys = static_cast<const char*>(cache.keys) + bytes;
        *values = static_cast<const char*>(cache.values) + bytes;
    }
};

}  // namespace

void attend(const Hands& hands, const haina_model& model, const haina_cache& cache, const haina_step& step,
            int32_t layer, const float* q, float* y) {
    const int64_t count = units_of(step, nullptr);
    const Buffer<Unit> units(count);
    units_of(step, units);
    const Attention attention{hands.kernels, model, cache, step, layer, q, y};
    int64_t slots = 0;
    for (int32_t n = 0; n < step.row_start[step.rows]; n++) slots += step.at[n] + 1;
    const int64_t H = model.heads, cost = slots * H * (2 * model.head_width + 16);   // an exp is about 16
    hands.share(count * H, cost, [&](int64_t i) { attention.run(units[i / H], int32_t(i % H)); });
}

}  // namespace haina

extern "C" int haina_attention(const haina_model* model, const haina_cache* cache, const haina_step* step,
                               int32_t layer, const float* q, float* y) {
    using namespace haina;
    if (!valid(model) || !valid(cache) || !valid(step) || !q || !y) return HAINA_BAD_ARGUMENT;
    if (layer < 0 || layer >= model->layers) return HAINA_BAD_ARGUMENT;
    return guarded(step->threads, step->isa,
                   [&](const Hands& hands) { attend(hands, *model, *cache, *step, layer, q, y); });
}
