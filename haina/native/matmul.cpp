// matmul.cpp - multiplications shared out over threads. The tile loops are in matmul.h and packed.h.
#include <cstring>

#include "layout.h"
#include "ops.h"

namespace haina {
namespace {

// What a thread takes at a time: BLOCK_ROWS rows of weights, which stay in its L2 cache, times so many tokens.
constexpr int64_t UNIT_TOKENS = 48;           // a multiple of every Isa::tokens
constexpr int64_t UNIT_TOKENS_PACKED = 96;    // unpacking is shared by more
constexpr int64_t WORTH_READING_ON = 8;       // few tokens: blocks that lie one behind another go to one thread

// The tokens of one call; `pieces` are the same rounded, if a matrix is packed.
struct Input {
    const float* x;
    const Piece* pieces;
    int64_t tokens;
};

// 32 rows from `row` on times `tokens` tokens from `token` on; sums [tokens, 32], without bias.
void sums_of(const Hands& hands, const haina_matrix& w, const Input& in, int64_t row, int64_t token, int64_t tokens,
             float* sums) {
    if (packed(w.dtype)) {
        const uint8_t* block = static_cast<const uint8_t*>(w.data) + row / BLOCK_ROWS * block_bytes(w.dtype, w.cols);
        hands.kernels.multiply_packed({w.dtype, block, in.pieces + token, in.tokens, w.cols, tokens, sums});
        return;
    }
    const char* data = static_cast<const char*>(w.data) + row * w.cols * int64_t(element_bytes(w.dtype));
    const int64_t rows = smaller(BLOCK_ROWS, w.rows - row);
    hands.kernels.multiply({w.dtype, data, in.x + token * w.cols, rows, w.cols, tokens, sums});
}

// What adapters add to `sums` [tokens, 32] of the rows from `row` on, of `all` in the matrix.
void add_changes(const Change* change, int64_t all, int64_t row, int64_t tokens, float* sums) {
    const int64_t rows = smaller(BLOCK_ROWS, all - row);
    for (int64_t t = 0; t < tokens; t++, change++, sums += BLOCK_ROWS)
        for (int64_t k = 0; k < change->rank; k++) {
            const float by = change->by[k], *b = change->b + k * all + row;
            for (int64_t r = 0; r < rows; r++) sums[r] += by * b[r];
        }
}

void unit(const Hands& hands, const Output& out, const Input& in, int64_t row, int64_t token, int64_t tokens) {
    float sums[UNIT_TOKENS_PACKED * BLOCK_ROWS], gate[UNIT_TOKENS_PACKED * BLOCK_ROWS];
    const int64_t rows = smaller(BLOCK_ROWS, out.w.rows - row);
    sums_of(hands, out.w, in, row, token, tokens, sums);
    if (out.change) add_changes(out.change + token, out.w.rows, row, tokens, sums);
    if (out.gate) sums_of(hands, *out.gate, in, row, token, tokens, gate);
    if (out.gate_change) add_changes(out.gate_change + token, out.w.rows, row, tokens, gate);
    for (int64_t t = 0; t < tokens; t++) {
        float *from = sums + t * BLOCK_ROWS, *y = out.y + (token + t) * out.w.rows + row;
        if (out.bias)
            for (int64_t r = 0; r < rows; r++) from[r] += out.bias[row + r];
        if (out.gate)
            hands.kernels.silu_mul(gate + t * BLOCK_ROWS, from, rows, y);
        else if (out.add)
            for (int64_t r = 0; r < rows; r++) y[r] += from[r];
        else
            memcpy(y, from, size_t(rows) * sizeof(float));
    }
}

// The rounded activations of all tokens: [chunks, tokens].
void round_tokens(const Hands& hands, const float* x, int64_t cols, int64_t tokens, Piece* pieces) {
    hands.share_ranges(tokens, cols, [&](int64_t first, int64_t last) {
        for (int64_t t = first; t < last; t++) hands.kernels.round_token(x + t * cols, cols, pieces + t, tokens);
    });
}

}  // namespace

void multiply(const Hands& hands, const float* x, int64_t tokens, std::initializer_list<Output> outputs) {
    bool rounded = false;
    int64_t cost = 0;
    for (const Output& out : outputs) {
        rounded = rounded || packed(out.w.dtype) || (out.gate && packed(out.gate->dtype));
        cost += out.w.rows * out.w.cols * tokens * (out.gate ? 2 : 1);
    }
    const int64_t cols = outputs.begin()->w.cols;
    const Buffer<Piece> pieces(rounded ? ceil_div(cols, CHUNK_COLS) * tokens : 0);
    if (rounded) round_tokens(hands, x, cols, tokens, pieces);
    const Input in{x, pieces, tokens};

    const int64_t unit_tokens = rounded ? UNIT_TOKENS_PACKED : UNIT_TOKENS, shares = ceil_div(tokens, unit_tokens);
    const int64_t blocks = tokens > WORTH_READING_ON ? 1 : 4;
    int64_t units = 0;
    for (const Output& out : outputs) units += ceil_div(out.w.rows, BLOCK_ROWS * blocks) * shares;
    hands.share(units, cost, [&](int64_t i) {
        const Output* out = outputs.begin();
        for (int64_t here; i >= (here = ceil_div(out->w.rows, BLOCK_ROWS * blocks) * shares); out++) i -= here;
        const int64_t token = i % shares * unit_tokens, first = i / shares * BLOCK_ROWS * blocks;
        for (int64_t row = first; row < smaller(first + BLOCK_ROWS * blocks, out->w.rows); row += BLOCK_ROWS)
            unit(hands, *out, in, row, token, smaller(unit_tokens, tokens - token));
    });
}

namespace {

// Row r of 32 rows and 32 columns as floats, four columns of a line of the file at a time.
template <int32_t DTYPE>
void unpack_group(const uint8_t* group, int64_t r, int32_t group_scale, float scale, float* out) {
    for (int64_t dot = 0; dot < GROUP_COLS / 4; dot++) {
        const uint8_t* bytes = group + weight_at(DTYPE, r, dot * 4);
        const int shift = dot % 2 * 4;
        for (int64_t i = 0; i < 4; i++) {
            const int32_t q = DTYPE == HAINA_W8 ? int8_t(bytes[i]) : (bytes[i] >> shift & 15) - 8;
            out[dot * 4 + i] = float(q * group_scale) * scale;
        }
    }
}

}  // namespace

void packed_row(const haina_matrix& w, int64_t row, float* out) {
    const bool four_bits = w.dtype == HAINA_W4;
    const uint8_t* block = static_cast<const uint8_t*>(w.data) + row / BLOCK_ROWS * block_bytes(w.dtype, w.cols);
    const int64_t r = row % BLOCK_ROWS;
    for (int64_t c = 0; c * CHUNK_COLS < w.cols; c++) {
        const Chunk chunk = chunk_at(w.dtype, w.cols, c);
        const uint8_t* group = block + chunk.weights;
        float scale, last[GROUP_COLS];
        memcpy(&scale, block + chunk.scale + r * 4, 4);
        for (int64_t g = 0; g < chunk.groups; g++, group += group_bytes(w.dtype)) {
            const int64_t col = c * CHUNK_COLS + g * GROUP_COLS, left = w.cols - col;
            float* const to = left < GROUP_COLS ? last : out + col;
            if (four_bits)
                unpack_group<HAINA_W4>(group, r, int8_t(block[chunk.group_scale + g * BLOCK_ROWS + r]), scale, to);
            else
                unpack_group<HAINA_W8>(group, r, 1, scale, to);
            if (left < GROUP_COLS) memcpy(out + col, last, size_t(left) * sizeof(float));
        }
    }
}

namespace {

// Lane `from` of so many lines of 32 elements to lane `to` of as many; both pointers move on to what lies behind.
template <class Element>
void copy_lane(const uint8_t*& source, int64_t from, uint8_t*& target, int64_t to, int64_t lines) {
    constexpr int64_t bytes = sizeof(Element), line = BLOCK_ROWS * bytes;
    for (; lines > 0; lines--, source += line, target += line)
        memcpy(target + to * bytes, source + from * bytes, bytes);
}

// Row `from` of w to row `to` of `target`, a matrix of the same dtype and as many columns.
void copy_row(const haina_matrix& w, int64_t from, uint8_t* target, int64_t to) {
    const uint8_t* source = static_cast<const uint8_t*>(w.data);
    if (!packed(w.dtype)) {
        const int64_t bytes = w.cols * int64_t(element_bytes(w.dtype));
        memcpy(target + to * bytes, source + from * bytes, size_t(bytes));
        return;
    }
    source += from / BLOCK_ROWS * block_bytes(w.dtype, w.cols), from %= BLOCK_ROWS;
    target += to / BLOCK_ROWS * block_bytes(w.dtype, w.cols), to %= BLOCK_ROWS;
    for (int64_t c = 0; c * CHUNK_COLS < w.cols; c++) {
        const int64_t groups = chunk_at(w.dtype, w.cols, c).groups;
        copy_lane<float>(source, from, target, to, 1);
        if (w.dtype == HAINA_W4) copy_lane<int8_t>(source, from, target, to, groups);
        copy_lane<int32_t>(source, from, target, to, groups * (w.dtype == HAINA_W4 ? 4 : 8));
    }
}

// The product with a few rows of w, gathered into a matrix of their own. Lanes of a last block that are left over get
// the last row again.
void multiply_rows(const Hands& hands, const haina_matrix& w, const int32_t* ids, int64_t count, const float* x,
                   int64_t tokens, float* y) {
    const int64_t blocks = ceil_div(count, BLOCK_ROWS), rows = packed(w.dtype) ? blocks * BLOCK_ROWS : count;
    const int64_t row_bytes = packed(w.dtype) ? block_bytes(w.dtype, w.cols) / BLOCK_ROWS
                                              : w.cols * int64_t(element_bytes(w.dtype));
    const Buffer<uint8_t> gathered(rows * row_bytes);
    hands.share_ranges(rows, w.cols, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; i++) copy_row(w, ids[smaller(i, count - 1)], gathered, i);
    });
    const haina_matrix few{gathered, count, w.cols, w.dtype, 0};
    multiply(hands, x, tokens, {{few, nullptr, y}});
}

}  // namespace

