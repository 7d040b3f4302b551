/*
 * kernels.c - a kernel of the library in a program that has tensors of its own.
 *
 * Nothing else of the library is used: no tape, no tensor, no parameters. The program asks how much
 * memory a call needs, gives it, and gets numbers back. It reads a sequence by Gated DeltaNet, all
 * at once and then token by token with the state replaced in place, and compares a gradient with a
 * difference quotient.
 */
#include "layers/kernel.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { T = 40, H = 2, K = 16, V = 8 };

/* Memory of the program: numbers, and how they lie. */
static double q[T][H][K], k[T][H][K], v[T][H][V], g[T][H], beta[T][H];
static double o[T][H][V], state[H][K][V], wish[T][H][V], dq[T][H][K];

static int failed(const char *what, const pal_error *error)
{
    fprintf(stderr, "%s: %s\n", what, error->message);
    return 1;
}

/* Numbers between low and high. */
static void draw(double *x, int n, double low, double high)
{
    for (int i = 0; i < n; i++) x[i] = low + (high - low) * rand() / RAND_MAX;
}

/* sum o * wish: what the gradient is of. */
static double loss(void)
{
    double sum = 0;
    for (int i = 0; i < T * H * V; i++) sum += (&o[0][0][0])[i] * (&wish[0][0][0])[i];
    return sum;
}

/* Views of that memory, [B,T,H,..]. Strides may be any; these are contiguous. */
static pal_array Q, Key, Val, G, Beta, O, dO, dQ, S;
static pal_array *const by_token[] = {&Q, &Key, &Val, &G, &Beta};

static void make_problem(void)
{
    draw(&q[0][0][0], T * H * K, -1, 1);
    draw(&k[0][0][0], T * H * K, -1, 1);
    draw(&v[0][0][0], T * H * V, -1, 1);
    draw(&g[0][0], T * H, -0.3, 0);
    draw(&beta[0][0], T * H, 0, 1);
    draw(&wish[0][0][0], T * H * V, -1, 1);
    Q = pal_array_of(PAL_F64, PAL_SHAPE(1, T, H, K), q);
    Key = pal_array_of(PAL_F64, PAL_SHAPE(1, T, H, K), k);
    Val = pal_array_of(PAL_F64, PAL_SHAPE(1, T, H, V), v);
    G = pal_array_of(PAL_F64, PAL_SHAPE(1, T, H), g);
    Beta = pal_array_of(PAL_F64, PAL_SHAPE(1, T, H), beta);
    O = pal_array_of(PAL_F64, PAL_SHAPE(1, T, H, V), o);
    dO = pal_array_of(PAL_F64, PAL_SHAPE(1, T, H, V), wish);
    dQ = pal_array_of(PAL_F64, PAL_SHAPE(1, T, H, K), dq);
    S = pal_array_of(PAL_F64, PAL_SHAPE(1, H, K, V), state);
}

static const pal_kernel *gdn;
static pal_kernel_call call = {.in = {&Q, &Key, &Val, &G, &Beta}, .opts.normalize = true};

/* Forward that keeps, and backward for the gradient of q alone. */
static pal_status forward_and_backward(pal_error *error)
{
    pal_kernel_sizes size;
    call.threads = 2;
    pal_status status = pal_kernel_measure(gdn, &call, &size, error);
    if (status != PAL_OK) return status;
    const size_t most = size.forward > size.backward ? size.forward : size.backward;
    printf("%d tokens, %d heads of %d x %d: keeps %zu KiB\n", T, H, K, V, size.keep / 1024);
    call.out[0] = &O, call.dout[0] = &dO, call.din[0] = &dQ;
    call.scratch = aligned_alloc(64, most), call.scratch_bytes = most;
    call.keep = aligned_alloc(64, size.keep), call.keep_bytes = size.keep;
    status = pal_kernel_forward(gdn, &call, error);
    if (status == PAL_OK) status = pal_kernel_backward(gdn, &call, error);
    free(call.keep);
    call.keep = NULL; /* from here on no backward follows */
    return status;
}

/* The gradient of one number by a difference of losses. */
static pal_status difference(double *x, double *quotient, pal_error *error)
{
    const double step = 1e-5, before = *x;
    pal_status status = PAL_OK;
    *quotient = 0;
    for (int side = -1; side <= 1 && status == PAL_OK; side += 2) {
        *x = before + side * step;
        status = pal_kernel_forward(gdn, &call, error);
        *quotient += side * loss() / (2 * step);
    }
    *x = before;
    return status == PAL_OK ? pal_kernel_forward(gdn, &call, error) : status;
}

/* Token by token: the state is an input and a result, in the same memory. */
static pal_status decode(double *worst, pal_error *error)
{
    double row[H][V];
    pal_array one = pal_array_of(PAL_F64, PAL_SHAPE(1, 1, H, V), row);
    call.in[5] = call.out[1] = &S;
    call.out[0] = &one;
    *worst = 0;
    for (int i = 0; i < 5; i++) by_token[i]->shape[1] = 1;
    for (int t = 0; t < T; t++) {
        Q.data = q[t], Key.data = k[t], Val.data = v[t], G.data = g[t], Beta.data = beta[t];
        pal_status status = pal_kernel_forward(gdn, &call, error);
        if (status != PAL_OK) return status;
        for (int i = 0; i < H * V; i++)
            *worst = fmax(*worst, fabs((&row[0][0])[i] - (&o[t][0][0])[i]));
    }
    return PAL_OK;
}

int main(void)
{
    pal_error error;
    double quotient, worst;
    gdn = pal_kernel_find("gdn");
    make_problem();
    if (forward_and_backward(&error) != PAL_OK) return failed("training", &error);
    if (difference(&q[7][1][3], &quotient, &error) != PAL_OK) return failed("difference", &error);
    printf("gradient of a number of q: %.6f, difference quotient %.6f\n", dq[7][1][3], quotient);
    if (decode(&worst, &error) != PAL_OK) return failed("decoding", &error);
    printf("token by token: largest difference %s 1e-12\n", worst < 1e-12 ? "below" : "above");
    Beta.shape[2] = 1;
    if (pal_kernel_forward(gdn, &call, &error) == PAL_OK) return 1;
    printf("refused: %s\n", error.message);
    free(call.scratch);
    return worst < 1e-12 && fabs(dq[7][1][3] - quotient) < 1e-6 ? 0 : 1;
}
