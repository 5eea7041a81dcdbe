// An MLP's train step on the CPU, float32, one thread.
//
// Compiled on the machine that trains (`native/build.py`) with a plain C interface. The train rows are taken in tiles of
// `TILE`, and a tile goes all the way from the gather to its share of the gradient: its activations, slopes and logits
// stay in the core's own cache. The products are outer products of 6 rows by a few vectors of columns held in registers,
// with the readout packed once a step in the order in which they read it. Other loops are written so that the compiler
// turns them into vector instructions by itself, and sums have a fixed order, the same for every lane.
//
// Shapes, row-major: L lanes, N train rows, H hidden units, C classes, P residues, M parameters.

#include <cstdint>
#include <cstring>

namespace {

constexpr int64_t TILE = 96;    // rows at a time
constexpr int64_t ROWS = 6;     // rows of a register block
#ifdef __AVX512F__
constexpr int64_t VECTOR = 16;  // floats of a vector
constexpr int64_t MOST = 4;     // vectors of a register block at most: 6 x 4 sums and what they are made of fill 32 registers
#else
constexpr int64_t VECTOR = 8;
constexpr int64_t MOST = 2;     // 6 x 2 of 16 registers
#endif

typedef float Vector __attribute__((vector_size(VECTOR * sizeof(float)), aligned(4), may_alias));

inline int64_t rounded_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Columns in register blocks of at most MOST vectors, as even as they come: calls `block` with the first column of each
// and its number of vectors as a constant.
template <int V, typename Block>
inline void with_width(int64_t vectors, int64_t first, Block &block) {
    if constexpr (V > 0) {
        if (vectors == V) {
            block.template operator()<V>(first);
        } else {
            with_width<V - 1>(vectors, first, block);
        }
    }
}

template <typename Block>
inline void in_blocks(int64_t columns, Block block) {
    const int64_t vectors = columns / VECTOR;
    const int64_t blocks = (vectors + MOST - 1) / MOST;
    for (int64_t k = 0, done = 0; k < blocks; ++k) {
        const int64_t wide = (vectors - done + blocks - k - 1) / (blocks - k);
        with_width<MOST>(wide, done * VECTOR, block);
        done += wide;
    }
}

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

// sum over k of a[i, k] b[k, :] for 6 rows i and V vectors of columns; a[i, k] stands at a + i a_row + k a_step.
template <int V>
inline void outer_products(const float *a, int64_t a_row, int64_t a_step, const float *b, int64_t b_step, int64_t depth,
                           Vector (&sum)[ROWS][V]) {
    for (int64_t k = 0; k < depth; ++k) {
        Vector columns[V];
        for (int v = 0; v < V; ++v) columns[v] = *reinterpret_cast<const Vector *>(b + k * b_step + v * VECTOR);
        for (int i = 0; i < ROWS; ++i) {
            const float factor = a[i * a_row + k * a_step];
            for (int v = 0; v < V; ++v) sum[i][v] += factor * columns[v];
        }
    }
}

// out[i, :] = (or +=) those sums.
template <int V>
inline void product(const float *a, int64_t a_row, int64_t a_step, const float *b, int64_t b_step, int64_t depth,
                    float *out, int64_t out_row, bool add) {
    Vector sum[ROWS][V];
    for (int i = 0; i < ROWS; ++i) {
        for (int v = 0; v < V; ++v) {
            Vector *place = reinterpret_cast<Vector *>(out + i * out_row + v * VECTOR);
            sum[i][v] = add ? *place : Vector{};
        }
    }
    outer_products<V>(a, a_row, a_step, b, b_step, depth, sum);
    for (int i = 0; i < ROWS; ++i) {
        for (int v = 0; v < V; ++v) *reinterpret_cast<Vector *>(out + i * out_row + v * VECTOR) = sum[i][v];
    }
}

// The sizes of one lane's buffers: columns of activations and of logits, rounded up to what the products read.
struct Sizes {
    int64_t units, width, classes, columns;
    Sizes(int64_t h, int64_t c)
        : units(h), width(rounded_up(rounded_up(h, ROWS), VECTOR)), classes(c), columns(rounded_up(c, VECTOR)) {}
};

// Entries [depth, columns] of a matrix, at(k, c), packed in the register blocks of the columns: one [depth, block's columns]
// after the other, zero where there is no such column.
template <typename Entry>
void pack(int64_t depth, int64_t columns, int64_t real, float *packed, Entry at) {
    in_blocks(columns, [&]<int V>(int64_t first) {
        for (int64_t k = 0; k < depth; ++k) {
            for (int64_t c = first; c < first + V * VECTOR; ++c) *packed++ = c < real ? at(k, c) : 0.0f;
        }
    });
}

// Activations GELU(x) = x Phi(x) of one pair, and where asked for their slopes Phi(x) + x phi(x), x = a + b.
template <bool SLOPES>
inline void activate(const float *a, const float *b, int64_t units, float *__restrict activation,
                     float *__restrict slope) {
    for (int64_t k = 0; k < units; ++k) {
        const float x = a[k] + b[k];
        const float size = x < 0.0f ? -x : x;
        const float bell = exponential(-0.5f * x * x);
        const float tail = bell * half_scaled_erfc(1.0f / (1.0f + 0.28284271f * size));
        const float cdf = x < 0.0f ? tail : 1.0f - tail;
        activation[k] = x * cdf;
        if (SLOPES) slope[k] = cdf + x * (bell * 0.39894228f);
    }
}

// Logits without bias of a tile, [TILE, columns].
void tile_logits(const float *activation, const float *packed, const Sizes &s, int64_t rows, float *logits) {
    in_blocks(s.columns, [&]<int V>(int64_t first) {
        for (int64_t i = 0; i < rows; i += ROWS) {
            product<V>(activation + i * s.width, s.width, 1, packed + first * s.units, V * VECTOR, s.units,
                       logits + i * s.columns + first, s.columns, false);
        }
    });
}

// What the loss is, for one lane: q = softmax(x) or x, with x = (logit + bias) / tau; the gradient with respect to the
// logit is (q - (1 - smoothing) onehot - smoothing / C + penalty x) scale.
struct Loss {
    bool normalize;
    float inverse_tau, scale, smoothing, penalty;
};

// A row of logits' width, `values` where there are classes and `outside` in the padding.
void pad(const float *values, const Sizes &s, float outside, float *padded) {
    for (int64_t c = 0; c < s.columns; ++c) padded[c] = c < s.classes ? values[c] : outside;
}

constexpr float NONE = -1.0e30f;  // below every logit: added to the padding, it leaves it no share of a softmax

// Turns one row's logits into their gradient. Whole vectors, padding included: a loop's scalar rest costs more than it.
inline void logit_gradient(float *__restrict z, const float *__restrict bias, int32_t target, const Sizes &s,
                           const Loss &loss, float *__restrict kept) {
    const int64_t n = s.columns;
    float top = -3.0e38f;
#pragma omp simd reduction(max : top)
    for (int64_t c = 0; c < n; ++c) {
        z[c] = (z[c] + bias[c]) * loss.inverse_tau;
        top = z[c] > top ? z[c] : top;
    }
    if (loss.penalty != 0.0f) std::memcpy(kept, z, sizeof(float) * s.classes);
    if (loss.normalize) {
        float total = 0.0f;
#pragma omp simd reduction(+ : total)
        for (int64_t c = 0; c < n; ++c) {
            z[c] = exponential(z[c] - top);
            total += z[c];
        }
        const float share = 1.0f / total;
        for (int64_t c = 0; c < n; ++c) z[c] *= share;
    }
    z[target] -= 1.0f - loss.smoothing;
    if (loss.smoothing != 0.0f) {
        const float everywhere = loss.smoothing / static_cast<float>(s.classes);
        for (int64_t c = 0; c < s.classes; ++c) z[c] -= everywhere;
    }
    if (loss.penalty != 0.0f) {
        for (int64_t c = 0; c < s.classes; ++c) z[c] += loss.penalty * kept[c];
    }
    for (int64_t c = 0; c < n; ++c) z[c] *= loss.scale;
}

// Adds a tile's share to the readout's gradient, [units rounded up, columns].
void add_readout_gradient(const float *activation, const float *d_logits, const Sizes &s, float *d_readout) {
    in_blocks(s.columns, [&]<int V>(int64_t first) {
        for (int64_t h = 0; h < s.units; h += ROWS) {
            product<V>(activation + h, 1, s.width, d_logits + first, s.columns, TILE, d_readout + h * s.columns + first,
                       s.columns, true);
        }
    });
}

// Gradient of a tile's pre-activations, added to the table rows [width] each of `first` and `second` they came from.
// Train rows come sorted by their first operand, so that most neighbours' sums go there together.
void add_table_gradient(const float *d_logits, const float *packed, const float *slope, const int32_t *pairs,
                        const Sizes &s, int64_t rows, float *first, float *second) {
    in_blocks(s.width, [&]<int V>(int64_t unit) {
        const float *block = packed + unit * s.classes;
        for (int64_t i = 0; i < rows; i += ROWS) {
            Vector d[ROWS][V] = {};
            outer_products<V>(d_logits + i * s.columns, s.columns, 1, block, V * VECTOR, s.classes, d);
            for (int v = 0; v < V; ++v) {
                const int64_t column = unit + v * VECTOR;
                Vector of_same_a = {};
                for (int64_t r = 0; r < ROWS && i + r < rows; ++r) {
                    const int32_t *pair = pairs + 2 * (i + r);
                    d[r][v] *= *reinterpret_cast<const Vector *>(slope + (i + r) * s.width + column);
                    of_same_a += d[r][v];
                    *reinterpret_cast<Vector *>(second + pair[1] * s.width + column) += d[r][v];
                    if (r + 1 == ROWS || i + r + 1 == rows || pair[2] != pair[0]) {
                        *reinterpret_cast<Vector *>(first + pair[0] * s.width + column) += of_same_a;
                        of_same_a = Vector{};
                    }
                }
            }
        }
    });
}

}  // namespace

