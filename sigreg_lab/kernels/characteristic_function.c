/* Sums of powers of exp(i theta), and trigonometric polynomials, over columns of projections; x is (batch, N, M).

       sums:        C_k = sum_n cos(k theta_n),  S_k = sum_n sin(k theta_n),  theta = step x,  k = 1 .. order
       polynomial:  g_n = sum_k a_k sin(k theta_n) + b_k cos(k theta_n)

   One sine and cosine per element; the powers follow by complex multiplication (forward) and Horner's rule
   (backward), whose error grows like order, where Chebyshev's and Clenshaw's recurrences grow like order^2; the
   multiplications they would save hide behind the memory traffic.
   Layout: slices contiguous, one vector of LANES slices per register, ROWS samples at a time.
   Accumulated in REAL over at most FLUSH samples, in double beyond: the error does not grow with N.
   theta is reduced to [-pi/4, pi/4] in three steps (Cody & Waite); polynomials for sine and cosine from Cephes (Moshier).
   Build with -DREAL_IS_DOUBLE for double; never with -ffast-math, which breaks the reduction. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX512F__) || defined(__FMA__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define ROWS 4
#define VECTORS 4 /* per block of slices: a row's loads cover whole pages of neighbouring cache lines */
#define FLUSH 256
#define AHEAD (4 * ROWS) /* rows are pages apart, where the processor does not fetch ahead by itself */

#ifdef REAL_IS_DOUBLE
typedef double real;
typedef int64_t integer;
#define LANES (BYTES / 8)
#define REDUCIBLE 1e5
#else
typedef float real;
typedef int32_t integer;
#define LANES (BYTES / 4)
#define REDUCIBLE 3e4f
#endif
typedef real vec __attribute__((vector_size(BYTES)));
typedef integer ivec __attribute__((vector_size(BYTES)));

/* a b + c with one rounding where the machine has it. */
static inline vec fused(vec a, vec b, vec c) {
#if defined(__AVX512F__) && defined(REAL_IS_DOUBLE)
    return (vec)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX512F__)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__) && defined(REAL_IS_DOUBLE)
    return (vec)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__FMA__)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

static inline vec spread(real value) { return (vec){} + value; }

typedef struct {
    double exact;      /* the step, for arguments too large to reduce in REAL */
    vec high, low;     /* the step as a sum of two REAL */
    vec quarter_turns; /* the step in units of pi/2 */
    vec limit;
} Step;

static Step make_step(double step) {
    real high = (real)step;
    return (Step){step, spread(high), spread((real)(step - (double)high)),
                  spread((real)(step * 0.63661977236758134308)), spread((real)(REDUCIBLE / fabs(step)))};
}

static inline void sine_cosine(vec x, const Step *step, vec *s, vec *c) {
#ifdef REAL_IS_DOUBLE
    const real magic = 6755399441055744.0;
    const real p1 = 1.57079625129699707031, p2 = 7.54978941586159635336e-8, p3 = 5.39030285815811905290e-15;
#else
    const real magic = 12582912.0f;
    const real p1 = 1.5703125f, p2 = 4.837512969970703125e-4f, p3 = 7.549789948768648e-8f;
#endif
    ivec outside = (x > step->limit) | (x < -step->limit) | (x != x);
    integer any = 0;
    for (int i = 0; i < LANES; i++) any |= outside[i];
    if (__builtin_expect(any != 0, 0)) {
        for (int i = 0; i < LANES; i++) {
            (*s)[i] = (real)sin((double)x[i] * step->exact);
            (*c)[i] = (real)cos((double)x[i] * step->exact);
        }
        return;
    }
    vec q = fused(x, step->quarter_turns, spread(magic));
    ivec n = (ivec)q;
    q -= magic;
    vec r = fused(x, step->high, -(q * p1)); /* q p1 is exact */
    r = fused(q, spread(-p2), r);
    r = fused(q, spread(-p3), r);
    r = fused(x, step->low, r);
    vec z = r * r;
#ifdef REAL_IS_DOUBLE
    vec ps = fused(z, spread(1.58962301576546568060e-10), spread(-2.50507477628578072866e-8));
    ps = fused(ps, z, spread(2.75573136213857245213e-6));
    ps = fused(ps, z, spread(-1.98412698295895385996e-4));
    ps = fused(ps, z, spread(8.33333333332211858878e-3));
    ps = fused(ps, z, spread(-1.66666666666666307295e-1));
    vec pc = fused(z, spread(-1.13585365213876817300e-11), spread(2.08757008419747316778e-9));
    pc = fused(pc, z, spread(-2.75573141792967388112e-7));
    pc = fused(pc, z, spread(2.48015872888517045348e-5));
    pc = fused(pc, z, spread(-1.38888888888730564116e-3));
    pc = fused(pc, z, spread(4.16666666666665929218e-2));
#else
    vec ps = fused(z, spread(-1.9515295891e-4f), spread(8.3321608736e-3f));
    ps = fused(ps, z, spread(-1.6666654611e-1f));
    vec pc = fused(z, spread(2.443315711809948e-5f), spread(-1.388731625493765e-3f));
    pc = fused(pc, z, spread(4.166664568298827e-2f));
#endif
    ps = fused(ps * z, r, r);
    pc = fused(pc, z * z, fused(z, spread(-0.5f), spread(1.0f)));
    ivec odd = (n & 1) != 0;
    const integer sign_bit = (integer)((uint64_t)1 << (8 * sizeof(real) - 1));
    ivec minus_s = ((n & 2) != 0) & sign_bit, minus_c = (((n + 1) & 2) != 0) & sign_bit;
    *s = (vec)((((ivec)pc & odd) | ((ivec)ps & ~odd)) ^ minus_s);
    *c = (vec)((((ivec)ps & odd) | ((ivec)pc & ~odd)) ^ minus_c);
}

