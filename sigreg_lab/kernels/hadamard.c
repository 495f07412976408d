/* Rounds of sign flips and fast Hadamard transforms of rows, and the transposed map.

       forward:    out[row, b n + j] = scale (H D_R ... H D_1 x_row)_j          D_r = diag(signs[b, r])
       transposed: out[row, i] = scale sum_b (D_1 H ... D_R H g_row,b)_i

   One row at a time in the first-level cache, n a power of two and at least LANES: strides below LANES by
   permutation of a register, the others two at a time (radix 4), which halves the loads and stores.
   Build with -DREAL_IS_DOUBLE for double. */
#include "vectors.h"

INLINE vec permute(vec v, ivec from) {
#if defined(__clang__)
    vec w;
    for (int i = 0; i < LANES; i++) w[i] = v[from[i]];
    return w;
#else
    return __builtin_shuffle(v, from);
#endif
}

#define STRIDES_WITHIN 4 /* 1, 2, 4, 8, as far as they are below LANES */

INLINE void transform(vec *y, long vectors) {
    /* Among the lanes of a register, at stride h: lane i becomes v[i ^ h] + v[i], or v[i ^ h] - v[i] where i & h. */
    ivec from[STRIDES_WITHIN];
    vec sign[STRIDES_WITHIN];
    for (int s = 0; s < STRIDES_WITHIN; s++)
        for (int i = 0; i < LANES; i++) {
            from[s][i] = i ^ (1 << s);
            sign[s][i] = i & (1 << s) ? -1 : 1;
        }
    for (long i = 0; i < vectors; i++) {
        vec v = y[i];
        v = permute(v, from[0]) + v * sign[0];
        if (LANES > 2) v = permute(v, from[1]) + v * sign[1];
        if (LANES > 4) v = permute(v, from[2]) + v * sign[2];
        if (LANES > 8) v = permute(v, from[3]) + v * sign[3];
        y[i] = v;
    }
    long h = 1;
    for (; 4 * h <= vectors; h *= 4)
        for (long i = 0; i < vectors; i += 4 * h)
            for (long k = i; k < i + h; k++) {
                vec a = y[k] + y[k + h], b = y[k] - y[k + h];
                vec c = y[k + 2 * h] + y[k + 3 * h], d = y[k + 2 * h] - y[k + 3 * h];
                y[k] = a + c;
                y[k + h] = b + d;
                y[k + 2 * h] = a - c;
                y[k + 3 * h] = b - d;
            }
    if (h < vectors)
        for (long k = 0; k < h; k++) {
            vec a = y[k], b = y[k + h];
            y[k] = a + b;
            y[k + h] = a - b;
        }
}

INLINE void flip(vec *y, const real *signs, long vectors) {
    for (long i = 0; i < vectors; i++) {
        vec s;
        memcpy(&s, signs + i * LANES, sizeof s);
        y[i] *= s;
    }
}

INLINE long least(long a, long b) { return a < b ? a : b; }

/* x: (rows, dim); signs: (blocks, rounds, n); out: (rows, num_slices). */
void hadamard_forward(const real *x, long rows, long dim, long n, const real *signs, long blocks, long rounds,
                      long num_slices, double scale, real *out, int threads) {
    const long vectors = n / LANES;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (long row = 0; row < rows; row++)
        for (long b = 0; b < blocks; b++) {
            vec y[vectors];
            memset(y, 0, sizeof y);
            memcpy(y, x + row * dim, (size_t)dim * sizeof(real));
            for (long r = 0; r < rounds; r++) {
                flip(y, signs + (b * rounds + r) * n, vectors);
                transform(y, vectors);
            }
            for (long i = 0; i < vectors; i++) y[i] *= (real)scale;
            memcpy(out + row * num_slices + b * n, y, (size_t)least(n, num_slices - b * n) * sizeof(real));
        }
}

/* g: (rows, num_slices); out: (rows, dim). */
void hadamard_transposed(const real *g, long rows, long dim, long n, const real *signs, long blocks, long rounds,
                         long num_slices, double scale, real *out, int threads) {
    const long vectors = n / LANES;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < rows; row++) {
        vec total[vectors], y[vectors];
        memset(total, 0, sizeof total);
        for (long b = 0; b < blocks; b++) {
            memset(y, 0, sizeof y);
            memcpy(y, g + row * num_slices + b * n, (size_t)least(n, num_slices - b * n) * sizeof(real));
            for (long r = rounds - 1; r >= 0; r--) {
                transform(y, vectors);
                flip(y, signs + (b * rounds + r) * n, vectors);
            }
            for (long i = 0; i < vectors; i++) total[i] += y[i];
        }
        for (long i = 0; i < vectors; i++) total[i] *= (real)scale;
        memcpy(out + row * dim, total, (size_t)dim * sizeof(real));
    }
}
