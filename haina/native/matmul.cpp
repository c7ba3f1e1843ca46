// matmul.cpp - a multiplication shared out over threads. The tile loops are in matmul.h.
#include "ops.h"

namespace haina {
namespace {

// What a thread takes at a time: so many rows of weights, which stay in its L2 cache, times so many tokens.
constexpr int64_t UNIT_ROWS = 32;
constexpr int64_t UNIT_TOKENS = 48;   // a multiple of every Isa::tokens

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows from `row` on and tokens from `token` on, at most a unit of each.
Product unit_of(const Output& out, const float* x, int64_t tokens, int64_t row, int64_t token) {
    const haina_matrix& w = out.w;
    const char* data = static_cast<const char*>(w.data);
    Product p;
    p.dtype = w.dtype;
    p.w = data + row * w.cols * int64_t(element_bytes(w.dtype));
    p.scale = w.dtype == HAINA_I8 ? w.scale + row : nullptr;
    p.bias = out.bias ? out.bias + row : nullptr;
    p.x = x + token * w.cols;
    p.y = out.y + token * w.rows + row;
    p.w_stride = p.x_stride = p.cols = w.cols;
    p.y_stride = w.rows;
    p.rows = w.rows - row < UNIT_ROWS ? w.rows - row : UNIT_ROWS;
    p.tokens = tokens - token < UNIT_TOKENS ? tokens - token : UNIT_TOKENS;
    p.add = out.add;
    return p;
}

}  // namespace

void multiply(const Hands& hands, const float* x, int64_t tokens, std::initializer_list<Output> outputs) {
    const int64_t shares = ceil_div(tokens, UNIT_TOKENS);
    int64_t units = 0, cost = 0;
    for (const Output& out : outputs) {
        units += ceil_div(out.w.rows, UNIT_ROWS) * shares;
        cost += out.w.rows * out.w.cols * tokens;
    }
    hands.share(units, cost, [&](int64_t unit) {
        const Output* out = outputs.begin();
        for (int64_t here; unit >= (here = ceil_div(out->w.rows, UNIT_ROWS) * shares); out++) unit -= here;
        const int64_t row = unit / shares * UNIT_ROWS, token = unit % shares * UNIT_TOKENS;
        hands.kernels.multiply(unit_of(*out, x, tokens, row, token));
    });
}

bool valid(const haina_matrix& w, int64_t rows, int64_t cols) {
    return w.data && w.rows == rows && w.cols == cols && rows > 0 && cols > 0 && w.dtype >= HAINA_F32 &&
           w.dtype <= HAINA_I8 && (w.scale != nullptr) == (w.dtype == HAINA_I8);
}

}  // namespace haina

extern "C" int haina_matmul(const haina_matrix* w, const float* bias, const float* x, int64_t tokens, float* y,
                            int32_t threads, int32_t isa) {
    using namespace haina;
    if (!w || !x || !y || tokens < 0 || !valid(*w, w->rows, w->cols)) return HAINA_BAD_ARGUMENT;
    return guarded(threads, isa, [&](const Hands& hands) { multiply(hands, x, tokens, {{*w, bias, y}}); });
}
