// sample.cpp - from logits to the next id of one answer. What the settings mean: engine/sampling.py.
//
// From the same logits every instruction set draws the same id: exp has the same bits on all of them (rows.h), and what
// is done with it is done here, compiled once for any machine.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "haina.h"
#include "kernels.h"

namespace haina {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr size_t BLOCK = 256;   // weights summed at once

// NaN is passed over.
float largest_of(const float* x, size_t count) {
    float lanes[8];
    std::fill(lanes, lanes + 8, -infinity);
    const size_t whole = count - count % 8;
    for (size_t i = 0; i < whole; i += 8)
        for (size_t l = 0; l < 8; l++) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
    for (size_t i = whole; i < count; i++) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    return *std::max_element(lanes, lanes + 8);
}

// A status, and the largest.
int look(const float* x, size_t count, float& largest) {
    bool numbers = true;
    for (size_t i = 0; i < count; i++) numbers &= x[i] < infinity;   // NaN is not
    largest = largest_of(x, count);
    return !numbers ? HAINA_NOT_A_NUMBER : largest == -infinity ? HAINA_NO_CHOICE : HAINA_OK;
}

// In double: four sums, of every fourth each; the first takes the rest.
double sum(const float* weight, size_t count) {
    double lanes[4] = {};
    const size_t whole = count - count % 4;
    for (size_t i = 0; i < whole; i += 4)
        for (size_t l = 0; l < 4; l++) lanes[l] += double(weight[i + l]);
    for (size_t i = whole; i < count; i++) lanes[0] += double(weight[i]);
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

double total(const float* weight, size_t count) {
    double all = 0;
    for (size_t i = 0; i < count; i += BLOCK) all += sum(weight + i, std::min(BLOCK, count - i));
    return all;
}

// The place at the share `uniform` of all weight, from the left: first the block of it, then in the block. The last
// with any weight, should rounding lead beyond it.
size_t under(const float* weight, size_t count, double uniform) {
    double share = uniform * total(weight, count);
    size_t i = 0;
    for (; i + BLOCK < count; i += BLOCK) {
        const double block = sum(weight + i, BLOCK);
        if (share < block) break;
        share -= block;
    }
    for (; i < count; i++) {
        if (share < double(weight[i])) return i;
        share -= double(weight[i]);
    }
    while (weight[--i] == 0) {}
    return i;
}

// The count-th largest, 0 < count <= n. A heap has the largest so far; few blocks have a larger one than its smallest.
float kth_largest(const float* x, size_t n, size_t count) {
    constexpr size_t block = 64;
    std::vector<float> heap(x, x + count);
    std::make_heap(heap.begin(), heap.end(), std::greater<>());
    for (size_t first = count; first < n; first += block) {
        const size_t last = std::min(first + block, n);
        if (!(largest_of(x + first, last - first) > heap.front())) continue;
        for (size_t i = first; i < last; i++) {
            if (!(x[i] > heap.front())) continue;
            std::pop_heap(heap.begin(), heap.end(), std::greater<>());
            heap.back() = x[i];
            std::push_heap(heap.begin(), heap.end(), std::greater<>());
        }
    }
    return heap.front();
}

// Candidates are ranked by a key, smallest first, and of equal keys the first. Floats from 0 on are in the order of
// their bits.
uint64_t rank(float key, size_t place) {
    uint32_t bits;
    memcpy(&bits, &key, sizeof bits);
    return uint64_t(bits) << 32 | place;
}

// The last of the fewest, of lowest rank, that together weigh `missing`. Each round halves where it may be, so that
// all of them together cost no more than two.
uint64_t last_of_fewest(std::vector<uint64_t>& ranks, const std::vector<float>& weight, double missing) {
    auto first = ranks.begin(), last = ranks.end();
    while (last - first > 1) {
        const auto middle = first + (last - first) / 2;
        std::nth_element(first, middle, last);
        double half = 0;
        for (auto one = first; one != middle; one++) half += double(weight[uint32_t(*one)]);
        if (half < missing) {
            missing -= half;
            first = middle;
        } else {
            last = middle;
        }
    }
    return *first;
}

// What may still be drawn, in the order of ids: where it is in the row, how far below the largest, and its weight.
struct Candidates {
    std::vector<int32_t> at;
    std::vector<float> fall, weight;

    size_t count() const { return at.size(); }

    template <class Stays>
    void keep(Stays&& stays) {
        size_t kept = 0;
        for (size_t i = 0; i < at.size(); i++)
            if (stays(i)) {
                at[kept] = at[i];
                fall[kept] = fall[i];
                weight[kept++] = weight[i];
            }
        at.resize(kept);
        fall.resize(kept);
        weight.resize(kept);
    }

    // The fewest, smallest keys first, that together weigh `missing`.
    template <class Key>
    void keep_fewest(double missing, Key&& key) {
        std::vector<uint64_t> ranks(at.size());
        for (size_t i = 0; i < at.size(); i++) ranks[i] = rank(key(i), i);
        const uint64_t last = last_of_fewest(ranks, weight, missing);
        keep([&](size_t i) { return rank(key(i), i) <= last; });
    }

    // Top-p. Of n candidates those that are lighter than an n-th of what may go may go together: few are ranked.
    void cut_tail(double share) {
        const double all = total(weight.data(), count());
        const float light = float((1 - share) * all / double(count()));
        keep([this, light](size_t i) { return weight[i] >= light; });
        keep_fewest(share * all, [this](size_t i) { return fall[i]; });
    }

    // Typical-p. Surprise is the fall and the log of the total, which is in the expected one, too.
    void cut_untypical(double share) {
        keep([this](size_t i) { return weight[i] > 0; });
        double expected = 0;
        for (size_t i = 0; i < at.size(); i++) expected += double(weight[i]) * double(fall[i]);
        const double all = total(weight.data(), count());
        const float mean = float(expected / all);
        keep_fewest(share * all, [this, mean](size_t i) { return std::abs(fall[i] - mean); });
    }
};

Candidates candidates(const Kernels& kernels, const std::vector<float>& scores, float largest, const haina_rule& rule) {
    const size_t n = scores.size();
    float least = std::numeric_limits<float>::lowest();
    const size_t most = rule.top_k > 0 ? size_t(rule.top_k) : n;
    if (most < n) least = std::max(least, kth_largest(scores.data(), n, most));
    size_t count = 0;
    for (const float score : scores) count += score >= least;
    Candidates found{std::vector<int32_t>(count), std::vector<float>(count), std::vector<float>(count)};
    for (size_t i = 0, kept = 0; kept < count; i++)
        if (scores[i] >= least) {
            found.at[kept] = int32_t(i);
            found.fall[kept++] = scores[i];
        }
    const float temperature = float(std::max(rule.temperature, 1e-30));
    kernels.weigh(found.fall.data(), int64_t(count), largest, temperature, found.fall.data(), found.weight.data());
    return found;
}

int32_t draw(const Kernels& kernels, const std::vector<float>& scores, float largest, const haina_rule& rule,
             double uniform) {
    Candidates left = candidates(kernels, scores, largest, rule);
    if (rule.top_p < 1) left.cut_tail(rule.top_p);
    if (rule.min_p > 0) left.keep([&](size_t i) { return left.weight[i] >= rule.min_p; });
    if (rule.typical_p < 1) left.cut_untypical(rule.typical_p);
    return left.at[under(left.weight.data(), left.count(), uniform)];
}

// The logits of one row, and of which ids they are: all, or those in `ids`, which rise.
struct Row {
    const float* logits;
    const int32_t* ids;
    size_t n;

    int32_t id(size_t at) const { return ids ? ids[at] : int32_t(at); }

    // Calls change(place in the row, index into known) for those of the `known` ids, which rise, that the row has.
    // Whether all ids are such.
    template <class Change>
    bool each(const int32_t* known, int32_t count, Change&& change) const {
        const int32_t* from = ids;
        for (int32_t i = 0; i < count; i++) {
            if (known[i] < 0 || (!ids && size_t(known[i]) >= n)) return false;
            if (!ids) {
                change(size_t(known[i]), i);
                continue;
            }
            from = std::lower_bound(from, ids + n, known[i]);
            if (from == ids + n) break;
            if (*from == known[i]) change(size_t(from - ids), i);
        }
        return true;
    }

    // Bias, then the penalties of what was seen, then those of what would repeat.
    bool adjust(float* x, const haina_rule& rule, const haina_history& past) const {
        return each(rule.biased, rule.biases, [&](size_t at, int32_t i) { x[at] += rule.bias[i]; }) &&
               each(past.seen, past.seens, [&](size_t at, int32_t i) {
                   const double said = past.times[i], once = said > 0 ? rule.presence : 0;
                   const float score = x[at] > 0 ? x[at] / rule.repetition : x[at] * rule.repetition;
                   x[at] = float(double(score) - (rule.frequency * said + once));
               }) &&
               each(past.repeating, past.repeats, [&](size_t at, int32_t i) { x[at] -= past.nats[i]; });
    }

    // The likeliest ids, likeliest first and of equal ones the lowest; none that is impossible.
    void likeliest(size_t count, double log_sum, haina_chosen& out) const {
        out.tops = 0;
        count = std::min(count, n);
        if (count == 0) return;
        const float least = std::max(kth_largest(logits, n, count), std::numeric_limits<float>::lowest());
        std::vector<size_t> found;
        for (size_t i = 0; i < n; i++)
            if (logits[i] >= least) found.push_back(i);
        std::stable_sort(found.begin(), found.end(), [this](size_t a, size_t b) { return logits[a] > logits[b]; });
        found.resize(std::min(count, found.size()));
        for (const size_t at : found) {
            out.top_ids[out.tops] = id(at);
            out.top_nats[out.tops++] = double(logits[at]) - log_sum;
        }
    }
};

double log_sum_exp(const Kernels& kernels, const float* x, size_t n, float largest) {
    std::vector<float> fall(n), weight(n);
    kernels.weigh(x, n, largest, 1, fall.data(), weight.data());
    return double(largest) + std::log(total(weight.data(), n));
}

int choose(const Kernels& kernels, const haina_rule& rule, const haina_history& past, const Row& row, double uniform,
           haina_chosen& out) {
    float largest;
    if (const int status = look(row.logits, row.n, largest)) return status;
    const double log_sum = log_sum_exp(kernels, row.logits, row.n, largest);
    std::vector<float> scores(row.logits, row.logits + row.n);
    if (!row.adjust(scores.data(), rule, past)) return HAINA_BAD_IDS;
    if (const int status = look(scores.data(), row.n, largest)) return status;
    const size_t at = rule.temperature == 0 ? size_t(std::find(scores.begin(), scores.end(), largest) - scores.begin())
                                            : size_t(draw(kernels, scores, largest, rule, uniform));
    out.id = row.id(at);
    out.nats = double(row.logits[at]) - log_sum;
    row.likeliest(size_t(rule.top), log_sum, out);
    return HAINA_OK;
}

}  // namespace
}  // namespace haina

extern "C" int haina_log_sum_exp(const float* x, int64_t n, double* out, int32_t isa) {
    const haina::Kernels* kernels = haina::kernels_for(isa);
    if (!kernels || !x || !out || n < 1) return HAINA_BAD_ARGUMENT;
    try {
        *out = haina::log_sum_exp(*kernels, x, size_t(n), haina::largest_of(x, size_t(n)));
        return HAINA_OK;
    } catch (const std::bad_alloc&) {
        return HAINA_NO_MEMORY;
    }
}

extern "C" int haina_choose(const haina_rule* rule, const haina_history* past, const float* logits, const int32_t* ids,
                            int64_t n, double uniform, haina_chosen* out, int32_t isa) {
    const haina::Kernels* kernels = haina::kernels_for(isa);
    if (!kernels || !rule || !past || !logits || !out || n < 0 || n > INT32_MAX) return HAINA_BAD_ARGUMENT;
    if (rule->top < 0 || rule->top > HAINA_MAX_TOP) return HAINA_BAD_ARGUMENT;
    try {
        return haina::choose(*kernels, *rule, *past, {logits, ids, size_t(n)}, uniform, *out);
    } catch (const std::bad_alloc&) {
        return HAINA_NO_MEMORY;
    }
}