static inline vec load(const real *at, long lanes) {
    vec v = {};
    memcpy(&v, at, lanes >= LANES ? sizeof v : (size_t)lanes * sizeof(real));
    return v;
}

/* Asks for the part of a block that lies AHEAD rows further on; an address beyond the end does no harm. */
static inline void fetch_ahead(const real *at, long stride, long vectors) {
    for (int r = 0; r < ROWS; r++)
        for (long v = 0; v < vectors; v++) __builtin_prefetch(at + (AHEAD + r) * stride + v * LANES);
}

static inline void store(real *at, vec v, long lanes) {
    memcpy(at, &v, lanes >= LANES ? sizeof v : (size_t)lanes * sizeof(real));
}

/* Adds rows x[0 .. rows) of one vector of slices to the accumulators; rows <= ROWS. */
static inline void add_rows(const real *x, long stride, int rows, long lanes, const Step *step, int order, vec *sums) {
    vec c1[ROWS], s1[ROWS], c[ROWS], s[ROWS];
    for (int r = 0; r < ROWS; r++) {
        c1[r] = s1[r] = (vec){}; /* a missing row stays 0 in every power */
        if (r < rows) sine_cosine(load(x + r * stride, lanes), step, &s1[r], &c1[r]);
        c[r] = c1[r];
        s[r] = s1[r];
    }
    for (int k = 0; k < order; k++) {
        sums[2 * k] += (c[0] + c[1]) + (c[2] + c[3]);
        sums[2 * k + 1] += (s[0] + s[1]) + (s[2] + s[3]);
        for (int r = 0; r < ROWS; r++) {
            vec next = fused(c[r], c1[r], -(s[r] * s1[r]));
            s[r] = fused(s[r], c1[r], c[r] * s1[r]);
            c[r] = next;
        }
    }
}

/* sums: (splits, 2, batch, order, M), C before S. Each split covers rows_per_split samples. Strides in elements. */
void cosine_sine_sums(const real *x, long batch, long n, long m, long batch_stride, long row_stride, double step_size,
                      int order, long splits, double *sums, int threads) {
    const Step step = make_step(step_size);
    const long width = VECTORS * LANES, blocks = (m + width - 1) / width;
    const long rows_per_split = (n + splits - 1) / splits;
#pragma omp parallel for collapse(3) schedule(dynamic) num_threads(threads)
    for (long split = 0; split < splits; split++)
        for (long b = 0; b < batch; b++)
            for (long block = 0; block < blocks; block++) {
                const long first = split * rows_per_split;
                const long last = first + rows_per_split < n ? first + rows_per_split : n;
                const long start = block * width, end = start + width < m ? start + width : m;
                const long vectors = (end - start + LANES - 1) / LANES;
                vec part[VECTORS][2 * order];
                double total[2 * order][width];
                memset(total, 0, sizeof total);
                for (long chunk = first; chunk < last; chunk += FLUSH) {
                    const long stop = chunk + FLUSH < last ? chunk + FLUSH : last;
                    memset(part, 0, sizeof part);
                    for (long row = chunk; row < stop; row += ROWS) {
                        const real *at = x + b * batch_stride + row * row_stride + start;
                        const int rows = stop - row < ROWS ? (int)(stop - row) : ROWS;
                        fetch_ahead(at, row_stride, vectors);
                        for (long v = 0; v < vectors; v++) {
                            const long lanes = end - start - v * LANES;
                            if (rows == ROWS && lanes >= LANES)
                                add_rows(at + v * LANES, row_stride, ROWS, LANES, &step, order, part[v]);
                            else
                                add_rows(at + v * LANES, row_stride, rows, lanes, &step, order, part[v]);
                        }
                    }
                    for (long v = 0; v < vectors; v++)
                        for (int k = 0; k < 2 * order; k++)
                            for (int i = 0; i < LANES; i++) total[k][v * LANES + i] += part[v][k][i];
                }
                for (int k = 0; k < order; k++)
                    for (int part_of = 0; part_of < 2; part_of++) {
                        double *to = sums + (((split * 2 + part_of) * batch + b) * order + k) * m + start;
                        memcpy(to, total[2 * k + part_of], (size_t)(end - start) * sizeof(double));
                    }
            }
}

