/* Sums of a symmetric function over all ordered pairs of a sample's rows, j = k included; x is (batch, N, K), float64.

       g = x_j'x_k,   e = c g + s_j + s_k
       EXPONENTIAL   exp(e)                                  s, with e <= 700 for every pair
       GROWING       (a g + u_j + u_k) exp(e)                s, u
       COSINE        cos(c g) (u_j s_k + s_j u_k) / 2        s, u, with |c g| <= 1e5 for every pair
       CHEBYSHEV     sum_m a_m T_m(e / 2)                    s, with -2 <= e <= 2 but for rounding
       DISTANCE      |x_j - x_k|, from the differences: exactly 0 at ties

   s and u are numbers of a row, handed in as columns beside the K of x. Samples are packed into panels of LANES rows,
   column after column. A tile is one panel of rows against two of columns, both in the first-level cache: 2 LANES
   accumulators of the inner products, then the function on each, so that nothing is stored but the tile's sum. Only
   tiles on and above the diagonal are visited; GROUP panels of rows share a pass over the columns.
   The sum does not depend on the number of threads. */
#define REAL_IS_DOUBLE
#include "vectors.h"

#define GROUP 4

enum { EXPONENTIAL, GROWING, COSINE, CHEBYSHEV, DISTANCE };

typedef struct {
    int kind;
    long n, dim, height, panels; /* height: columns of x and beside it */
    double c, a;
    const double *coefficients;
    long degree;
} Job;

INLINE vec load(const double *at) {
    vec v;
    memcpy(&v, at, sizeof v);
    return v;
}

/* 2^n times a Taylor polynomial on [-log(2)/2, log(2)/2], to 2e-16; 0 below -708, NaN for NaN. */
INLINE vec exponential(vec x) {
    vec t = x * 1.44269504088896338700 + ROUNDING;
    vec n = t - ROUNDING;
    vec r = x - n * 6.93147180369123816490e-01; /* log 2 in two parts (Cephes); n times the first is exact */
    r = r - n * 1.90821492927058770002e-10;
    vec p = r * (1 / 479001600.0) + 1 / 39916800.0;
    p = p * r + 1 / 3628800.0;
    p = p * r + 1 / 362880.0;
    p = p * r + 1 / 40320.0;
    p = p * r + 1 / 5040.0;
    p = p * r + 1 / 720.0;
    p = p * r + 1 / 120.0;
    p = p * r + 1 / 24.0;
    p = p * r + 1 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    return (vec)(((ivec)p + ((ivec)t << 52)) & ~(ivec)(x < -708.0));
}

/* cos((n + 1/2) pi + r) = -(-1)^n sin r, a Taylor polynomial on [-pi/2, pi/2], to 3e-16. */
INLINE vec cosine(vec x) {
    vec t = (x * 0.31830988618379067154 - 0.5) + ROUNDING;
    vec h = t - ROUNDING + 0.5;
    vec r = x - h * 3.14159250259399414062; /* pi in three parts; h times the first is exact */
    r = r - h * 1.50995788317231926e-7;
    r = r - h * 1.07806057163162381e-14;
    vec z = r * r;
    vec p = z * (1 / 121645100408832000.0) - 1 / 355687428096000.0;
    p = p * z + 1 / 1307674368000.0;
    p = p * z - 1 / 6227020800.0;
    p = p * z + 1 / 39916800.0;
    p = p * z - 1 / 362880.0;
    p = p * z + 1 / 5040.0;
    p = p * z - 1 / 120.0;
    p = p * z + 1 / 6.0;
    p = p * z * r - r;
    return (vec)((ivec)p ^ ((ivec)t << 63));
}

/* Clenshaw's recurrence at e = 2 y, for a column of the tile at a time: LANES independent chains. */
INLINE void chebyshev(vec *e, const Job *job) {
    vec b[LANES], older[LANES];
    for (int r = 0; r < LANES; r++) b[r] = older[r] = (vec){};
    for (long m = job->degree; m > 0; m--)
        for (int r = 0; r < LANES; r++) {
            vec next = e[r] * b[r] + (job->coefficients[m] - older[r]);
            older[r] = b[r];
            b[r] = next;
        }
    for (int r = 0; r < LANES; r++) e[r] = 0.5 * (e[r] * b[r]) + (job->coefficients[0] - older[r]);
}

INLINE void square_roots(vec *e) {
    double values[LANES * LANES];
    memcpy(values, e, sizeof values);
    for (int i = 0; i < LANES * LANES; i++) values[i] = sqrt(values[i]);
    memcpy(e, values, sizeof values);
}

