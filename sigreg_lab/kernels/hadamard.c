/* Rounds of sign flips and fast Hadamard transforms of rows, and the transposed map.

       forward:    out[row, b n + j] = scale (H D_R ... H D_1 x_row)_j          D_r = diag(signs[b, r])
       transposed: out[row, i] = scale sum_b (D_1 H ... D_R H g_row,b)_i

   One row at a time in the first-level cache, n a power of two and at least LANES. A round is two or three passes over
   the row: signs, strides below LANES by permutation of a register and strides up to RADIX registers in the first, RADIX
   registers far apart in each of the others. Additions follow one another as in the plain algorithm, stride by stride.
   Build with -DREAL_IS_DOUBLE for double. */
#include "vectors.h"

#define RADIX 8 /* registers in a butterfly; as many hold what is on its way */
#define UNROLLED _Pragma("GCC unroll 16")

INLINE vec permute(vec v, ivec from) {
#if defined(__clang__)
    vec w;
    for (int i = 0; i < LANES; i++) w[i] = v[from[i]];
    return w;
#else
    return __builtin_shuffle(v, from);
#endif
}

INLINE long least(long a, long b) { return a < b ? a : b; }

/* {F(0, h), F(1, h), ...}, one for each lane: written out, so that the compiler sees constants. */
#define TWO(F, i, h) F(i, h), F(i + 1, h)
#define FOUR(F, i, h) TWO(F, i, h), TWO(F, i + 2, h)
#define EIGHT(F, i, h) FOUR(F, i, h), FOUR(F, i + 4, h)
#if LANES == 16
#define EACH(F, h) {EIGHT(F, 0, h), EIGHT(F, 8, h)}
#elif LANES == 8
#define EACH(F, h) {EIGHT(F, 0, h)}
#elif LANES == 4
#define EACH(F, h) {FOUR(F, 0, h)}
#else
#define EACH(F, h) {TWO(F, 0, h)}
#endif
#define FROM(i, h) (i) ^ (h)
#define SIGN(i, h) (i) & (h) ? -1 : 1
#define STEP(v, h) (permute(v, (ivec)EACH(FROM, h)) + (v) * (vec)EACH(SIGN, h))

/* Among the lanes of a register, at stride h: lane i becomes v[i ^ h] + v[i], or v[i ^ h] - v[i] where i & h. */
INLINE vec within(vec v) {
    v = STEP(v, 1);
    if (LANES > 2) v = STEP(v, 2);
    if (LANES > 4) v = STEP(v, 4);
    if (LANES > 8) v = STEP(v, 8);
    return v;
}

/* Among `radix` registers, at strides 1, 2, 4. */
INLINE void butterfly(vec *v, int radix) {
    UNROLLED for (int h = 1; h < radix; h *= 2)
        UNROLLED for (int i = 0; i < radix; i++)
            if (!(i & h)) {
                const vec a = v[i], b = v[i + h];
                v[i] = a + b;
                v[i + h] = a - b;
            }
}

/* The first pass: flip if `signs`, strides within registers and up to `radix` of them. */
INLINE void near(vec *y, const real *signs, long vectors, int radix) {
    for (long i = 0; i < vectors; i += radix) {
        vec v[RADIX];
        UNROLLED for (int k = 0; k < radix; k++) {
            v[k] = y[i + k];
            if (signs) {
                vec s;
                memcpy(&s, signs + (i + k) * LANES, sizeof s);
                v[k] *= s;
            }
            v[k] = within(v[k]);
        }
        butterfly(v, radix);
        UNROLLED for (int k = 0; k < radix; k++) y[i + k] = v[k];
    }
}

/* Strides h to radix h / 2. */
INLINE void far(vec *y, long vectors, long h, int radix) {
    for (long i = 0; i < vectors; i += radix * h)
        for (long k = i; k < i + h; k++) {
            vec v[RADIX];
            UNROLLED for (int j = 0; j < radix; j++) v[j] = y[k + j * h];
            butterfly(v, radix);
            UNROLLED for (int j = 0; j < radix; j++) y[k + j * h] = v[j];
        }
}

/* y = H D y, without D if there are no signs. */
static void transform(vec *y, const real *signs, long vectors) {
    switch (least(vectors, RADIX)) {
    case 1: near(y, signs, vectors, 1); break;
    case 2: near(y, signs, vectors, 2); break;
    case 4: near(y, signs, vectors, 4); break;
    default: near(y, signs, vectors, RADIX);
    }
    for (long h = RADIX; h < vectors; h *= RADIX) switch (least(vectors / h, RADIX)) {
        case 2: far(y, vectors, h, 2); break;
        case 4: far(y, vectors, h, 4); break;
        default: far(y, vectors, h, RADIX);
        }
}

/* x: (rows, dim); signs: (blocks, rounds, n); out: (rows, num_slices). */
void hadamard_forward(const real *x, long rows, long dim, long n, const real *signs, long blocks, long rounds,
                      long num_slices, double scale, real *out, int threads) {
    const long vectors = n / LANES;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (long row = 0; row < rows; row++)
        for (long b = 0; b < blocks; b++) {
            vec y[vectors];
            memset((char *)y + dim * sizeof(real), 0, (size_t)(n - dim) * sizeof(real));
            memcpy(y, x + row * dim, (size_t)dim * sizeof(real));
            for (long r = 0; r < rounds; r++) transform(y, signs + (b * rounds + r) * n, vectors);
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
            const long given = least(n, num_slices - b * n);
            memset((char *)y + given * sizeof(real), 0, (size_t)(n - given) * sizeof(real));
            memcpy(y, g + row * num_slices + b * n, (size_t)given * sizeof(real));
            for (long r = rounds - 1; r >= 0; r--)
                transform(y, r + 1 < rounds ? signs + (b * rounds + r + 1) * n : NULL, vectors);
            for (long i = 0; i < vectors; i++) {
                vec s;
                memcpy(&s, signs + b * rounds * n + i * LANES, sizeof s);
                total[i] += y[i] * s;
            }
        }
        for (long i = 0; i < vectors; i++) total[i] *= (real)scale;
        memcpy(out + row * dim, total, (size_t)dim * sizeof(real));
    }
}
