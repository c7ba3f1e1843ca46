// rows.cpp - what is done to each row of activations: norm, rotation, silu-times, rounding to half.
// Plain loops; the compiler turns them into vectors. Nothing here knows of threads.
#include <cmath>
#include <cstring>

#include "haina.h"

namespace {

constexpr int LANES = 8;

// Sum of squares in double: lane l takes elements l, l + 8, ..., so that the compiler can use vectors without
// being allowed to reorder anything.
double sum_of_squares(const float* x, int64_t width) {
    double sum[LANES] = {};
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES)
        for (int l = 0; l < LANES; l++) sum[l] += double(x[i + l]) * double(x[i + l]);
    for (int l = 0; i < width; i++, l++) sum[l] += double(x[i]) * double(x[i]);
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

// Nearest half, ties to even. Adding 2^(e+13) to a float of exponent e rounds its fraction to ten bits; for
// subnormal halves the spacing is 2^-24, so the same is done with 0.5.
uint16_t to_half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000, body = bits & 0x7fffffff;
    if (body > 0x7f800000) return uint16_t(sign | 0x7e00);        // NaN stays NaN
    if (body >= 0x477ff000) return uint16_t(sign | 0x7c00);       // rounds to 65536 or more: infinity
    if (body < 0x38800000) {                                      // below 2^-14: subnormal
        float shifted;
        memcpy(&shifted, &body, sizeof shifted);
        shifted += 0.5f;
        memcpy(&bits, &shifted, sizeof bits);
        return uint16_t(sign | (bits - 0x3f000000));
    }
    return uint16_t(sign | (body - 0x38000000 + 0xfff + (body >> 13 & 1)) >> 13);
}

}  // namespace

extern "C" int haina_rms_norm(const float* x, const float* weight, float eps, int64_t rows, int64_t width, float* y) {
    if (!x || !weight || !y || rows < 0 || width < 1) return HAINA_BAD_ARGUMENT;
    for (int64_t row = 0; row < rows; row++, x += width, y += width) {
        const float scale = float(1.0 / std::sqrt(sum_of_squares(x, width) / double(width) + double(eps)));
        for (int64_t i = 0; i < width; i++) y[i] = x[i] * scale * weight[i];
    }
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

extern "C" int haina_silu_mul(const float* gate, const float* up, int64_t count, float* y) {
    if (!gate || !up || !y || count < 0) return HAINA_BAD_ARGUMENT;
    for (int64_t i = 0; i < count; i++) y[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
    return HAINA_OK;
}

extern "C" int haina_half(const float* x, int64_t count, uint16_t* y) {
    if (!x || !y || count < 0) return HAINA_BAD_ARGUMENT;
    for (int64_t i = 0; i < count; i++) y[i] = to_half(x[i]);
    return HAINA_OK;
}
