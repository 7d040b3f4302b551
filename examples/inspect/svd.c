/*
 * svd.c - the singular values of a small matrix.
 */
#include "examples/inspect/observation.h"

#include <math.h>
#include <stdlib.h>

/* Turns the columns x and y, of n numbers, so that they are orthogonal. False: they were. */
static bool turn(double *x, double *y, int64_t n)
{
    double xx = 0, yy = 0, xy = 0;
    for (int64_t i = 0; i < n; i++) xx += x[i] * x[i], yy += y[i] * y[i], xy += x[i] * y[i];
    if (!(fabs(xy) > 4e-15 * sqrt(xx) * sqrt(yy))) return false;
    if (fmin(xx, yy) < 1e-32 * (double)n) return false; /* rounding of a largest entry of 1 */
    /* tan of the smaller of the two angles that make x'y zero */
    const double z = (yy - xx) / (2 * xy);
    const double tangent = copysign(1, z) / (fabs(z) + sqrt(1 + z * z));
    const double c = 1 / sqrt(1 + tangent * tangent), s = c * tangent;
    for (int64_t i = 0; i < n; i++) {
        const double a = x[i], b = y[i];
        x[i] = c * a - s * b;
        y[i] = s * a + c * b;
    }
    return true;
}

static int falling(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

void ob_singular(const double *M, int64_t rows, int64_t cols, double *sigma)
{
    /* The shorter side as vectors [m,n]: there are fewer pairs, and as many values as vectors. */
    const bool across = rows < cols;
    const int64_t m = across ? rows : cols, n = across ? cols : rows;
    double *a = ob_reals(m * n), most = 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            a[i * n + j] = across ? M[i * cols + j] : M[j * cols + i];
            most = fmax(most, fabs(a[i * n + j]));
        }
    /* To numbers of about 1, so that squares neither overflow nor vanish. */
    for (int64_t i = 0; most > 0 && i < m * n; i++) a[i] /= most;
    bool turned = most > 0;
    for (int sweep = 0; turned && sweep < 60; sweep++) {
        turned = false;
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = i + 1; j < m; j++) turned |= turn(a + i * n, a + j * n, n);
    }
    for (int64_t i = 0; i < m; i++) sigma[i] = most * ob_norm(a + i * n, n);
    qsort(sigma, (size_t)m, sizeof *sigma, falling);
    free(a);
}