extern "C" {

// Floats of scratch memory that `mlp_gradient` and `mlp_everywhere` need.
int64_t mlp_scratch(int64_t residues, int64_t units, int64_t classes) {
    const Sizes s(units, classes);
    return 2 * TILE * s.width + (TILE + 3) * s.columns + 2 * s.width * s.columns + s.width * classes +
           2 * residues * s.width;
}

// The loss gradient of each lane with respect to the tables [L, 2, P, H], the readout [L, H, C] and its bias [L, C].
//
// `tables` [L, 2, P, H] is what each residue gives to the hidden layer as first and as second operand, `pairs` [L, N, 2]
// the train pairs, `targets` [L, N] their classes. `readout`, `bias` and their gradients are `stride` floats apart from
// lane to lane. `normalize`, `inverse_tau`, `scale`, `smoothing` and `penalty` [L]: see `Loss`.
void mlp_gradient(int64_t lanes, int64_t rows, int64_t residues, int64_t units, int64_t classes, int64_t stride,
                  int32_t normalize, const float *tables, const float *readout, const float *bias, const int32_t *pairs,
                  const int32_t *targets, const float *inverse_tau, const float *scale, const float *smoothing,
                  const float *penalty, float *d_tables, float *d_readout, float *d_bias, float *scratch) {
    const Sizes s(units, classes);
    float *activation = scratch;
    float *slope = activation + TILE * s.width;
    float *logits = slope + TILE * s.width;
    float *sums = logits + TILE * s.columns;  // of the bias gradient
    float *kept = sums + s.columns;
    float *shift = kept + s.columns;  // the bias
    float *d_packed = shift + s.columns;  // the gradients of readout and tables with padded columns
    float *d_padded = d_packed + s.width * s.columns;
    float *for_logits = d_padded + 2 * residues * s.width;
    float *for_gradient = for_logits + s.units * s.columns;
    std::memset(activation, 0, sizeof(float) * 2 * TILE * s.width);  // columns past the last unit stay zero
    for (int64_t lane = 0; lane < lanes; ++lane) {
        const Loss loss = {normalize != 0, inverse_tau[lane], scale[lane], smoothing[lane], penalty[lane]};
        const float *first = tables + lane * 2 * residues * units;
        const float *second = first + residues * units;
        const float *weights = readout + lane * stride;
        std::memset(d_packed, 0, sizeof(float) * s.width * (s.columns + 2 * residues));
        std::memset(sums, 0, sizeof(float) * s.columns);
        pad(bias + lane * stride, s, loss.normalize ? NONE : 0.0f, shift);
        pack(s.units, s.columns, classes, for_logits, [&](int64_t k, int64_t c) { return weights[k * classes + c]; });
        pack(classes, s.width, s.units, for_gradient, [&](int64_t c, int64_t k) { return weights[k * classes + c]; });
        for (int64_t start = 0; start < rows; start += TILE) {
            const int64_t n = rows - start < TILE ? rows - start : TILE;
            const int32_t *pair = pairs + 2 * (lane * rows + start);
            for (int64_t i = 0; i < n; ++i) {
                activate<true>(first + pair[2 * i] * units, second + pair[2 * i + 1] * units, units,
                               activation + i * s.width, slope + i * s.width);
            }
            if (n < TILE) std::memset(activation + n * s.width, 0, sizeof(float) * (TILE - n) * s.width);
            tile_logits(activation, for_logits, s, n, logits);
            for (int64_t i = 0; i < n; ++i) {
                float *__restrict z = logits + i * s.columns;
                logit_gradient(z, shift, targets[lane * rows + start + i], s, loss, kept);
                for (int64_t c = 0; c < s.columns; ++c) sums[c] += z[c];
            }
            if (n < TILE) std::memset(logits + n * s.columns, 0, sizeof(float) * (TILE - n) * s.columns);
            add_readout_gradient(activation, logits, s, d_packed);
            add_table_gradient(logits, for_gradient, slope, pair, s, n, d_padded, d_padded + residues * s.width);
        }
        for (int64_t k = 0; k < units; ++k) {
            std::memcpy(d_readout + lane * stride + k * classes, d_packed + k * s.columns, sizeof(float) * classes);
        }
        for (int64_t k = 0; k < 2 * residues; ++k) {
            std::memcpy(d_tables + (lane * 2 * residues + k) * units, d_padded + k * s.width, sizeof(float) * units);
        }
        std::memcpy(d_bias + lane * stride, sums, sizeof(float) * classes);
    }
}

// What the readings need of all K = P * P pairs in the order a P + b, with x = (logit + bias) / tau.
//
// Readout and bias are `stride` and `bias_stride` floats apart from lane to lane. Of each pair, [L, 5, K]: the norm of
// x, its entry for the pair's class, the logarithms of the softmax's entry there and of the largest, and 1 where the
// class's logit is above all others, else 0. The mean square of the pre-activations, and the share of them beyond
// `limit`: [L] each.
void mlp_everywhere(int64_t lanes, int64_t residues, int64_t units, int64_t classes, int64_t stride,
                    int64_t bias_stride, float limit, const float *tables, const float *readout, const float *bias, const int32_t *targets,
                    const float *inverse_tau, float *of_pairs, double *mean_square, double *beyond, float *scratch) {
    const Sizes s(units, classes);
    float *activation = scratch;
    float *tile = activation + TILE * s.width;
    float *shift = tile + TILE * s.columns;
    float *outside = shift + s.columns;
    float *for_logits = outside + s.columns;
    const int64_t pairs = residues * residues;
    for (int64_t c = 0; c < s.columns; ++c) outside[c] = c < classes ? 0.0f : NONE;
    for (int64_t lane = 0; lane < lanes; ++lane) {
        const float *first = tables + lane * 2 * residues * units;
        const float *second = first + residues * units;
        float *norm = of_pairs + lane * 5 * pairs;
        float *of_class = norm + pairs;
        float *log_of_class = of_class + pairs;
        float *log_of_largest = log_of_class + pairs;
        float *ahead = log_of_largest + pairs;
        double squares = 0.0;
        int64_t n_beyond = 0;
        const float *weights = readout + lane * stride;
        pack(s.units, s.columns, classes, for_logits, [&](int64_t k, int64_t c) { return weights[k * classes + c]; });
        pad(bias + lane * bias_stride, s, 0.0f, shift);
        for (int64_t start = 0; start < pairs; start += TILE) {
            const int64_t n = pairs - start < TILE ? pairs - start : TILE;
            for (int64_t i = 0; i < n; ++i) {
                const float *a = first + (start + i) / residues * units;
                const float *b = second + (start + i) % residues * units;
                activate<false>(a, b, units, activation + i * s.width, nullptr);
                float sum = 0.0f;
                int32_t count = 0;
#pragma omp simd reduction(+ : sum, count)
                for (int64_t k = 0; k < units; ++k) {
                    const float square = (a[k] + b[k]) * (a[k] + b[k]);
                    sum += square;
                    count += square > limit * limit;
                }
                squares += sum;
                n_beyond += count;
            }
            tile_logits(activation, for_logits, s, n, tile);
            for (int64_t i = 0; i < n; ++i) {
                const int64_t pair = start + i;
                float *__restrict x = tile + i * s.columns;
                const float scale = inverse_tau[lane];
                const float logit = x[targets[pair]] + shift[targets[pair]];
                float top = -3.0e38f, square = 0.0f, total = 0.0f;
                int32_t reach = 0;  // classes whose logit is no less, its own among them
#pragma omp simd reduction(max : top) reduction(+ : square, reach)
                for (int64_t c = 0; c < s.columns; ++c) {
                    x[c] += shift[c];
                    reach += x[c] + outside[c] >= logit;
                    x[c] *= scale;
                    square += x[c] * x[c];
                    const float real = x[c] + outside[c];
                    top = real > top ? real : top;
                }
#pragma omp simd reduction(+ : total)
                for (int64_t c = 0; c < s.columns; ++c) total += exponential(x[c] + outside[c] - top);
                const float log_total = __builtin_logf(total);
                norm[pair] = __builtin_sqrtf(square);
                of_class[pair] = x[targets[pair]];
                log_of_class[pair] = (x[targets[pair]] - top) - log_total;
                log_of_largest[pair] = -log_total;
                ahead[pair] = reach == 1 ? 1.0f : 0.0f;
            }
        }
        mean_square[lane] = squares / static_cast<double>(pairs * units);
        beyond[lane] = static_cast<double>(n_beyond) / static_cast<double>(pairs * units);
    }
}

// Squared lengths, in float64, of what the last step did to n weights: [L, layers + 3] of each layer after it, of its
// gradient, of the change, and the product of the weights before it with the change. `ends` [layers] is where each
// layer ends. Lanes of `before` are n floats apart, those of `after` and `gradient` `stride`.
void step_lengths(int64_t lanes, int64_t n, int64_t stride, int64_t layers, const float *before, const float *after,
                  const float *gradient, const int64_t *ends, double *lengths) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
        const float *u = before + lane * n;
        const float *w = after + lane * stride;
        const float *g = gradient + lane * stride;
        double *out = lengths + lane * (layers + 3);
        double of_gradient = 0.0, of_change = 0.0, along = 0.0;
        for (int64_t layer = 0, k = 0; layer < layers; ++layer) {
            double of_layer = 0.0;
#pragma omp simd reduction(+ : of_layer, of_gradient, of_change, along)
            for (int64_t j = k; j < ends[layer]; ++j) {
                const double x = w[j], y = g[j], d = static_cast<double>(w[j] - u[j]);
                of_layer += x * x;
                of_gradient += y * y;
                of_change += d * d;
                along += u[j] * d;
            }
            k = ends[layer];
            out[layer] = of_layer;
        }
        out[layers] = of_gradient;
        out[layers + 1] = of_change;
        out[layers + 2] = along;
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
