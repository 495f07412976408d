/* Sums of powers of exp(i theta), and trigonometric polynomials, over columns of projections; x is (batch, N, M).

       sums:        C_k = sum_n cos(k theta_n),  S_k = sum_n sin(k theta_n),  theta = step x,  k = 1 .. order
       polynomial:  g_n = sum_k a_k sin(k theta_n) + b_k cos(k theta_n)

   One sine and cosine per element give z = exp(i theta). Beside the first degrees, 1 .. REACH, all lie in runs
   h - REACH .. h + REACH around centres h = RUN, 2 RUN, ..: four products of z^h and z^j serve the degrees h + j and
   h - j together, forward and backward,

       cos((h -+ j) theta) = cos(h theta) cos(j theta) +- sin(h theta) sin(j theta),   sin likewise,

   where a multiplication by z takes four for each degree. The powers up to z^RUN are made by half a multiplication each,
   z^(j+k) = z^(j-k) + 2i sin(k theta) z^j, in three steps: little error, and where the angle is small the sine's is
   small beside the sine. Centres follow one another by multiplication, so that the error grows like order.
   Layout: slices contiguous, one vector of LANES slices per register, and ROWS samples at a time through one short loop
   after another. Each loop has all registers to itself and little that waits for its own results; what one leaves for
   the next lies in the first-level cache.
   Accumulated in REAL over at most ROWS samples, in double beyond: the error does not grow with N.
   Build with -DREAL_IS_DOUBLE for double; never with -ffast-math, which breaks the reduction of the angle. */
#include "vectors.h"

#define REACH 3
#define RUN (2 * REACH + 1)
#define PER_CENTRE (2 + 4 * REACH)
#define ROWS 32
#define VECTORS (512 / BYTES) /* per block of slices: enough for each page that is touched, few enough for the cache */
#define WIDTH (VECTORS * LANES)
#define AHEAD 32 /* rows are pages apart, where the processor does not fetch ahead by itself */
#define LINE (64 / (long)sizeof(real)) /* of the cache */

#define UNROLLED _Pragma("GCC unroll 16")
#define ROLLED _Pragma("GCC unroll 1")
#define APART static __attribute__((noinline)) /* with all registers to itself */

/* Holds a value in a register for its next uses, where the compiler would read it again for each. */
#if defined(__AVX512F__) || (defined(__AVX__) && BYTES == 32) || (defined(__x86_64__) && BYTES == 16)
#define KEEP(value) __asm__("" : "+v"(value))
#elif defined(__aarch64__) && BYTES == 16
#define KEEP(value) __asm__("" : "+w"(value))
#else
#define KEEP(value)
#endif

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

