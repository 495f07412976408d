/* Sums of powers of exp(i theta), and trigonometric polynomials, over columns of projections; x is (batch, N, M).

       sums:        C_k = sum_n cos(k theta_n),  S_k = sum_n sin(k theta_n),  theta = step x,  k = 1 .. order
       polynomial:  g_n = sum_k a_k sin(k theta_n) + b_k cos(k theta_n)

   One sine and cosine per element give z = exp(i theta). The degrees 0 .. order are covered by runs h - J .. h + J
   around centres h: four products of z^h and z^j serve the degrees h + j and h - j together, forward and backward,

       cos((h -+ j) theta) = cos(h theta) cos(j theta) +- sin(h theta) sin(j theta),   sin likewise,

   where a multiplication by z takes four for each degree. Up to order 16 there is one centre, J itself.
   z^h is found by squaring; the z^j are walked through by z^(j+1) = z^(j-1) + 2i sin(theta) z^j, half a multiplication,
   whose error grows like j^2 near theta = pi/2 and like j elsewhere, and J is 8 at most. Centres follow one another by
   multiplication, so that the error grows like order.
   Layout: slices contiguous, one vector of LANES slices per register, ROWS samples at a time, of which ABREAST go
   through the powers together, as many as fit the registers.
   Accumulated in REAL over at most FLUSH samples, in double beyond: the error does not grow with N.
   Build with -DREAL_IS_DOUBLE for double; never with -ffast-math, which breaks the reduction of the angle. */
#include "vectors.h"

#ifndef ABREAST
#if defined(__AVX512F__) || defined(__aarch64__)
#define ABREAST 4 /* of 32 registers */
#else
#define ABREAST 2 /* of 16 */
#endif
#endif
#define ROWS 8 /* so many samples at a time, enough to keep the processor busy while results are on their way */
#define VECTORS (256 / BYTES) /* per block of slices: enough for each page that is touched, few enough for the cache */
#define FLUSH 32
#define AHEAD 32 /* rows are pages apart, where the processor does not fetch ahead by itself */
#define LARGEST_REACH 8

#define UNROLLED _Pragma("GCC unroll 16")
#define ROLLED _Pragma("GCC unroll 1")
#define APART static __attribute__((noinline)) /* with all registers to itself */

#ifdef REAL_IS_DOUBLE
#define EXPONENT 0x7ff0000000000000
#else
#define EXPONENT 0x7f800000
#endif

static inline vec spread(real value) { return (vec){} + value; }

/* x h - q, rounded once, as the compiler joins product and difference; where the machine cannot, by hand. */
INLINE vec remainder_of(vec x, vec h, vec q) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return x * h - q;
#else
    for (int i = 0; i < LANES; i++) x[i] = (real)fma((double)x[i], (double)h[i], -(double)q[i]);
    return x;
#endif
}

INLINE vec load(const real *at, long lanes) {
    vec value = {};
    memcpy(&value, at, (size_t)(lanes < LANES ? lanes : LANES) * sizeof(real));
    return value;
}

typedef struct {
    double exact;  /* the step, for arguments too large to reduce in REAL */
    vec high, low; /* the step in half turns as a sum of two REAL */
} Step;

static Step make_step(double step) {
    const double half_turns = step * 0.31830988618379067154;
    const real high = (real)half_turns;
    return (Step){step, spread(high), spread((real)(half_turns - (double)high))};
}

typedef struct {
    vec c, s; /* cosine and sine */
} Point;

INLINE Point times(Point a, Point b) { return (Point){a.c * b.c - a.s * b.s, a.s * b.c + a.c * b.s}; }

INLINE Point squared(Point a) {
    const vec twice = a.s + a.s;
    return (Point){1 - twice * a.s, twice * a.c};
}

/* sin(pi r) = r (PI + z SINE(z)) and cos(pi r) = COSINE(z), z = r^2, PI as a sum of two REAL. Fitted by least squares on
   |r| <= 1/2, coefficient by coefficient, each rounded before the next; wrong by 7e-9 and 1e-9, in double by 1e-17. */
