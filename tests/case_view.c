/*
 * case_view.c - views: the elements that they show, and gradients through several views of the same
 * memory.
 */
#include "tests/support/case.h"

/* Marks each element by position; the gradient of a product of views is theirs. */
static double x_at(const pal_array *x, int64_t i) { return ((const double *)x->data)[i]; }
static double *y_of(const pal_array *y) { return y->data; }

/* ---- reshape ---- */

static void reshape_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    out[0] = pal_reshape(in[0], PAL_SHAPE(2, -1, 3));                /* [4,3,2] -> [2,4,3] */
    out[1] = pal_reshape(pal_transpose(in[0], 0, 2), PAL_SHAPE(24)); /* this one has to copy */
}

static void reshape_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    (void)v;
    pal_ref_shape(&out[0], PAL_SHAPE(2, 4, 3));
    pal_ref_shape(&out[1], PAL_SHAPE(24));
    for (int64_t i = 0; i < 24; i++) y_of(&out[0])[i] = x_at(&in[0], i);
    for (int64_t a = 0; a < 4; a++)
        for (int64_t b = 0; b < 3; b++)
            for (int64_t c = 0; c < 2; c++)
                y_of(&out[1])[(c * 3 + b) * 4 + a] = x_at(&in[0], (a * 3 + b) * 2 + c);
}

/* ---- permute, transpose ---- */

static void permute_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    out[0] = pal_permute(in[0], (const int[]){2, 0, -2});
    out[1] = pal_transpose(in[0], -1, 0);
}

static void permute_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    (void)v;
    int64_t n = in[0].shape[0], m = in[0].shape[1], k = in[0].shape[2];
    pal_ref_shape(&out[0], PAL_SHAPE(k, n, m));
    pal_ref_shape(&out[1], PAL_SHAPE(k, m, n));
    for (int64_t a = 0; a < n; a++)
        for (int64_t b = 0; b < m; b++)
            for (int64_t c = 0; c < k; c++) {
                double x = x_at(&in[0], (a * m + b) * k + c);
                y_of(&out[0])[(c * n + a) * m + b] = x;
                y_of(&out[1])[(c * m + b) * n + a] = x;
            }
}

/* ---- slice, select ---- */

static void slice_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    out[0] = pal_slice(in[0], 1, 1, 100, 3);  /* columns 1, 4, 7 of 9: the stop is clamped */
    out[1] = pal_slice(in[0], -2, -2, -1, 1); /* the row before the last */
    out[2] = pal_slice(in[0], 0, 3, 2, 1);    /* an empty slice */
    out[3] = pal_select(in[0], 1, -4);        /* column 5 */
}

static void slice_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    (void)v;
    int64_t n = in[0].shape[0];
    pal_ref_shape(&out[0], PAL_SHAPE(n, 3));
    pal_ref_shape(&out[1], PAL_SHAPE(1, 9));
    pal_ref_shape(&out[2], PAL_SHAPE(0, 9));
    pal_ref_shape(&out[3], PAL_SHAPE(n));
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < 3; j++) y_of(&out[0])[i * 3 + j] = x_at(&in[0], i * 9 + 1 + 3 * j);
        y_of(&out[3])[i] = x_at(&in[0], i * 9 + 5);
    }
    for (int64_t j = 0; j < 9; j++) y_of(&out[1])[j] = x_at(&in[0], (n - 2) * 9 + j);
}

/* ---- squeeze, unsqueeze, split ---- */

static void axes_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    pal_tensor part[3];
    out[0] = pal_squeeze(in[0], 1);    /* [5,1,4] -> [5,4] */
    out[1] = pal_unsqueeze(in[0], -1); /* [5,1,4,1] */
    pal_split(out[0], 0, 3, (const int64_t[]){2, 0, 3}, part);
    out[2] = pal_unsqueeze(part[2], 0); /* [1,3,4] */
    out[3] = part[1];                   /* [0,4] */
}