/* z^(j+k) from z^(j-k), 2 sin(k theta) and z^j. */
INLINE Point beyond(Point before, vec twice, Point at) {
    return (Point){before.c - twice * at.s, before.s + twice * at.c};
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

/* z = exp(i step x) of up to ROWS samples, `apart` from one another: step x = pi (q + r), q an integer, |r| <= 1/2. */
APART void unit_points(const real *x, long stride, int rows, const Step *step, Point *z, int apart) {
    ivec changed = {}, sign[ROWS];
    vec r[ROWS];
    ROLLED for (int row = 0; row < rows; row++) {
        vec at;
        memcpy(&at, x + row * stride, sizeof at);
        const vec shifted = at * step->high + ROUNDING;
        r[row] = remainder_of(at, step->high, shifted - ROUNDING) + at * step->low;
        sign[row] = (ivec)shifted << (8 * sizeof(real) - 1); /* of an odd q */
        changed |= (ivec)shifted ^ (ivec)spread(ROUNDING);
    }
    ROLLED for (int row = 0; row < rows; row++) {
        const vec square = r[row] * r[row];
        z[row * apart].c = (vec)((ivec)horner(COSINE, LENGTH(COSINE), square) ^ sign[row]);
        z[row * apart].s = (vec)((ivec)(r[row] * PI_HIGH + r[row] * horner(SINE, LENGTH(SINE), square)) ^ sign[row]);
    }
    integer far = 0;
    for (int i = 0; i < LANES; i++) far |= changed[i];
    if (__builtin_expect(far & EXPONENT, 0)) /* an argument is too large to reduce, or not finite */
        for (int row = 0; row < rows; row++)
            for (int i = 0; i < LANES; i++) {
                z[row * apart].c[i] = (real)cos((double)x[row * stride + i] * step->exact);
                z[row * apart].s[i] = (real)sin((double)x[row * stride + i] * step->exact);
            }
}

/* So many that the degrees REACH + 1 .. order lie in their runs; at least one. */
static int centres_of(int order) { return order > REACH ? (order + REACH) / RUN : 1; }

typedef struct {
    Point low[REACH], run; /* z, z^2, z^3; z^7 */
} Powers;

INLINE Powers powers_of(Point z) {
    const vec twice = z.s + z.s;
    const Point two = {1 - twice * z.s, twice * z.c}, three = beyond(z, twice, two), four = beyond(two, twice, three);
    return (Powers){{z, two, three}, beyond(z, three.s + three.s, four)};
}

INLINE void add_to(double (*total)[WIDTH], const vec *sums, int count) {
    UNROLLED for (int k = 0; k < count; k++) for (int i = 0; i < LANES; i++) total[k][i] += sums[k][i];
}

/* Raises z to its powers, and adds up the first degrees and, at the end, z^RUN. */
APART void add_first(Point (*low)[REACH], int rows, Point *run, double (*total)[WIDTH]) {
    vec sums[2 * REACH + 2] = {};
    ROLLED for (int row = 0; row < rows; row++) {
        const Powers z = powers_of(low[row][0]);
        UNROLLED for (int j = 0; j < REACH; j++) {
            if (j) low[row][j] = z.low[j];
            sums[2 * j] += z.low[j].c;
            sums[2 * j + 1] += z.low[j].s;
        }
        run[row] = z.run;
        sums[2 * REACH] += z.run.c;
        sums[2 * REACH + 1] += z.run.s;
    }
    add_to(total, sums, 2 * REACH + 2);
}

/* h = `before` z^RUN, and its sums. */
APART void next_centre(const Point *before, const Point *run, int rows, Point *h, double (*total)[WIDTH]) {
    vec c = {}, s = {};
    ROLLED for (int row = 0; row < rows; row++) {
        const Point at = times(before[row], run[row]);
        h[row] = at;
        c += at.c;
        s += at.s;
    }
    add_to(total, (vec[]){c, s}, 2);
}

/* Adds up the four products at one centre, for each j. */
APART void add_products(Point (*low)[REACH], const Point *h, int rows, double (*total)[WIDTH]) {
    vec sums[4 * REACH] = {};
    ROLLED for (int row = 0; row < rows; row++) {
        const Point at = h[row];
        UNROLLED for (int j = 0; j < REACH; j++) {
            Point z = low[row][j];
            KEEP(z.c);
            KEEP(z.s);
            sums[4 * j] += at.c * z.c;
            sums[4 * j + 1] += at.s * z.s;
            sums[4 * j + 2] += at.s * z.c;
            sums[4 * j + 3] += at.c * z.s;
        }
    }
    add_to(total, sums, 4 * REACH);
}

/* g = sum over the first degrees, and over centres of Re z^h (u + i v); coefficients as arranged below. */
APART void evaluate(const Point *z, int rows, int centres, const vec *coefficients, real *g, long stride) {
    ROLLED for (int row = 0; row < rows; row++) {
        const Powers power = powers_of(z[row]);
        const vec *at = coefficients;
        vec value = {};
        UNROLLED for (int j = 0; j < REACH; j++, at += 2) {
            value += at[0] * power.low[j].c;
            value += at[1] * power.low[j].s;
        }
        Point h = power.run;
        ROLLED for (int left = centres; left; left--) {
            vec u = at[0], v = at[1];
            at += 2;
            UNROLLED for (int j = 0; j < REACH; j++, at += 4) {
                u += at[0] * power.low[j].c;
                v += at[2] * power.low[j].c;
                u += at[1] * power.low[j].s;
                v += at[3] * power.low[j].s;
            }
            value += u * h.c;
            value -= v * h.s;
            if (left > 1) h = times(h, power.run);
        }
        memcpy(g + row * stride, &value, sizeof value);
    }
}

/* Asks for the part of a block that lies AHEAD rows further on; an address beyond the end does no harm. */
static void fetch_ahead(const real *at, long stride, long width) {
    for (int r = 0; r < ROWS; r++)
        for (long i = 0; i < width; i += LINE) __builtin_prefetch(at + (AHEAD + r) * stride + i);
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
    const int centres = centres_of(order), accumulators = 2 * REACH + centres * PER_CENTRE;
    const long blocks = (m + WIDTH - 1) / WIDTH, rows_per_split = (n + splits - 1) / splits;
#pragma omp parallel for collapse(3) schedule(dynamic) num_threads(threads)
    for (long split = 0; split < splits; split++)
        for (long b = 0; b < batch; b++)
            for (long block = 0; block < blocks; block++) {
                const long first = split * rows_per_split;
                const long last = first + rows_per_split < n ? first + rows_per_split : n;
                const long start = block * WIDTH, end = start + WIDTH < m ? start + WIDTH : m;
                double total[accumulators][WIDTH];
                memset(total, 0, sizeof total);
                for (long row = first; row < last; row += ROWS) {
                    const real *at = x + b * batch_stride + row * row_stride + start;
                    const int rows = last - row < ROWS ? (int)(last - row) : ROWS;
                    fetch_ahead(at, row_stride, end - start);
                    for (long v = 0; v < end - start; v += LANES) {
                        Point low[ROWS][REACH], run[ROWS], h[ROWS];
                        if (end - start - v >= LANES)
                            unit_points(at + v, row_stride, rows, &step, low[0], REACH);
                        else {
                            real padded[ROWS * LANES] = {};
                            copy_part(at + v, row_stride, padded, LANES, rows, end - start - v);
                            unit_points(padded, LANES, rows, &step, low[0], REACH);
                        }
                        double(*to)[WIDTH] = (double(*)[WIDTH])(total[0] + v);
                        add_first(low, rows, run, to);
                        to += 2 * REACH;
                        add_products(low, run, rows, to + 2);
                        for (int centre = 1; centre < centres; centre++) {
                            to += PER_CENTRE;
                            next_centre(centre == 1 ? run : h, run, rows, h, to);
                            add_products(low, h, rows, to + 2);
                        }
                    }
                }
                const double(*from)[WIDTH] = total;
                double *cosines = sums + ((split * 2 * batch + b) * order - 1) * m + start; /* degree 0 is not kept */
                double *sines = cosines + batch * order * m;
                for (int j = 1; j <= REACH; j++, from += 2)
                    for (long i = 0; j <= order && i < end - start; i++) {
                        cosines[j * m + i] = from[0][i];
                        sines[j * m + i] = from[1][i];
                    }
                for (int h = RUN; from < total + accumulators; h += RUN) {
                    for (long i = 0; h <= order && i < end - start; i++) {
                        cosines[h * m + i] = from[0][i];
                        sines[h * m + i] = from[1][i];
                    }
                    from += 2;
                    for (int j = 1; j <= REACH; j++, from += 4)
                        for (int sign = -1; sign <= 1; sign += 2)
                            for (long i = 0, degree = h + sign * j; degree <= order && i < end - start; i++) {
                                cosines[degree * m + i] = from[0][i] - sign * from[1][i];
                                sines[degree * m + i] = from[2][i] + sign * from[3][i];
                            }
                }
            }
}

/* Distance of the sums (2, batch, order, M) over n samples from n target_k, per batch
   sum_k w_k sum_m (C_km - n target_k)^2 + S_km^2 with w_k = weight_k / (n slices), and, unless a is NULL, the coefficients
   -2 t_k w_k (C_km - n target_k) and 2 t_k w_k S_km of its gradient's polynomial, t_k = k step. */
void distance_and_slopes(const double *sums, long batch, long order, long m, double step, long n, long slices,
                         const double *target, const double *weight, double *distance, real *a, real *b) {
    const double *cosines = sums, *sines = sums + batch * order * m;
    for (long i = 0; i < batch; i++) {
        distance[i] = 0;
        for (long k = 0; k < order; k++) {
            const double centre = n * target[k], w = weight[k] / ((double)n * slices), slope = 2 * (k + 1) * step * w;
            double squares[LANES] = {};
            long j = 0;
            for (; j + LANES <= m; j += LANES)
                for (int l = 0; l < LANES; l++) {
                    const double c = cosines[j + l] - centre, s = sines[j + l];
                    squares[l] += c * c + s * s;
                }
            for (; j < m; j++) squares[0] += (cosines[j] - centre) * (cosines[j] - centre) + sines[j] * sines[j];
            for (int l = 0; l < LANES; l++) distance[i] += w * squares[l];
            if (a)
                for (j = 0; j < m; j++) {
                    *a++ = (real)(-slope * (cosines[j] - centre));
                    *b++ = (real)(slope * sines[j]);
                }
            cosines += m;
            sines += m;
        }
    }
}

/* Of each of the first degrees b and a. Per centre h: b_h, -a_h, and per j the real and imaginary parts of
   p = w_(h+j) + w_(h-j) and q = w_(h+j) - w_(h-j) that multiply cosine and sine, where w = b - i a:
   sum_j w_(h+j) z^j + w_(h-j) z^-j = sum_j p_j cos + i q_j sin. */
static void arrange(const real *a, const real *b, long m, long lanes, int order, vec *to) {
#define AT(array, k) ((k) > order ? (vec){} : load(array + ((k) - 1) * m, lanes))
    for (int j = 1; j <= REACH; j++) {
        *to++ = AT(b, j);
        *to++ = AT(a, j);
    }
    for (int h = RUN, left = centres_of(order); left; left--, h += RUN) {
        *to++ = AT(b, h);
        *to++ = -AT(a, h);
        for (int j = 1; j <= REACH; j++) {
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
    const int centres = centres_of(order);
    const long blocks = (m + WIDTH - 1) / WIDTH, rows_per_split = (n + splits - 1) / splits;
#pragma omp parallel for collapse(3) schedule(dynamic) num_threads(threads)
    for (long split = 0; split < splits; split++)
        for (long i = 0; i < batch; i++)
            for (long block = 0; block < blocks; block++) {
                const long first = split * rows_per_split;
                const long last = first + rows_per_split < n ? first + rows_per_split : n;
                const long start = block * WIDTH, end = start + WIDTH < m ? start + WIDTH : m;
                vec coefficients[VECTORS][2 * REACH + centres * PER_CENTRE];
                for (long v = 0; v * LANES < end - start; v++) {
                    const long at = i * order * m + start + v * LANES;
                    arrange(a + at, b + at, m, end - start - v * LANES, order, coefficients[v]);
                }
                for (long row = first; row < last; row += ROWS) {
                    const long at = i * batch_stride + row * row_stride + start;
                    const int rows = last - row < ROWS ? (int)(last - row) : ROWS;
                    fetch_ahead(x + at, row_stride, end - start);
                    for (long v = 0; v * LANES < end - start; v++) {
                        const long lanes = end - start - v * LANES;
                        const real *from = x + at + v * LANES;
                        real *to = g + at + v * LANES;
                        Point z[ROWS];
                        if (lanes >= LANES) {
                            unit_points(from, row_stride, rows, &step, z, 1);
                            evaluate(z, rows, centres, coefficients[v], to, row_stride);
                        } else {
                            real padded[ROWS * LANES] = {};
                            copy_part(from, row_stride, padded, LANES, rows, lanes);
                            unit_points(padded, LANES, rows, &step, z, 1);
                            evaluate(z, rows, centres, coefficients[v], padded, LANES);
                            copy_part(padded, LANES, to, row_stride, rows, lanes);
                        }
                    }
                }
            }
}
