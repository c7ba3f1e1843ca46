// rows.cpp - rotation of queries and keys, and the C face of what rows.h does to rows of activations.
// Plain loops; the compiler turns them into vectors. Nothing here knows of threads.
#include <cmath>

#include "haina.h"
#include "kernels.h"

extern "C" int haina_rms_norm(const float* x, const float* weight, float eps, int64_t rows, int64_t width, float* y,
                              int32_t isa) {
    const haina::Kernels* kernels = haina::kernels_for(isa);
    if (!kernels || !x || !weight || !y || rows < 0 || width < 1) return HAINA_BAD_ARGUMENT;
    kernels->rms_norm(x, weight, eps, rows, width, y);
    return HAINA_OK;
}

extern "C" int haina_angles(const int32_t* at, int64_t tokens, int32_t rotary, double theta, float* cos, float* sin) {
    if (!at || !cos || !sin || tokens < 0 || rotary < 0 || rotary % 2) return HAINA_BAD_ARGUMENT;
    for (int32_t i = 0; i < rotary / 2; i++) {
        const double turn = std::pow(theta, -2.0 * i / rotary);
        for (int64_t t = 0; t < tokens; t++) {
            cos[t * (rotary / 2) + i] = float(std::cos(at[t] * turn));
            sin[t * (rotary / 2) + i] = float(std::sin(at[t] * turn));
        }
    }
    return HAINA_OK;
}

extern "C" int haina_rotate(float* x, const float* cos, const float* sin, int64_t tokens, int32_t heads,
                            int32_t head_width, int32_t rotary) {
    if (!x || !cos || !sin || tokens < 0 || heads < 1 || rotary % 2 || rotary > head_width) return HAINA_BAD_ARGUMENT;
    const int32_t half = rotary / 2;
    for (int64_t t = 0; t < tokens; t++, cos += half, sin += half)
        for (int32_t h = 0; h < heads; h++, x += head_width)
            for (int32_t i = 0; i < half; i++) {
                const float a = x[i], b = x[i + half];
                x[i] = a * cos[i] - b * sin[i];
                x[i + half] = b * cos[i] + a * sin[i];
            }
    return HAINA_OK;
}

extern "C" int haina_silu_mul(const float* gate, const float* up, int64_t count, float* y, int32_t isa) {
    const haina::Kernels* kernels = haina::kernels_for(isa);
    if (!kernels || !gate || !up || !y || count < 0) return HAINA_BAD_ARGUMENT;
    kernels->silu_mul(gate, up, count, y);
    return HAINA_OK;
}
