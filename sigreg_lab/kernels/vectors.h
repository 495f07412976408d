/* Vectors of the width of the processor's registers. Build with -DREAL_IS_DOUBLE for double. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef BYTES
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#endif

#ifdef REAL_IS_DOUBLE
typedef double real;
typedef int64_t integer;
#define LANES (BYTES / 8)
#define ROUNDING 6755399441055744.0 /* 1.5 2^52: added, it rounds to an integer, held by the last bits of the sum */
#else
typedef float real;
typedef int32_t integer;
#define LANES (BYTES / 4)
#define ROUNDING 12582912.0f /* 1.5 2^23 */
#endif
typedef real vec __attribute__((vector_size(BYTES)));
typedef integer ivec __attribute__((vector_size(BYTES)));

#define INLINE static inline __attribute__((always_inline))