static void axes_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    (void)v;
    pal_ref_shape(&out[0], PAL_SHAPE(5, 4));
    pal_ref_shape(&out[1], PAL_SHAPE(5, 1, 4, 1));
    pal_ref_shape(&out[2], PAL_SHAPE(1, 3, 4));
    pal_ref_shape(&out[3], PAL_SHAPE(0, 4));
    for (int64_t i = 0; i < 20; i++) y_of(&out[0])[i] = y_of(&out[1])[i] = x_at(&in[0], i);
    for (int64_t i = 0; i < 12; i++) y_of(&out[2])[i] = x_at(&in[0], 8 + i);
}

/* ---- Overlapping uses ---- */

/* y[i] = x[i] x[i + 1] + x[n - 2]: every entry is read through several views at once. */
static void overlap_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    (void)v;
    pal_tensor x = pal_mul(in[0], in[0]); /* the base of the views is not a leaf */
    pal_tensor low = pal_slice(x, 0, 0, -1, 1), high = pal_slice(x, 0, 1, INT64_MAX, 1);
    out[0] = pal_add(pal_mul(low, high), pal_select(x, 0, -2));
}

static void overlap_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    (void)v;
    int64_t n = in[0].shape[0];
    pal_ref_shape(out, PAL_SHAPE(n - 1));
    for (int64_t i = 0; i + 1 < n; i++) {
        double a = x_at(&in[0], i), b = x_at(&in[0], i + 1), c = x_at(&in[0], n - 2);
        y_of(out)[i] = a * a * b * b + c * c;
    }
}

/* ---- i64 and eight axes ---- */

static void same_build(const pal_variant *v, const pal_tensor *in, pal_tensor *out)
{
    int ndim = v->in[0].shape.ndim, axes[PAL_MAX_DIMS];
    for (int i = 0; i < ndim; i++) axes[i] = ndim - 1 - i;
    pal_tensor there = pal_permute(in[0], axes);
    out[0] = pal_permute(there, axes); /* and back */
}

static void same_reference(const pal_variant *v, const pal_array *in, const pal_array *out)
{
    pal_ref_shape(out, v->in[0].shape);
    for (int64_t i = 0; i < pal_array_count(out); i++) y_of(out)[i] = pal_ref_get(&in[0], i);
}

static const pal_variant variants[] = {
    {.name = "reshape",
     .nin = 1,
     .nout = 2,
     .in = {{.shape = PAL_DIMS(4, 3, 2)}},
     .build = reshape_build,
     .reference = reshape_reference},
    {.name = "permute and transpose",
     .nin = 1,
     .nout = 2,
     .in = {{.shape = PAL_DIMS(3, 4, 5)}},
     .build = permute_build,
     .reference = permute_reference},
    {.name = "permute with an empty axis",
     .nin = 1,
     .nout = 2,
     .in = {{.shape = PAL_DIMS(3, 0, 5)}},
     .build = permute_build,
     .reference = permute_reference},
    {.name = "slice and select",
     .nin = 1,
     .nout = 4,
     .in = {{.shape = PAL_DIMS(6, 9)}},
     .build = slice_build,
     .reference = slice_reference},
    {.name = "squeeze, unsqueeze and split",
     .nin = 1,
     .nout = 4,
     .in = {{.shape = PAL_DIMS(5, 1, 4)}},
     .build = axes_build,
     .reference = axes_reference},
    {.name = "overlapping uses",
     .nin = 1,
     .nout = 1,
     .in = {{.shape = PAL_DIMS(11)}},
     .build = overlap_build,
     .reference = overlap_reference},
    {.name = "large overlapping uses",
     .nin = 1,
     .nout = 1,
     .in = {{.shape = PAL_DIMS(70001)}},
     .build = overlap_build,
     .reference = overlap_reference},
    {.name = "eight axes",
     .nin = 1,
     .nout = 1,
     .in = {{.shape = PAL_DIMS(2, 1, 3, 2, 1, 2, 2, 3)}},
     .build = same_build,
     .reference = same_reference},
    {.name = "scalar",
     .nin = 1,
     .nout = 1,
     .in = {{.low = 1, .high = 2}},
     .build = same_build,
     .reference = same_reference},
    {.name = "i64",
     .nin = 1,
     .nout = 1,
     .in = {{.shape = PAL_DIMS(4, 3), .integer = true, .low = -9, .high = 9}},
     .build = same_build,
     .reference = same_reference},
};

const pal_case pal_case_view = {
    .name = "view", .count = sizeof variants / sizeof variants[0], .variants = variants};