bool valid(const haina_matrix& w, int64_t rows, int64_t cols) {
    const bool known = w.dtype >= HAINA_F32 && w.dtype <= HAINA_W4 && w.dtype != HAINA_I8;
    return w.data && w.rows == rows && w.cols == cols && rows > 0 && cols > 0 && known;
}

}  // namespace haina

extern "C" int haina_matmul(const haina_matrix* w, const float* bias, const float* x, int64_t tokens, float* y,
                            int32_t threads, int32_t isa) {
    using namespace haina;
    if (!w || !x || !y || tokens < 0 || !valid(*w, w->rows, w->cols)) return HAINA_BAD_ARGUMENT;
    return guarded(threads, isa, [&](const Hands& hands) { multiply(hands, x, tokens, {{*w, bias, y}}); });
}

extern "C" int haina_head(const haina_matrix* w, const int32_t* ids, int64_t count, const float* x, int64_t tokens,
                          float* y, int32_t threads, int32_t isa) {
    using namespace haina;
    if (!w || !ids || !x || !y || count < 0 || tokens < 0 || !valid(*w, w->rows, w->cols)) return HAINA_BAD_ARGUMENT;
    if (!within(ids, count, w->rows)) return HAINA_BAD_IDS;
    return guarded(threads, isa, [&](const Hands& hands) { multiply_rows(hands, *w, ids, count, x, tokens, y); });
}

