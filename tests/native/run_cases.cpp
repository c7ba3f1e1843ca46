// run_cases.cpp - one kernel after another on a machine where Python is not: qemu-user. test_arm.py writes the cases to
// its input and reads the results from its output, all in the byte order of both.
//
// A case is eight int64 (what, isa, dtype, threads, rows, cols, tokens, bytes of the matrix), then its arrays.
#include <cstdio>
#include <vector>

#include "haina.h"

namespace {

enum What { MATMUL, PACK, RMS_NORM, SILU_MUL, HEAD };

template <class T>
std::vector<T> read(int64_t count) {
    std::vector<T> values(static_cast<size_t>(count));
    if (fread(values.data(), sizeof(T), values.size(), stdin) != values.size()) perror("input");
    return values;
}

template <class T>
void write(int status, const std::vector<T>& values) {
    if (status != HAINA_OK) fprintf(stderr, "status %d\n", status);
    fwrite(values.data(), sizeof(T), values.size(), stdout);
}

}  // namespace

int main() {
    int64_t c[8];
    while (fread(c, sizeof c, 1, stdin) == 1) {
        const auto [what, isa, dtype, threads, rows, cols, tokens, bytes] = c;
        const int32_t set = int32_t(isa), kind = int32_t(dtype), hands = int32_t(threads);
        if (what == MATMUL) {
            const auto data = read<char>(bytes);
            const auto bias = read<float>(rows), x = read<float>(tokens * cols);
            std::vector<float> y(size_t(tokens * rows));
            const haina_matrix w{data.data(), rows, cols, kind, 0};
            write(haina_matmul(&w, bias.data(), x.data(), tokens, y.data(), hands, set), y);
        } else if (what == HEAD) {
            const auto data = read<char>(bytes);
            const auto ids = read<int32_t>(rows);
            const auto x = read<float>(tokens * cols);
            std::vector<float> y(size_t(tokens * rows));
            const haina_matrix w{data.data(), rows, cols, kind, 0};
            write(haina_head(&w, ids.data(), rows, x.data(), tokens, y.data(), hands, set), y);
        } else if (what == PACK) {
            const auto w = read<float>(rows * cols);
            std::vector<char> out(static_cast<size_t>(bytes));
            write(haina_pack(kind, w.data(), rows, cols, out.data(), hands), out);
        } else {
            const auto a = read<float>(rows * cols), b = read<float>(what == RMS_NORM ? cols : rows * cols);
            std::vector<float> y(a.size());
            write(what == RMS_NORM ? haina_rms_norm(a.data(), b.data(), 1e-6f, rows, cols, y.data(), set)
                                   : haina_silu_mul(a.data(), b.data(), rows * cols, y.data(), set),
                  y);
        }
    }
    return 0;
}
