// text.cpp - what cleaning a corpus does to every character: words, n-grams, MinHash, clusters.
// Integers only, so that every machine gives the same bits; tests/native/test_minhash.py has the definitions.
#include "haina.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

namespace {

constexpr uint64_t ODD = 0x9e3779b97f4a7c15;   // 2^64 over the golden ratio
constexpr int SHINGLE = HAINA_SHINGLE;

// The finaliser of SplitMix64 (Steele, Lea and Flood, doi:10.1145/2660193.2660195).
uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

// Scripts without spaces: a character is a word. From the radicals of CJK on, but for Hangul and full forms.
bool alone(uint32_t c) { return c >= 0x2e80 && !(c >= 0xac00 && c < 0xd800) && !(c >= 0xfb00 && c < 0x10000); }

// The hash of `size` neighbours, moved along by one: a polynomial in ODD, mixed.
class Window {
public:
    Window(const uint64_t* hashes, int32_t size) : hashes_(hashes), size_(size) { fill(0); }

    uint64_t hash() const { return mix(sum_); }
    void step() {
        sum_ = (sum_ - hashes_[at_] * top_) * ODD + hashes_[at_ + size_];
        at_++;
    }
    void fill(int64_t at) {
        at_ = at, sum_ = 0, top_ = 1;
        for (int32_t i = 0; i < size_; i++) sum_ = sum_ * ODD + hashes_[at + i];
        for (int32_t i = 1; i < size_; i++) top_ *= ODD;
    }

private:
    const uint64_t* hashes_;
    int64_t at_;
    int32_t size_;
    uint64_t sum_, top_;
};

// How often each hash was seen; open addressing, at most half full. Half of a hash says where, the other half is kept.
class Counts {
public:
    explicit Counts(int64_t most) {
        size_t slots = 16;
        while (slots < size_t(most) * 2) slots *= 2;
        slots_.resize(slots);
    }

    void clear() { std::fill(slots_.begin(), slots_.end(), Slot{}); }

    // How often it has now been seen.
    uint32_t add(uint64_t hash) {
        const uint32_t tag = uint32_t(hash >> 32);
        const size_t mask = slots_.size() - 1;
        size_t at = hash & mask;
        while (slots_[at].count && slots_[at].tag != tag) at = (at + 1) & mask;
        slots_[at].tag = tag;
        return ++slots_[at].count;
    }

private:
    struct Slot { uint32_t tag, count; };
    std::vector<Slot> slots_;
};

// Characters in all occurrences of the most frequent n-gram; of several such the longest counts.
int64_t in_top_ngram(const uint64_t* hashes, const int64_t* start, int64_t n, int32_t size, Counts& counts) {
    int64_t most = 1, longest = 0;
    Window window(hashes, size);
    for (int64_t i = 0;; i++, window.step()) {
        const int64_t times = counts.add(window.hash()), length = start[i + size] - start[i];
        if (times > most || (times == most && times > 1 && length > longest)) most = times, longest = length;
        if (i + size == n) return most * longest;
    }
}

// Characters in n-grams that occurred before, read from the left; after one such the reading goes on behind it.
int64_t in_repeated_ngrams(const uint64_t* hashes, const int64_t* start, int64_t n, int32_t size, Counts& counts) {
    int64_t chars = 0;
    Window window(hashes, size);
    for (int64_t i = 0;;) {
        const bool again = counts.add(window.hash()) > 1;
        if (again) chars += start[i + size] - start[i];
        i += again ? size : 1;
        if (i + size > n) return chars;
        if (again) window.fill(i); else window.step();
    }
}

typedef uint32_t Lanes __attribute__((vector_size(32)));
constexpr int LANES = 8, BLOCK = 4;            // so many vectors of minima stay in registers
constexpr int STEP = LANES * BLOCK;

// lows[h] = min over x of factor[h]·x + term[h], modulo 2^32; hashes is a multiple of STEP.
__attribute__((always_inline)) inline void minima(const uint32_t* xs, int64_t count, const uint32_t* factors,
                                                  const uint32_t* terms, int hashes, uint32_t* lows) {
    for (int h = 0; h < hashes; h += STEP) {
        Lanes factor[BLOCK], term[BLOCK], low[BLOCK];
        memcpy(factor, factors + h, sizeof factor);
        memcpy(term, terms + h, sizeof term);
        for (Lanes& lane : low) lane = ~(Lanes{});
        for (int64_t i = 0; i < count; i++)
            for (int v = 0; v < BLOCK; v++) {
                const Lanes hash = factor[v] * xs[i] + term[v];
                low[v] = hash < low[v] ? hash : low[v];
            }
        memcpy(lows + h, low, sizeof low);
    }
}

typedef void Minima(const uint32_t*, int64_t, const uint32_t*, const uint32_t*, int, uint32_t*);

void minima_anywhere(const uint32_t* xs, int64_t n, const uint32_t* f, const uint32_t* t, int h, uint32_t* lows) {
    minima(xs, n, f, t, h, lows);
}

#if defined(__x86_64__)
__attribute__((target("avx2")))
void minima_avx2(const uint32_t* xs, int64_t n, const uint32_t* f, const uint32_t* t, int h, uint32_t* lows) {
    minima(xs, n, f, t, h, lows);
}
#endif

Minima* fastest_minima() {
#if defined(__x86_64__)
    if (haina_has_isa(HAINA_AVX2)) return minima_avx2;
#endif
    return minima_anywhere;
}

// Hash functions x → factor·x + term, and room for their minima over one text.
struct Family {
    std::vector<uint32_t> factors, terms, lows;

