// layout.h - where the bytes of a packed matrix lie: docs/formats.md, section 2, in C++. No std:: here, see matmul.h.
#pragma once
#include "haina.h"
#include "kernels.h"

namespace haina {
namespace {

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Of the weights of 32 rows and 32 columns.
constexpr int64_t group_bytes(int32_t dtype) { return dtype == HAINA_W4 ? 512 : 1024; }

// In them: where column i of a row lies. In W4 the column four further on shares its byte.
constexpr int64_t weight_at(int32_t dtype, int64_t row, int64_t i) {
    return i / (dtype == HAINA_W4 ? 8 : 4) * 128 + row * 4 + i % 4;
}

// 512 columns, or the last few, of a block: a float of each row, an int8 of each group and row (W4), the weights of
// each group. Where they lie, in bytes from the start of the block.
struct Chunk {
    int64_t groups, scale, group_scale, weights, end;
};

inline Chunk chunk_at(int32_t dtype, int64_t cols, int64_t chunk) {
    const int64_t scales_bytes = BLOCK_ROWS * 4, group_scales_bytes = dtype == HAINA_W4 ? BLOCK_ROWS : 0;
    const int64_t before = chunk * CHUNK_GROUPS, groups = smaller(CHUNK_GROUPS, ceil_div(cols, GROUP_COLS) - before);
    const int64_t scale = chunk * scales_bytes + before * (group_scales_bytes + group_bytes(dtype));
    const int64_t group_scale = scale + scales_bytes, weights = group_scale + groups * group_scales_bytes;
    return {groups, scale, group_scale, weights, weights + groups * group_bytes(dtype)};
}

inline int64_t block_bytes(int32_t dtype, int64_t cols) {
    return chunk_at(dtype, cols, ceil_div(cols, CHUNK_COLS) - 1).end;
}

}  // namespace
}  // namespace haina
