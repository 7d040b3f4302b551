/*
 * 01_grad.c - computes one gradient in three ways: by a formula, by the tape, and by finite
 * differences.
 *
 * The loss is the mean squared error of a linear model,
 *
 *     L(w) = 1/n sum_i (x_i w - y_i)^2        dw = 2/n x^T (x w - y)
 */
#include <palimpsest.h>
#include <math.h>

enum { N = 4, D = 3 };
static double x[N][D] = {{1, 2, 0}, {0, 1, -1}, {2, 0, 1}, {-1, 1, 3}};
static double y[N][1] = {{1}, {-2}, {0.5}, {3}};
static double w[D][1] = {{0.5}, {-0.25}, {1}};

static void gradient_on_paper(double dw[D])
{
    for (int j = 0; j < D; j++) dw[j] = 0;
    for (int i = 0; i < N; i++) {
        double error = -y[i][0];
        for (int j = 0; j < D; j++) error += x[i][j] * w[j][0];
        for (int j = 0; j < D; j++) dw[j] += 2.0 / N * x[i][j] * error;
    }
}

/* The same loss as tensors, of w [D,1], x [N,D] and y [N,1]. */
static pal_tensor squared_error(pal_tensor weight, pal_tensor input, pal_tensor target)
{
    pal_tensor error = pal_sub(pal_matmul(input, weight), target);
    return pal_mean(pal_square(error), PAL_ALL, false);
}

static void for_gradcheck(void *context, const pal_tensor *in, pal_tensor *out)
{
    (void)context;
    out[0] = squared_error(in[0], in[1], in[2]);
}

int main(void)
{
    double paper[D], worst = 0;
    gradient_on_paper(paper);

    /* The tape records the operations; pal_backward goes through the record in reverse. */
    pal_tape *tape = pal_tape_new();
    pal_tensor weight = pal_want_grad(pal_from(tape, PAL_F64, PAL_SHAPE(D, 1), w));
    pal_tensor loss = squared_error(weight, pal_from(tape, PAL_F64, PAL_SHAPE(N, D), x),
                                    pal_from(tape, PAL_F64, PAL_SHAPE(N, 1), y));
    pal_tape_print(tape, stdout);
    pal_backward(loss);
    const double *dw = pal_f64(pal_grad(weight));
    printf("loss %.6f\n%12s %12s\n", pal_item(loss), "on paper", "by the tape");
    for (int j = 0; j < D; j++) {
        printf("%12.6f %12.6f\n", paper[j], dw[j]);
        const double error = fabs(paper[j] - dw[j]);
        if (!(error <= worst)) worst = isnan(error) ? INFINITY : error; /* NaN counts too */
    }
    pal_tape_free(tape);

    /* Finite differences need no derivative, so they can check an operation that you do not trust
     * yet. */
    const pal_array inputs[] = {pal_array_of(PAL_F64, PAL_SHAPE(D, 1), w),
                                pal_array_of(PAL_F64, PAL_SHAPE(N, D), x),
                                pal_array_of(PAL_F64, PAL_SHAPE(N, 1), y)};
    pal_gradcheck_opts opts = {0};
    pal_error error;
    bool agree = pal_gradcheck(for_gradcheck, NULL, 3, inputs, 1, &opts, &error);
    if (agree)
        printf("finite differences agree: %lld comparisons, worst relative error %.1e\n",
               (long long)opts.compared, opts.worst);
    else
        printf("finite differences disagree: %s\n", error.message);
    return agree && worst <= 1e-12 ? 0 : 1;
}
