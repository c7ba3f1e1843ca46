// forward.cpp - the whole network in one call over a ragged batch. Read Forward::run() first.
//
// model/decoder.py is the same network to be read by humans; a test compares the two on every switch. There is
// no branch on a model family here: null pointers and zero sizes decide.
#include <algorithm>
#include <cstring>

#include "ops.h"

namespace haina {
namespace {

// The matrices of a layer, as haina_step.adapters counts them.
enum Which { WQ, WK, WV, WO, GATE, UP, DOWN };

class Forward {
  public:
    Forward(const Hands& hands, const haina_model& model, const haina_cache& cache, const haina_step& step)
        : hands_(hands), model_(model), cache_(cache), step_(step), D(model.width),
          HE(int64_t(model.heads) * model.head_width), KE(int64_t(model.key_heads) * model.head_width),
          F(model.ffn), N(step.tokens), x_ND(N * D), norm_ND(N * D), q_NHE(N * HE), k_NKE(N * KE),
          v_NKE(N * KE), y_NHE(N * HE), gate_NF(N * F), cos_NR(N * model.rotary / 2),
          sin_NR(N * model.rotary / 2), change_WN(step.row_adapter ? HAINA_LAYER_MATRICES * N : 0),
          by_WN(step.row_adapter ? HAINA_LAYER_MATRICES * N * HAINA_MAX_RANK : 0) {}

    void run() {
        embed();
        haina_angles(step_.at, N, model_.rotary, model_.theta, cos_NR, sin_NR);
        for (int32_t i = 0; i < model_.layers; i++) {
            attention(model_.layer[i], i);
            feed_forward(model_.layer[i], i);
        }
        show(&haina_inside::state, x_ND, N * D);
        const Buffer<float> wanted_MD(step_.wanted * D);
        last_norm(step_.want, step_.wanted, wanted_MD);
        multiply(hands_, wanted_MD, step_.wanted, {{model_.head, nullptr, step_.logits}});
        last_norm(step_.want_hidden, step_.wanted_hidden, step_.hidden);
    }

  private:
    // A row of the embedding is a blend of one row with weight 1.
    void embed() {
        const haina_matrix& w = model_.embedding;
        hands_.share_ranges(N, D, [&](int64_t first, int64_t last) {
            for (int64_t n = first; n < last; n++) {
                const int64_t id = step_.ids[n];
                if (packed(w.dtype)) {
                    packed_row(w, id, x_ND + n * D);
                    continue;
                }
                const char* row = static_cast<const char*>(w.data) + id * D * int64_t(element_bytes(w.dtype));
                const float one = 1;
                const int32_t seen = 1;
                float* const x = x_ND + n * D;
                memset(x, 0, size_t(D) * sizeof(float));
                hands_.kernels.blend({w.dtype, row, row, &one, &one, &seen, 1, 1, D, &x});
            }
        });
    }

    void attention(const haina_layer& layer, int32_t i) {
        norm(layer.attention_norm);
        show(&haina_inside::attention, norm_ND, N * D);
        multiply(hands_, norm_ND, N,
                 {{layer.wq, layer.bq, q_NHE, false, nullptr, changes(i, WQ, norm_ND, D)},
                  {layer.wk, layer.bk, k_NKE, false, nullptr, changes(i, WK, norm_ND, D)},
                  {layer.wv, layer.bv, v_NKE, false, nullptr, changes(i, WV, norm_ND, D)}});
        hands_.share_ranges(N, 4 * (HE + KE), [&](int64_t first, int64_t last) {
            place(q_NHE, model_.heads, layer.q_norm, first, last);
            place(k_NKE, model_.key_heads, layer.k_norm, first, last);
        });
        store(hands_, model_, cache_, step_, i, k_NKE, v_NKE);   // before any query of this layer looks at them
        attend(hands_, model_, cache_, step_, i, q_NHE, y_NHE);
        show(&haina_inside::wo, y_NHE, N * HE);
        multiply(hands_, y_NHE, N, {{layer.wo, nullptr, x_ND, true, nullptr, changes(i, WO, y_NHE, HE)}});
    }

    void feed_forward(const haina_layer& layer, int32_t i) {
        norm(layer.ffn_norm);
        show(&haina_inside::ffn, norm_ND, N * D);
        multiply(hands_, norm_ND, N,
                 {{layer.up, nullptr, gate_NF, false, &layer.gate, changes(i, UP, norm_ND, D),
                   changes(i, GATE, norm_ND, D)}});
        show(&haina_inside::down, gate_NF, N * F);
        multiply(hands_, gate_NF, N, {{layer.down, nullptr, x_ND, true, nullptr, changes(i, DOWN, gate_NF, F)}});
    }

