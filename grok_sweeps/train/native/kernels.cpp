// The parts of an MLP's train step that are not matrix products, float32, one thread, for the CPU.
//
// Compiled on the machine that trains (`native/build.py`) with a plain C interface. Every loop is written so that the
// compiler turns it into vector instructions by itself: no branches inside, no library calls, sums in a fixed order.
//
// Shapes, row-major: L lanes, N train rows, R >= N rows of the buffers (those past N stay zero), H hidden units,
// C classes, P residues, M parameters. Products before and after need activations as [L, R, H] and logits transposed,
// [L, C, R]: so the long side is the contiguous one.

#include <cstdint>
#include <cstring>

namespace {

// exp(x) to about one unit in the last place; 0 below -87.3, exactly 1 at 0. Cody and Waite's reduction, Taylor's
// polynomial on [-ln 2 / 2, ln 2 / 2].
inline float exponential(float x) {
    const float low = -87.3f;
    const float clipped = x < low ? low : x;
    const float rounder = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
    const float shifted = clipped * 1.44269504f + rounder;
    const float n = shifted - rounder;
    float r = clipped - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float y = 1.0f / 5040.0f;
    y = y * r + 1.0f / 720.0f;
    y = y * r + 1.0f / 120.0f;
    y = y * r + 1.0f / 24.0f;
    y = y * r + 1.0f / 6.0f;
    y = y * r + 0.5f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    const int32_t exponent = (static_cast<int32_t>(n) + 127) << 23;
    float power;
    std::memcpy(&power, &exponent, sizeof power);
    return x < low ? 0.0f : y * power;
}

// 0.5 erfc(z) / exp(-z^2) for z >= 0 as a polynomial in t = 1 / (1 + 0.4 z): least squares with weights that level
// the relative error, 6e-8 on [0, 9.6]; below, exp(-z^2) is 0.
inline float half_scaled_erfc(float t) {
    float y = 0.02024705521762371f;
    y = y * t + -0.06828897446393967f;
    y = y * t + 0.03807097300887108f;
    y = y * t + 0.04854048043489456f;
    y = y * t + 0.03667646273970604f;
    y = y * t + 0.09808474779129028f;
    y = y * t + 0.10058200359344482f;
    y = y * t + 0.1132732555270195f;
    y = y * t + 0.11281401664018631f;
    return y * t;
}

}  // namespace

extern "C" {

// Activations GELU(x) = x Phi(x) and their slopes Phi(x) + x phi(x), both [L, R, H], of x = first[a] + second[b].
// `tables` is [L, 2, P, H]: first and second; `pairs` is [L, N, 2].
void hidden_forward(int64_t lanes, int64_t rows, int64_t padded, int64_t residues, int64_t width, const float *tables,
                    const int32_t *pairs, float *__restrict activation, float *__restrict slope) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
        const float *first = tables + lane * 2 * residues * width;
        const float *second = first + residues * width;
        for (int64_t row = 0; row < rows; ++row) {
            const int32_t *pair = pairs + 2 * (lane * rows + row);
            const float *from_a = first + pair[0] * width;
            const float *from_b = second + pair[1] * width;
            float *act = activation + (lane * padded + row) * width;
            float *der = slope + (lane * padded + row) * width;
            for (int64_t k = 0; k < width; ++k) {
                const float x = from_a[k] + from_b[k];
                const float size = x < 0.0f ? -x : x;
                const float bell = exponential(-0.5f * x * x);
                const float tail = bell * half_scaled_erfc(1.0f / (1.0f + 0.28284271f * size));
                const float cdf = x < 0.0f ? tail : 1.0f - tail;
                act[k] = x * cdf;
                der[k] = cdf + x * (bell * 0.39894228f);
            }
        }
    }
}

// Gradient of the tables [L, 2, P, H] from that of the activations: each row's product with its slopes is added to its
// two table rows.
void hidden_backward(int64_t lanes, int64_t rows, int64_t padded, int64_t residues, int64_t width,
                     const float *d_activation, const float *slope, const int32_t *pairs, float *d_tables) {
    std::memset(d_tables, 0, sizeof(float) * lanes * 2 * residues * width);
    for (int64_t lane = 0; lane < lanes; ++lane) {
        float *first = d_tables + lane * 2 * residues * width;
        float *second = first + residues * width;
        for (int64_t row = 0; row < rows; ++row) {
            const int32_t *pair = pairs + 2 * (lane * rows + row);
            float *__restrict to_a = first + pair[0] * width;
            float *__restrict to_b = second + pair[1] * width;
            const float *d_act = d_activation + (lane * padded + row) * width;
            const float *der = slope + (lane * padded + row) * width;
            for (int64_t k = 0; k < width; ++k) {
                const float d = d_act[k] * der[k];
                to_a[k] += d;
                to_b[k] += d;
            }
        }
    }
}