/* Sum over the panel's first ``valid`` rows of their values with each of ``width`` panels of columns: sums[width]. */
INLINE void tile(const Job *job, int kind, int width, const double *rows, const double *columns, long valid,
                 vec *sums) {
    const long dim = job->dim, panel = job->height * LANES;
    vec value[2][LANES];
    for (int q = 0; q < width; q++)
        for (int r = 0; r < LANES; r++) value[q][r] = (vec){};
    for (long d = 0; d < dim; d++) {
        vec column[2];
        for (int q = 0; q < width; q++) column[q] = load(columns + q * panel + d * LANES);
        for (int r = 0; r < LANES; r++) {
            const double row = rows[d * LANES + r];
            for (int q = 0; q < width; q++) {
                if (kind == DISTANCE) {
                    vec difference = column[q] - row;
                    value[q][r] += difference * difference;
                } else {
                    value[q][r] += column[q] * row;
                }
            }
        }
    }
    const double *row_s = rows + dim * LANES, *row_u = row_s + LANES;
    for (int q = 0; q < width; q++) {
        vec s = {}, u = {};
        if (kind != DISTANCE) s = load(columns + q * panel + dim * LANES);
        if (kind == GROWING || kind == COSINE) u = load(columns + q * panel + (dim + 1) * LANES);
        if (kind == DISTANCE) square_roots(value[q]);
        for (int r = 0; r < LANES; r++) {
            const vec g = value[q][r];
            if (kind == EXPONENTIAL) value[q][r] = exponential(g * job->c + (s + row_s[r]));
            if (kind == GROWING)
                value[q][r] = exponential(g * job->c + (s + row_s[r])) * (g * job->a + (u + row_u[r]));
            if (kind == COSINE) value[q][r] = cosine(g * job->c) * (s * row_u[r] + u * row_s[r]) * 0.5;
            if (kind == CHEBYSHEV) value[q][r] = g * job->c + (s + row_s[r]);
        }
        if (kind == CHEBYSHEV) chebyshev(value[q], job);
        sums[q] = (vec){};
        for (int r = 0; r < LANES; r++)
            if (r < valid) sums[q] += value[q][r];
    }
}

/* All pairs whose first member lies in one of GROUP panels from ``first`` on, and whose second not before it. */
INLINE double group_sum(const Job *job, int kind, const double *panels, long first) {
    const long panel = job->height * LANES, count = job->panels, behind = job->n - (count - 1) * LANES;
    const long last = first + GROUP < count ? first + GROUP : count;
    vec total = {};
    for (long q = first; q < count; q += 2)
        for (long p = first; p < last; p++) {
            const long start = q < p ? p : q, end = q + 2 < count ? q + 2 : count;
            const long valid = p + 1 < count ? LANES : behind;
            vec sums[2];
            if (end - start == 2)
                tile(job, kind, 2, panels + p * panel, panels + start * panel, valid, sums);
            else if (end - start == 1)
                tile(job, kind, 1, panels + p * panel, panels + start * panel, valid, sums);
            for (long i = start; i < end; i++) {
                vec sum = sums[i - start];
                if (i == count - 1)
                    for (int lane = 0; lane < LANES; lane++)
                        if (lane >= behind) sum[lane] = 0;
                total += i == p ? sum : sum + sum;
            }
        }
    double result = 0;
    for (int lane = 0; lane < LANES; lane++) result += total[lane];
    return result;
}

static double exponential_group(const Job *job, const double *panels, long first) {
    return group_sum(job, EXPONENTIAL, panels, first);
}
static double growing_group(const Job *job, const double *panels, long first) {
    return group_sum(job, GROWING, panels, first);
}
static double cosine_group(const Job *job, const double *panels, long first) {
    return group_sum(job, COSINE, panels, first);
}
static double chebyshev_group(const Job *job, const double *panels, long first) {
    return group_sum(job, CHEBYSHEV, panels, first);
}
static double distance_group(const Job *job, const double *panels, long first) {
    return group_sum(job, DISTANCE, panels, first);
}

/* x: (batch, n, dim); beside: (batch, columns, n), the s and u that the kind takes; coefficients: (degree + 1,), for
   CHEBYSHEV; scratch: batch (dim + columns + 1) (n + 7) numbers; sums: (batch,). */
void pair_sums(const double *x, long batch, long n, long dim, const double *beside, long columns, int kind, double c,
               double a, const double *coefficients, long degree, double *scratch, double *sums, int threads) {
    double (*const group_of_kind[])(const Job *, const double *, long) = {
        exponential_group, growing_group, cosine_group, chebyshev_group, distance_group};
    const Job job = {kind, n, dim, dim + columns, (n + LANES - 1) / LANES, c, a, coefficients, degree};
    const long sample = job.panels * job.height * LANES, groups = (job.panels + GROUP - 1) / GROUP;
    double *parts = scratch + batch * sample;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long i = 0; i < batch; i++)
        for (long row = 0; row < job.panels * LANES; row++) {
            double *to = scratch + i * sample + row / LANES * job.height * LANES + row % LANES;
            for (long d = 0; d < dim; d++) to[d * LANES] = row < n ? x[(i * n + row) * dim + d] : 0;
            for (long d = 0; d < columns; d++)
                to[(dim + d) * LANES] = row < n ? beside[(i * columns + d) * n + row] : 0;
        }
#pragma omp parallel for schedule(dynamic, 4) num_threads(threads)
    for (long task = 0; task < batch * groups; task++)
        parts[task] = group_of_kind[kind](&job, scratch + task / groups * sample, task % groups * GROUP);
    for (long i = 0; i < batch; i++) {
        sums[i] = 0;
        for (long group = 0; group < groups; group++) sums[i] += parts[i * groups + group];
    }
}
