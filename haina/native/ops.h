// ops.h - the operations that forward.cpp is written in: kernels shared out over threads.
#pragma once
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <new>

#include "haina.h"
#include "kernels.h"
#include "layout.h"
#include "pool.h"

namespace haina {

// Where the work of one call runs: its kernels, its threads.
struct Hands {
    const Kernels& kernels;
    Pool& pool;
    int threads;

    // Calls work(item) for all items; `cost` is about how many multiply-adds they are together. Waking and
    // waiting for a thread costs some microseconds, so small work is done by the caller alone.
    template <class Work>
    void share(int64_t items, int64_t cost, Work&& work) const {
        constexpr int64_t worth_sharing = 1 << 17;   // about 10 microseconds
        pool.run(cost < worth_sharing ? 1 : threads, items, work);
    }

    // Calls work(first, last) for ranges that cover 0 .. count, where each costs `cost`.
    template <class Work>
    void share_ranges(int64_t count, int64_t cost, Work&& work) const {
        const int64_t grain = (1 << 14) / cost + 1;
        share(ceil_div(count, grain), count * cost,
              [&](int64_t i) { work(i * grain, smaller((i + 1) * grain, count)); });
    }
};

// Uninitialised memory. Throws std::bad_alloc.
template <class T>
class Buffer {
  public:
    explicit Buffer(int64_t count) : data_(new T[size_t(count)]) {}
    operator T*() const { return data_.get(); }

  private:
    std::unique_ptr<T[]> data_;
};

// What an adapter adds to a product for one token: by [rank] · b [rank, w.rows]; rank 0: nothing.
struct Change {
    const float *by, *b;
    int64_t rank;
};

// One matrix of a multiplication: y [tokens, w.rows] = x · wᵀ + bias, or y += that, or silu(x · gateᵀ) · that.
// `change` and `gate_change` [tokens], or null, belong to the products with w and gate.
struct Output {
    const haina_matrix& w;
    const float* bias;
    float* y;
    bool add = false;
    const haina_matrix* gate = nullptr;
    const Change* change = nullptr;
    const Change* gate_change = nullptr;
};

// All outputs from the same x [tokens, cols], in one round of the threads.
void multiply(const Hands& hands, const float* x, int64_t tokens, std::initializer_list<Output> outputs);

// Keys and values of all fed tokens into their slots; see haina_store.
void store(const Hands& hands, const haina_model& model, const haina_cache& cache, const haina_step& step,
           int32_t layer, const float* keys, const float* values);

// Attention of one layer; see haina_attention. q, y [N, H, E].
void attend(const Hands& hands, const haina_model& model, const haina_cache& cache, const haina_step& step,
            int32_t layer, const float* q, float* y);

inline bool packed(int32_t dtype) { return dtype == HAINA_W8 || dtype == HAINA_W4; }

// Row `row` of a packed matrix as floats.
void packed_row(const haina_matrix& w, int64_t row, float* out);

inline size_t element_bytes(int32_t dtype) { return dtype == HAINA_F32 ? 4 : dtype == HAINA_I8 ? 1 : 2; }

// Whether the sizes and pointers of a matrix make sense.
bool valid(const haina_matrix& w, int64_t rows, int64_t cols);

// The same of all of these, and whether every number in the arrays of the step does: a status.
int check(const haina_model* model, const haina_cache* cache, const haina_step* step);

// Whether all numbers lie in 0 .. end-1.
inline bool within(const int32_t* numbers, int64_t count, int64_t end) {
    int64_t wrong = 0;
    for (int64_t i = 0; i < count; i++) wrong += numbers[i] < 0 || numbers[i] >= end;
    return wrong == 0;
}

// Runs body(hands) and turns what can go wrong into a status.
template <class Body>
int guarded(int32_t threads, int32_t isa, Body&& body) {
    const Kernels* kernels = kernels_for(isa);
    if (!kernels || threads < 1 || threads > HAINA_MAX_THREADS) return HAINA_BAD_ARGUMENT;
    try {
        body(Hands{*kernels, pool(), threads});
        return HAINA_OK;
    } catch (const std::bad_alloc&) {
        return HAINA_NO_MEMORY;
    }
}

}  // namespace haina