// Turns logits without bias, [L, C, R], into the loss gradient with respect to them, and sums it over rows for the
// bias, [L, C]. x = (logit + bias) / tau; the gradient is (q - (1 - smoothing) onehot - smoothing / C + penalty x) scale
// with q = softmax(x), or q = x where `normalize` is 0. `work` holds 2 R floats, and C R more where a lane has a penalty.
void logit_gradient(int64_t lanes, int64_t rows, int64_t padded, int64_t classes, int32_t normalize, float *logits,
                    const float *bias, const int32_t *targets, const float *inverse_tau, const float *scale,
                    const float *smoothing, const float *penalty, float *d_bias, float *work) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
        float *z = logits + lane * classes * padded;
        const float beta = inverse_tau[lane];
        const float factor = scale[lane];
        float *__restrict top = work;
        float *__restrict total = work + padded;
        for (int64_t c = 0; c < classes; ++c) {
            float *__restrict x = z + c * padded;
            const float shift = bias[lane * classes + c];
            if (c == 0) {
                for (int64_t k = 0; k < rows; ++k) top[k] = x[k] = (x[k] + shift) * beta;
            } else {
                for (int64_t k = 0; k < rows; ++k) {
                    const float value = (x[k] + shift) * beta;
                    x[k] = value;
                    top[k] = value > top[k] ? value : top[k];
                }
            }
        }
        float *__restrict kept = work + 2 * padded;
        if (penalty[lane] != 0.0f) std::memcpy(kept, z, sizeof(float) * classes * padded);
        if (normalize) {
            std::memset(total, 0, sizeof(float) * rows);
            for (int64_t c = 0; c < classes; ++c) {
                float *__restrict x = z + c * padded;
                for (int64_t k = 0; k < rows; ++k) {
                    const float e = exponential(x[k] - top[k]);
                    x[k] = e;
                    total[k] += e;
                }
            }
            for (int64_t k = 0; k < rows; ++k) total[k] = 1.0f / total[k];
            for (int64_t c = 0; c < classes; ++c) {
                float *__restrict x = z + c * padded;
                for (int64_t k = 0; k < rows; ++k) x[k] *= total[k];
            }
        }
        const float on_target = 1.0f - smoothing[lane];
        const float everywhere = smoothing[lane] / static_cast<float>(classes);
        for (int64_t k = 0; k < rows; ++k) z[targets[lane * rows + k] * padded + k] -= on_target;
        for (int64_t c = 0; c < classes; ++c) {
            float *__restrict x = z + c * padded;
            if (everywhere != 0.0f) {
                for (int64_t k = 0; k < rows; ++k) x[k] -= everywhere;
            }
            if (penalty[lane] != 0.0f) {
                for (int64_t k = 0; k < rows; ++k) x[k] += penalty[lane] * kept[c * padded + k];
            }
            float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
            for (int64_t k = 0; k < rows; ++k) {
                x[k] *= factor;
                sum += x[k];
            }
            for (int64_t k = rows; k < padded; ++k) x[k] = 0.0f;
            d_bias[lane * classes + c] = sum;
        }
    }
}

// Adam's moments and update, [L, M] each: rate is minus the learning rate over 1 - beta1^t, root 1 / sqrt(1 - beta2^t);
// rest1 and rest2 are 1 - beta1 and 1 - beta2.
void adam_update(int64_t lanes, int64_t n, float *weights, float *moment1, float *moment2, const float *gradient,
                 const float *rate, const float *root, float rest1, float beta2, float rest2, float epsilon) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
        float *__restrict w = weights + lane * n;
        float *__restrict m = moment1 + lane * n;
        float *__restrict v = moment2 + lane * n;
        const float *__restrict g = gradient + lane * n;
        const float step = rate[lane];
        const float correction = root[lane];
        for (int64_t k = 0; k < n; ++k) {
            m[k] += rest1 * (g[k] - m[k]);
            v[k] = beta2 * v[k] + rest2 * g[k] * g[k];
            w[k] += step * (m[k] / (__builtin_sqrtf(v[k]) * correction + epsilon));
        }
    }
}

}  // extern "C"