#ifdef REAL_IS_DOUBLE
#define PI_HIGH 3.141592653589793
static const real SINE[] = {1.2246467991473532e-16, -5.167712780049969,    2.5501640398772785,
                            -0.5992645293182733,    0.08214588656316088,   -0.007370430425570531,
                            0.0004662994539153268,  -2.190264089717686e-05, 7.689560510327468e-07};
static const real COSINE[] = {1.0,                   -4.934802200544677,      4.058712126416515,
                              -1.3352627688438132,   0.2353306301336207,      -0.02580688876382672,
                              0.0019295563752643647, -0.00010456676624595705, 4.149748447922132e-06};
#else
#define PI_HIGH 3.14159274f
static const real SINE[] = {-8.74227766e-8f, -5.16771078f, 2.55008745f, -0.598343909f, 0.0777508542f};
static const real COSINE[] = {1.0f, -4.93480206f, 4.05870628f, -1.33518004f, 0.234794363f, -0.0241726190f};
#endif
#define LENGTH(array) ((int)(sizeof(array) / sizeof(array[0])))

INLINE vec horner(const real *coefficients, int length, vec z) {
    vec value = spread(coefficients[length - 1]);
    UNROLLED for (int i = length - 2; i >= 0; i--) value = value * z + coefficients[i];
    return value;
}

/* z = exp(i step x) of ROWS samples: step x = pi (q + r), q an integer, |r| <= 1/2. */
APART void unit_points(Point *z, const real *x, long stride, const Step *step) {
    ivec changed = {};
    UNROLLED for (int row = 0; row < ROWS; row++) {
        vec at;
        memcpy(&at, x + row * stride, sizeof at);
        const vec shifted = at * step->high + ROUNDING;
        const ivec sign = (ivec)shifted << (8 * sizeof(real) - 1); /* of an odd q */
        const vec r = remainder_of(at, step->high, shifted - ROUNDING) + at * step->low;
        const vec square = r * r;
        z[row].s = (vec)((ivec)(r * PI_HIGH + r * horner(SINE, LENGTH(SINE), square)) ^ sign);
        z[row].c = (vec)((ivec)horner(COSINE, LENGTH(COSINE), square) ^ sign);
        changed |= (ivec)shifted ^ (ivec)spread(ROUNDING);
    }
    integer far = 0;
    for (int i = 0; i < LANES; i++) far |= changed[i];
    if (__builtin_expect(far & EXPONENT, 0)) /* an argument is too large to reduce, or not finite */
        for (int row = 0; row < ROWS; row++)
            for (int i = 0; i < LANES; i++) {
                z[row].c[i] = (real)cos((double)x[row * stride + i] * step->exact);
                z[row].s[i] = (real)sin((double)x[row * stride + i] * step->exact);
            }
}

/* How the degrees 0 .. order are covered: `centres` runs of 2 reach + 1 degrees, reach = 2^doublings. */
typedef struct {
    int order, centres, reach, doublings;
} Cover;

static Cover make_cover(int order) {
    int reach = 1, doublings = 0;
    for (; 2 * reach < order && reach < LARGEST_REACH; reach *= 2) doublings++;
    return (Cover){order, order / (2 * reach + 1) + 1, reach, doublings};
}

static int per_centre(Cover cover) { return 2 + 4 * cover.reach; }

/* h = z^(2^doublings), of ROWS samples. */
APART void first_centre(const Point *z, int doublings, Point *h) {
    ROLLED for (int r = 0; r < ROWS; r += ABREAST) {
        Point at[ABREAST];
        UNROLLED for (int i = 0; i < ABREAST; i++) at[i] = z[r + i];
        ROLLED for (int d = doublings; d; d--)
            UNROLLED for (int i = 0; i < ABREAST; i++) at[i] = squared(at[i]);
        UNROLLED for (int i = 0; i < ABREAST; i++) h[r + i] = at[i];
    }
}