extern "C" int haina_unpack(const haina_matrix* w, const int32_t* ids, int64_t count, float* y, int32_t threads) {
    using namespace haina;
    if (!w || !ids || !y || count < 0 || !valid(*w, w->rows, w->cols) || !packed(w->dtype)) return HAINA_BAD_ARGUMENT;
    if (!within(ids, count, w->rows)) return HAINA_BAD_IDS;
    return guarded(threads, HAINA_BEST, [&](const Hands& hands) {
        hands.share_ranges(count, w->cols, [&](int64_t first, int64_t last) {
            for (int64_t i = first; i < last; i++) packed_row(*w, ids[i], y + i * w->cols);
        });
    });
}

extern "C" int haina_pack(int32_t dtype, const float* w, int64_t rows, int64_t cols, void* out, int32_t threads) {
    using namespace haina;
    if (!packed(dtype) || !w || !out || rows < 1 || cols < 1) return HAINA_BAD_ARGUMENT;
    return guarded(threads, HAINA_BEST, [&](const Hands& hands) {
        hands.share(ceil_div(rows, BLOCK_ROWS), rows * cols * 64, [&](int64_t block) {
            const int64_t row = block * BLOCK_ROWS;
            hands.kernels.pack_block({dtype, w + row * cols, smaller(BLOCK_ROWS, rows - row), cols,
                                      static_cast<uint8_t*>(out) + block * block_bytes(dtype, cols)});
        });
    });
}

extern "C" int haina_read(const void* data, int64_t bytes, int32_t threads) {
    using namespace haina;
    constexpr int64_t part = 1 << 20;
    if (!data || bytes < 0) return HAINA_BAD_ARGUMENT;
    return guarded(threads, HAINA_BEST, [&](const Hands& hands) {
        hands.share(ceil_div(bytes, part), bytes, [&](int64_t i) {
            typedef uint64_t Words __attribute__((vector_size(64), aligned(1)));
            const char* at = static_cast<const char*>(data) + i * part;
            const int64_t count = smaller(part, bytes - i * part) / int64_t(sizeof(Words));
            Words sum{};
            for (int64_t j = 0; j < count; j++) sum ^= reinterpret_cast<const Words*>(at)[j];
            volatile uint64_t kept = sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
            (void)kept;
        });
    });
}