    explicit Family(int hashes) : factors(size_t((hashes + STEP - 1) / STEP * STEP)), terms(factors), lows(factors) {
        for (size_t h = 0; h < factors.size(); h++) {
            const uint64_t random = mix((h + 1) * ODD);
            factors[h] = uint32_t(random) | 1;
            terms[h] = uint32_t(random >> 32);
        }
    }
};

uint64_t hash_of(const uint32_t* text, int64_t count) {
    uint64_t sum = ODD + uint64_t(count);
    for (int64_t i = 0; i < count; i++) sum = sum * ODD + text[i];
    return mix(sum);
}

// A text shorter than a shingle is its own shingle.
void shingles(const uint32_t* text, int64_t count, std::vector<uint32_t>& found) {
    const int64_t last = std::max<int64_t>(count - SHINGLE, 0);
    found.resize(size_t(last) + 1);
    for (int64_t i = 0; i <= last; i++)
        found[size_t(i)] = uint32_t(hash_of(text + i, std::min<int64_t>(count, SHINGLE)) >> 32);
}

void keys_of(const Family& family, int32_t bands, int32_t rows, uint64_t* keys, int64_t stride) {
    for (int32_t band = 0; band < bands; band++) {
        uint64_t key = uint64_t(band);
        for (int32_t h = band * rows; h < (band + 1) * rows; h++)
            key = key * ODD + family.lows[size_t(h)];
        keys[band * stride] = mix(key);
    }
}

int64_t root(int64_t* parent, int64_t i) {
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

}  // namespace

extern "C" int haina_words(const uint32_t* text, int64_t n, const uint32_t* fold, int64_t folds, uint32_t* folded,
                           int64_t* at, int64_t* start, uint64_t* hash, int64_t* counts) {
    int64_t chars = 0, words = 0;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t c = text[i] < folds ? fold[text[i]] : text[i];
        if (!c) continue;
        const bool joins = chars && at[chars - 1] == i - 1 && !alone(c) && !alone(folded[chars - 1]);
        if (!joins) {
            start[words] = chars;
            hash[words++] = 0;
        }
        hash[words - 1] = mix(hash[words - 1] + c + ODD);
        folded[chars] = c;
        at[chars++] = i;
    }
    start[words] = chars;
    counts[0] = chars;
    counts[1] = words;
    return HAINA_OK;
}

extern "C" int haina_windows(const uint64_t* hashes, int64_t n, int32_t size, uint64_t* out) {
    if (size < 1) return HAINA_BAD_ARGUMENT;
    if (n < size) return HAINA_OK;
    Window window(hashes, size);
    *out = window.hash();
    for (int64_t i = 1; i + size <= n; i++) {
        window.step();
        out[i] = window.hash();
    }
    return HAINA_OK;
}

extern "C" int haina_sift(const uint64_t* hashes, int64_t n, int32_t size, const uint8_t* sieve, int32_t bits,
                          uint64_t* out, int64_t* count) {
    if (size < 1 || bits < 3 || bits > 32) return HAINA_BAD_ARGUMENT;
    *count = 0;
    if (n < size) return HAINA_OK;
    Window window(hashes, size);
    for (int64_t i = 0;; window.step()) {
        const uint64_t hash = window.hash(), one = hash >> (64 - bits), other = hash << bits >> (64 - bits);
        if (sieve[one >> 3] >> (one & 7) & sieve[other >> 3] >> (other & 7) & 1) out[(*count)++] = hash;
        if (++i + size > n) return HAINA_OK;
    }
}

extern "C" int haina_ngrams(const uint64_t* hashes, const int64_t* start, int64_t n, const int32_t* sizes,
                            int32_t tops, int32_t count, int64_t* chars) try {
    Counts counts(n);
    for (int32_t i = 0; i < count; i++) {
        if (sizes[i] < 1) return HAINA_BAD_ARGUMENT;
        chars[i] = 0;
        const bool longer = i > 0 && sizes[i] > sizes[i - 1];
        if (n < sizes[i] || (longer && !chars[i - 1])) continue;   // what repeats has parts that repeat
        counts.clear();
        chars[i] = (i < tops ? in_top_ngram : in_repeated_ngrams)(hashes, start, n, sizes[i], counts);
    }
    return HAINA_OK;
} catch (const std::bad_alloc&) {
    return HAINA_NO_MEMORY;
}

extern "C" int haina_minhash(const uint32_t* text, const int64_t* start, int64_t units, int32_t bands, int32_t rows,
                             uint64_t* keys, int32_t isa) try {
    if (bands < 1 || rows < 1) return HAINA_BAD_ARGUMENT;
    Minima* minima = isa == HAINA_GENERIC ? minima_anywhere : fastest_minima();
    Family family(bands * rows);
    std::vector<uint32_t> found;
    for (int64_t u = 0; u < units; u++) {
        const uint32_t* unit = text + start[u];
        const int64_t count = start[u + 1] - start[u];
        keys[u] = hash_of(unit, count);
        shingles(unit, count, found);
        minima(found.data(), int64_t(found.size()), family.factors.data(), family.terms.data(),
               int(family.factors.size()), family.lows.data());
        keys_of(family, bands, rows, keys + units + u, units);
    }
    return HAINA_OK;
} catch (const std::bad_alloc&) {
    return HAINA_NO_MEMORY;
}

extern "C" int haina_unite(const int64_t* left, const int64_t* right, int64_t pairs, int64_t* parent) {
    for (int64_t i = 0; i < pairs; i++) {
        const int64_t a = root(parent, left[i]), b = root(parent, right[i]);
        parent[std::max(a, b)] = std::min(a, b);
    }
    return HAINA_OK;
}