/* h = z^(j + 2 reach + 1) from h = z^j. */
APART void next_centre(const Point *z, int doublings, Point *h) {
    Point jump[ROWS];
    first_centre(z, doublings + 1, jump);
    for (int r = 0; r < ROWS; r++) h[r] = times(h[r], times(jump[r], z[r]));
}

/* Two neighbouring powers of ABREAST samples. */
typedef struct {
    vec c[ABREAST], s[ABREAST];
} Power;

INLINE void start(const Point *z, Power *odd, Power *even, vec *twice) {
    UNROLLED for (int r = 0; r < ABREAST; r++) {
        odd->c[r] = z[r].c;
        odd->s[r] = z[r].s;
        even->c[r] = spread(1);
        even->s[r] = (vec){};
        twice[r] = z[r].s + z[r].s;
    }
}

/* From z^(j-1) to z^(j+1), in place. */
INLINE void advance(Power *before, const Power *at, const vec *twice) {
    UNROLLED for (int r = 0; r < ABREAST; r++) {
        before->c[r] -= twice[r] * at->s[r];
        before->s[r] += twice[r] * at->c[r];
    }
}

INLINE void add_products(const Point *h, const Power *z, vec *sums) {
    vec cc = sums[0], ss = sums[1], sc = sums[2], cs = sums[3];
    UNROLLED for (int r = 0; r < ABREAST; r++) {
        cc += h[r].c * z->c[r];
        ss += h[r].s * z->s[r];
        sc += h[r].s * z->c[r];
        cs += h[r].c * z->s[r];
    }
    sums[0] = cc;
    sums[1] = ss;
    sums[2] = sc;
    sums[3] = cs;
}

/* Adds ABREAST samples to the sums at one centre: of cosine, of sine, and of four products for each j. */
APART void add_centre(const Point *z, const Point *h, int reach, vec *sums) {
    vec c = h[0].c, s = h[0].s;
    UNROLLED for (int r = 1; r < ABREAST; r++) {
        c += h[r].c;
        s += h[r].s;
    }
    sums[0] += c;
    sums[1] += s;
    sums += 2;
    Power odd, even;
    vec twice[ABREAST];
    start(z, &odd, &even, twice);
    ROLLED for (int j = reach; j > 1; j -= 2, sums += 8) {
        add_products(h, &odd, sums);
        advance(&even, &odd, twice);
        add_products(h, &even, sums + 4);
        advance(&odd, &even, twice);
    }
    if (reach == 1) add_products(h, &odd, sums);
}

INLINE void add_terms(const vec *coefficients, const Power *z, vec *u, vec *v) {
    UNROLLED for (int r = 0; r < ABREAST; r++) {
        u[r] += coefficients[0] * z->c[r];
        v[r] += coefficients[2] * z->c[r];
        u[r] += coefficients[1] * z->s[r];
        v[r] += coefficients[3] * z->s[r];
    }
}

/* g, or what is added to it, = Re z^h (u + i v) at one centre, of ABREAST samples; coefficients as arranged below. */
APART void evaluate_centre(const Point *z, const Point *h, int reach, const vec *coefficients, real *g, long stride,
                           int add) {
    vec u[ABREAST], v[ABREAST];
    UNROLLED for (int r = 0; r < ABREAST; r++) {
        u[r] = coefficients[0];
        v[r] = coefficients[1];
    }
    coefficients += 2;
    Power odd, even;
    vec twice[ABREAST];
    start(z, &odd, &even, twice);
    ROLLED for (int j = reach; j > 1; j -= 2, coefficients += 8) {
        add_terms(coefficients, &odd, u, v);
        advance(&even, &odd, twice);
        add_terms(coefficients + 4, &even, u, v);
        advance(&odd, &even, twice);
    }
    if (reach == 1) add_terms(coefficients, &odd, u, v);
    UNROLLED for (int r = 0; r < ABREAST; r++) {
        vec value = u[r] * h[r].c - v[r] * h[r].s;
        if (add) value += load(g + r * stride, LANES);
        memcpy(g + r * stride, &value, sizeof value);
    }
}