    // What the adapters of all rows add to the product of x [N, cols] with a matrix; null if no row has one. Here only
    // x·aᵀ is computed, for neighbours with the same adapter together; the product adds the rest to its sums.
    const Change* changes(int32_t layer, Which which, const float* x, int64_t cols) {
        if (!step_.row_adapter) return nullptr;
        Change* const change = change_WN + which * N;
        for (int32_t b = 0, end; b < step_.rows; b = end) {
            const int32_t adapter = step_.row_adapter[b];
            for (end = b + 1; end < step_.rows && step_.row_adapter[end] == adapter;) end++;
            const int64_t first = step_.row_start[b], last = step_.row_start[end];
            float* const by = by_WN + (which * N + first) * HAINA_MAX_RANK;
            const haina_low_rank none{}, &low = adapter < 0 ? none : matrix_of(adapter, layer, which);
            const haina_matrix a{low.a, low.rank, cols, HAINA_F32, 0};
            if (low.rank) multiply(hands_, x + first * cols, last - first, {{a, nullptr, by}});
            for (int64_t n = first; n < last; n++) change[n] = {by + (n - first) * low.rank, low.b, low.rank};
        }
        return change;
    }

    const haina_low_rank& matrix_of(int32_t adapter, int32_t layer, Which which) const {
        return step_.adapters[adapter][layer * HAINA_LAYER_MATRICES + which];
    }

    // Every layer writes there; what stays is the last one's.
    void show(float* haina_inside::*where, const float* from, int64_t count) {
        if (step_.inside) memcpy(step_.inside->*where, from, size_t(count) * sizeof(float));
    }

    void norm(const float* weight) {
        hands_.share_ranges(N, D, [&](int64_t first, int64_t last) {
            hands_.kernels.rms_norm(x_ND + first * D, weight, model_.eps, last - first, D, norm_ND + first * D);
        });
    }

    // Heads of queries or keys get their norm, then their position.
    void place(float* x, int32_t heads, const float* weight, int64_t first, int64_t last) {
        const int64_t width = int64_t(heads) * model_.head_width, half = model_.rotary / 2;
        float* from = x + first * width;
        if (weight) hands_.kernels.rms_norm(from, weight, model_.eps, (last - first) * heads, model_.head_width, from);
        haina_rotate(from, cos_NR + first * half, sin_NR + first * half, last - first, heads, model_.head_width,
                     model_.rotary);
    }

    void last_norm(const int32_t* which, int64_t count, float* y) {
        for (int64_t m = 0; m < count; m++)
            hands_.kernels.rms_norm(x_ND + which[m] * D, model_.norm, model_.eps, 1, D, y + m * D);
    }