static inline void evaluate_rows(const real *x, real *g, long stride, int rows, long lanes, const Step *step, int order,
                                 const vec *coefficients) {
    vec c[ROWS], s[ROWS], u[ROWS], v[ROWS];
    for (int r = 0; r < ROWS; r++) {
        c[r] = s[r] = (vec){};
        if (r < rows) sine_cosine(load(x + r * stride, lanes), step, &s[r], &c[r]);
        u[r] = v[r] = (vec){};
    }
    /* g = Re sum_k (b_k - i a_k) z^k, with u + i v = sum_k (b_k - i a_k) z^(k-1) */
    for (int k = order - 1; k >= 0; k--) {
        const vec minus_a = coefficients[2 * k], b = coefficients[2 * k + 1];
        for (int r = 0; r < ROWS; r++) {
            vec next = fused(u[r], c[r], fused(-v[r], s[r], b));
            v[r] = fused(v[r], c[r], fused(u[r], s[r], minus_a));
            u[r] = next;
        }
    }
    for (int r = 0; r < ROWS; r++)
        if (r < rows) store(g + r * stride, fused(u[r], c[r], -(v[r] * s[r])), lanes);
}

/* a, b: (batch, order, M); g has the shape and the strides of x and may be x itself. */
void trigonometric_polynomial(const real *x, long batch, long n, long m, long batch_stride, long row_stride,
                              double step_size, int order, const real *a, const real *b, long splits, real *g,
                              int threads) {
    const Step step = make_step(step_size);
    const long width = VECTORS * LANES, blocks = (m + width - 1) / width;
    const long rows_per_split = (n + splits - 1) / splits;
#pragma omp parallel for collapse(3) schedule(dynamic) num_threads(threads)
    for (long split = 0; split < splits; split++)
        for (long i = 0; i < batch; i++)
            for (long block = 0; block < blocks; block++) {
                const long first = split * rows_per_split;
                const long last = first + rows_per_split < n ? first + rows_per_split : n;
                const long start = block * width, end = start + width < m ? start + width : m;
                const long vectors = (end - start + LANES - 1) / LANES;
                vec coefficients[VECTORS][2 * order];
                for (long v = 0; v < vectors; v++)
                    for (int k = 0; k < order; k++) {
                        const long at = (i * order + k) * m + start + v * LANES, lanes = end - start - v * LANES;
                        coefficients[v][2 * k] = -load(a + at, lanes);
                        coefficients[v][2 * k + 1] = load(b + at, lanes);
                    }
                for (long row = first; row < last; row += ROWS) {
                    const long at = i * batch_stride + row * row_stride + start;
                    const int rows = last - row < ROWS ? (int)(last - row) : ROWS;
                    fetch_ahead(x + at, row_stride, vectors);
                    for (long v = 0; v < vectors; v++) {
                        const long lanes = end - start - v * LANES;
                        const real *from = x + at + v * LANES;
                        real *to = g + at + v * LANES;
                        if (rows == ROWS && lanes >= LANES)
                            evaluate_rows(from, to, row_stride, ROWS, LANES, &step, order, coefficients[v]);
                        else
                            evaluate_rows(from, to, row_stride, rows, lanes, &step, order, coefficients[v]);
                    }
                }
            }
}