/* Asks for the part of a block that lies AHEAD rows further on; an address beyond the end does no harm. */
static void fetch_ahead(const real *at, long stride, long vectors) {
    for (int r = 0; r < ROWS; r++)
        for (long v = 0; v < vectors; v++) __builtin_prefetch(at + (AHEAD + r) * stride + v * LANES);
}

/* Up to ROWS rows of up to LANES numbers, from one layout to another. */
static void copy_part(const real *from, long from_stride, real *to, long to_stride, long rows, long lanes) {
    for (long r = 0; r < rows; r++)
        memcpy(to + r * to_stride, from + r * from_stride, (size_t)(lanes < LANES ? lanes : LANES) * sizeof(real));
}

/* sums: (splits, 2, batch, order, M), C before S. Each split covers rows_per_split samples. Strides in elements. */
void cosine_sine_sums(const real *x, long batch, long n, long m, long batch_stride, long row_stride, double step_size,
                      int order, long splits, double *sums, int threads) {
    const Step step = make_step(step_size);
    const Cover cover = make_cover(order);
    const int accumulators = cover.centres * per_centre(cover);
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
                vec part[VECTORS][accumulators];
                double total[accumulators][width];
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
                            Point z[ROWS], h[ROWS];
                            if (rows == ROWS && lanes >= LANES)
                                unit_points(z, at + v * LANES, row_stride, &step);
                            else {
                                real padded[ROWS * LANES] = {};
                                copy_part(at + v * LANES, row_stride, padded, LANES, rows, lanes);
                                unit_points(z, padded, LANES, &step);
                            }
                            first_centre(z, cover.doublings, h);
                            for (int r = rows; r < ROWS; r++) h[r] = (Point){}; /* missing rows add nothing */
                            for (int centre = 0; centre < cover.centres; centre++) {
                                if (centre) next_centre(z, cover.doublings, h);
                                for (int r = 0; r < ROWS; r += ABREAST)
                                    add_centre(z + r, h + r, cover.reach, part[v] + centre * per_centre(cover));
                            }
                        }
                    }
                    for (long v = 0; v < vectors; v++)
                        for (int k = 0; k < accumulators; k++)
                            for (int i = 0; i < LANES; i++) total[k][v * LANES + i] += part[v][k][i];
                }
                const double(*from)[width] = total;
                double *cosines = sums + ((split * 2 * batch + b) * order - 1) * m + start; /* degree 0 is not kept */
                double *sines = cosines + batch * order * m;
                for (int h = cover.reach; from < total + accumulators; h += 2 * cover.reach + 1) {
                    if (h <= order)
                        for (long i = 0; i < end - start; i++) {
                            cosines[h * m + i] = from[0][i];
                            sines[h * m + i] = from[1][i];
                        }
                    from += 2;
                    for (int j = 1; j <= cover.reach; j++, from += 4)
                        for (int sign = -1; sign <= 1; sign += 2) {
                            const long degree = h + sign * j;
                            if (degree < 1 || degree > order) continue;
                            for (long i = 0; i < end - start; i++) {
                                cosines[degree * m + i] = from[0][i] - sign * from[1][i];
                                sines[degree * m + i] = from[2][i] + sign * from[3][i];
                            }
                        }
                }
            }
}

/* Distance of the sums (2, batch, order, M) from `centre`, per batch sum_k weight_k sum_m (C_km - centre_k)^2 + S_km^2,
   and, unless a is NULL, the coefficients -slope_k (C_km - centre_k) and slope_k S_km of its gradient's polynomial. */