    const Hands& hands_;
    const haina_model& model_;
    const haina_cache& cache_;
    const haina_step& step_;
    const int64_t D, HE, KE, F, N;
    const Buffer<float> x_ND, norm_ND, q_NHE, k_NKE, v_NKE, y_NHE, gate_NF, cos_NR, sin_NR;
    const Buffer<Change> change_WN;   // of each matrix and token
    const Buffer<float> by_WN;        // room for HAINA_MAX_RANK numbers of each
};

// Whether the sizes and pointers of each struct make sense.
bool sound(const haina_layer& layer, const haina_model& m) {
    const int64_t D = m.width, HE = int64_t(m.heads) * m.head_width, KE = int64_t(m.key_heads) * m.head_width;
    return layer.attention_norm && layer.ffn_norm && valid(layer.wq, HE, D) && valid(layer.wk, KE, D) &&
           valid(layer.wv, KE, D) && valid(layer.wo, D, HE) && valid(layer.gate, m.ffn, D) &&
           valid(layer.up, m.ffn, D) && valid(layer.down, D, m.ffn);
}

bool sound(const haina_model* m) {
    if (!m || !m->norm || !m->layer || m->layers < 1 || m->heads < 1 || m->key_heads < 1) return false;
    if (m->heads % m->key_heads || m->head_width < 1 || m->rotary < 0) return false;
    if (m->rotary % 2 || m->rotary > m->head_width) return false;
    for (int32_t i = 0; i < m->layers; i++)
        if (!sound(m->layer[i], *m)) return false;
    return valid(m->embedding, m->vocab, m->width) && valid(m->head, m->vocab, m->width);
}

bool sound(const haina_cache* c) {
    return c && c->keys && c->values && c->pages > 0 && c->page_tokens > 0 &&
           c->page_tokens <= HAINA_MAX_PAGE_TOKENS && c->page_tokens % HAINA_PAGE_STEP == 0 && c->dtype >= HAINA_F32 &&
           c->dtype <= HAINA_I8 && (c->dtype != HAINA_I8 || (c->key_scale && c->value_scale));
}

bool sound(const haina_inside& i) { return i.attention && i.wo && i.ffn && i.down && i.state; }

bool sound(const haina_step* s) {
    return s && s->ids && s->at && s->row_start && s->pages && s->page_start && s->wanted >= 0 &&
           s->wanted_hidden >= 0 && (!s->wanted || (s->want && s->logits)) &&
           (!s->wanted_hidden || (s->want_hidden && s->hidden)) && (!s->inside || sound(*s->inside)) &&
           (!s->row_adapter || (s->adapters && s->adapter_count >= 0));
}

// The same of what adapters add to each matrix.
bool sound_adapters(const haina_step& s, int32_t layers) {
    for (int32_t a = 0; s.row_adapter && a < s.adapter_count; a++)
        for (int32_t i = 0; i < layers * HAINA_LAYER_MATRICES; i++) {
            const haina_low_rank& low = s.adapters[a][i];
            if (low.rank < 0 || low.rank > HAINA_MAX_RANK || (low.rank && (!low.a || !low.b))) return false;
        }
    return true;
}

// Whether `start` [rows + 1] goes from 0 to `end` without falling.
bool rises(const int32_t* start, int32_t rows, int32_t end) {
    bool good = rows > 0 && start[0] == 0 && start[rows] == end;
    for (int32_t b = 0; good && b < rows; b++) good = start[b] <= start[b + 1];
    return good;
}

// Positions rise within a row, its pages reach that far, and each token has a slot of its own.
int check_slots(const haina_cache& cache, const haina_step& step) {
    const std::unique_ptr<int64_t[]> slots(new (std::nothrow) int64_t[size_t(step.tokens)]);
    if (!slots) return HAINA_NO_MEMORY;
    for (int32_t b = 0; b < step.rows; b++) {
        const int32_t first = step.row_start[b], own = step.page_start[b], pages = step.page_start[b + 1] - own;
        for (int32_t n = first; n < step.row_start[b + 1]; n++) {
            const int32_t page = step.at[n] / cache.page_tokens, slot = step.at[n] % cache.page_tokens;
            if (n > first && step.at[n] <= step.at[n - 1]) return HAINA_AT_FALLS;
            if (page >= pages) return HAINA_TOO_FEW_PAGES;
            slots[n] = int64_t(step.pages[own + page]) * cache.page_tokens + slot;
        }
    }
    int64_t* const end = slots.get() + step.tokens;
    std::sort(slots.get(), end);
    return std::adjacent_find(slots.get(), end) == end ? HAINA_OK : HAINA_SAME_SLOT;
}

}  // namespace

int check(const haina_model* model, const haina_cache* cache, const haina_step* step) {
    if (!sound(model) || !sound(cache) || !sound(step) || !sound_adapters(*step, model->layers))
        return HAINA_BAD_ARGUMENT;
    const haina_step& s = *step;
    if (!rises(s.row_start, s.rows, s.tokens)) return HAINA_BAD_ROW_START;
    if (!rises(s.page_start, s.rows, s.owned)) return HAINA_BAD_PAGE_START;
    if (!within(s.ids, s.tokens, model->vocab)) return HAINA_BAD_IDS;
    if (!within(s.at, s.tokens, int64_t(HAINA_MAX_POSITION) + 1)) return HAINA_BAD_AT;
    if (!within(s.pages, s.owned, cache->pages)) return HAINA_BAD_PAGES;
    if (!within(s.want, s.wanted, s.tokens)) return HAINA_BAD_WANT;
    if (!within(s.want_hidden, s.wanted_hidden, s.tokens)) return HAINA_BAD_WANT_HIDDEN;
    for (int32_t b = 0; s.row_adapter && b < s.rows; b++)
        if (s.row_adapter[b] < -1 || s.row_adapter[b] >= s.adapter_count) return HAINA_BAD_ADAPTER;
    return check_slots(*cache, s);
}

}  // namespace haina

extern "C" int haina_forward(const haina_model* model, const haina_cache* cache, const haina_step* step) {
    using namespace haina;
    if (const int wrong = check(model, cache, step)) return wrong;
    return guarded(step->threads, step->isa,
                   [&](const Hands& hands) { Forward(hands, *model, *cache, *step).run(); });
}

extern "C" int32_t haina_abi(void) { return HAINA_ABI; }

extern "C" size_t haina_sizeof(int32_t which) {
    constexpr size_t sizes[] = {sizeof(haina_matrix), sizeof(haina_layer),  sizeof(haina_model),
                                sizeof(haina_cache),  sizeof(haina_inside), sizeof(haina_step),
                                sizeof(haina_rule),   sizeof(haina_history), sizeof(haina_chosen),
                                sizeof(haina_low_rank), sizeof(haina_trie),   sizeof(haina_prior),
                                sizeof(haina_edge),   sizeof(haina_typed)};
    return which >= 0 && which < 14 ? sizes[which] : 0;
}