void distance_and_slopes(const double *sums, long batch, long order, long m, const double *centre, const double *weight,
                         const double *slope, double *distance, real *a, real *b) {
    const double *cosines = sums, *sines = sums + batch * order * m;
    for (long i = 0; i < batch; i++) {
        distance[i] = 0;
        for (long k = 0; k < order; k++) {
            double squares[LANES] = {};
            long j = 0;
            for (; j + LANES <= m; j += LANES)
                for (int l = 0; l < LANES; l++) {
                    const double c = cosines[j + l] - centre[k], s = sines[j + l];
                    squares[l] += c * c + s * s;
                }
            for (; j < m; j++) squares[0] += (cosines[j] - centre[k]) * (cosines[j] - centre[k]) + sines[j] * sines[j];
            for (int l = 0; l < LANES; l++) distance[i] += weight[k] * squares[l];
            if (a)
                for (j = 0; j < m; j++) {
                    *a++ = (real)(-slope[k] * (cosines[j] - centre[k]));
                    *b++ = (real)(slope[k] * sines[j]);
                }
            cosines += m;
            sines += m;
        }
    }
}

/* Per centre h: b_h, -a_h, and per j the real and imaginary parts of p = w_(h+j) + w_(h-j) and q = w_(h+j) - w_(h-j)
   that multiply cosine and sine, where w = b - i a: sum_j w_(h+j) z^j + w_(h-j) z^-j = sum_j p_j cos + i q_j sin. */
static void arrange(const real *a, const real *b, long m, long lanes, Cover cover, vec *to) {
#define AT(array, k) ((k) < 1 || (k) > cover.order ? (vec){} : load(array + ((k) - 1) * m, lanes))
    for (int centre = 0, h = cover.reach; centre < cover.centres; centre++, h += 2 * cover.reach + 1) {
        *to++ = AT(b, h);
        *to++ = -AT(a, h);
        for (int j = 1; j <= cover.reach; j++) {
            *to++ = AT(b, h + j) + AT(b, h - j);
            *to++ = AT(a, h + j) - AT(a, h - j);
            *to++ = -AT(a, h + j) - AT(a, h - j);
            *to++ = AT(b, h + j) - AT(b, h - j);
        }
    }
#undef AT
}

/* a, b: (batch, order, M); g has the shape and the strides of x and may be x itself. */
void trigonometric_polynomial(const real *x, long batch, long n, long m, long batch_stride, long row_stride,
                              double step_size, int order, const real *a, const real *b, long splits, real *g,
                              int threads) {
    const Step step = make_step(step_size);
    const Cover cover = make_cover(order);
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
                vec coefficients[VECTORS][cover.centres * per_centre(cover)];
                for (long v = 0; v < vectors; v++) {
                    const long at = i * order * m + start + v * LANES;
                    arrange(a + at, b + at, m, end - start - v * LANES, cover, coefficients[v]);
                }
                for (long row = first; row < last; row += ROWS) {
                    const long at = i * batch_stride + row * row_stride + start;
                    const int rows = last - row < ROWS ? (int)(last - row) : ROWS;
                    fetch_ahead(x + at, row_stride, vectors);
                    for (long v = 0; v < vectors; v++) {
                        const long lanes = end - start - v * LANES;
                        real padded[ROWS * LANES];
                        Point z[ROWS], h[ROWS];
                        const int whole = rows == ROWS && lanes >= LANES;
                        const real *from = x + at + v * LANES;
                        real *to = whole ? g + at + v * LANES : padded;
                        const long stride = whole ? row_stride : LANES;
                        if (!whole) {
                            memset(padded, 0, sizeof padded);
                            copy_part(from, row_stride, padded, LANES, rows, lanes);
                        }
                        unit_points(z, whole ? from : padded, stride, &step);
                        first_centre(z, cover.doublings, h);
                        for (int centre = 0; centre < cover.centres; centre++) {
                            if (centre) next_centre(z, cover.doublings, h);
                            for (int r = 0; r < ROWS; r += ABREAST)
                                evaluate_centre(z + r, h + r, cover.reach, coefficients[v] + centre * per_centre(cover),
                                                to + r * stride, stride, centre);
                        }
                        if (!whole) copy_part(padded, LANES, g + at + v * LANES, row_stride, rows, lanes);
                    }
                }
            }
}
