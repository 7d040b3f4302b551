/*
 * 03_delta_rule.c - what a memory with the delta rule can do: write, overwrite and erase an
 * association.
 *
 * The memory is a matrix S [K,V]. Adding the outer product k v^T associates a key k (a unit vector)
 * with a value v. S^T k reads the value back. The delta rule first subtracts what the key reads, so
 * a second write replaces the first:
 *
 *     S <- (I - k (b*k)^T) S + k (w*v)^T        b: erase gate, w: write gate
 *
 * This is Gated DeltaNet-2 without decay. Its gates are vectors with one number a channel.
 * Mamba-2's rule only adds; the program shows what then happens to a key that is written twice.
 */
#include <palimpsest.h>
#include <math.h>

enum { K = 4, V = 3 };
static const float key_a[K] = {1, 0, 0, 0}, key_b[K] = {0, 0.6f, 0.8f, 0};
static const float red[V] = {1, 0, 0}, green[V] = {0, 1, 0}, blue[V] = {0, 0, 1};
static const float nothing[V] = {0, 0, 0};

static pal_tape *tape;

/* A row of n numbers as one token of one head: [B,T,H,n] = [1,1,1,n]. */
static pal_tensor token(int64_t n, const float *data)
{
    return pal_from(tape, PAL_F32, PAL_SHAPE(1, 1, 1, n), data);
}
static pal_tensor gate(int64_t n, double value)
{
    return pal_full(tape, PAL_F32, PAL_SHAPE(1, 1, 1, n), value);
}

/* One token: erases the fraction `erase` of what key k reads, adds the fraction `write` of v, then
 * reads with key q. */
static pal_tensor step(pal_tensor *state, const float *q, const float *k, const float *v,
                       double erase, double write)
{
    pal_rule_out out =
        pal_gdn2(token(K, q), token(K, k), token(V, v), PAL_NONE, gate(K, erase), gate(V, write),
                 (pal_rule_opts){.mode = PAL_RULE_COMPOSED, .scale = 1, .state = *state});
    *state = out.state;
    return out.o;
}

static int failures;

/* Prints what both keys read, and compares it with what they should read. */
static void show(const char *what, pal_tensor state, const float want_a[V], const float want_b[V])
{
    const float *want[2] = {want_a, want_b}, *key[2] = {key_a, key_b};
    printf("%-34s", what);
    for (int i = 0; i < 2; i++) {
        const float *got = pal_f32(pal_contiguous(step(&state, key[i], key[i], nothing, 0, 0)));
        printf("   %c reads %5.2f %5.2f %5.2f", "ab"[i], (double)got[0], (double)got[1],
               (double)got[2]);
        for (int j = 0; j < V; j++)
            if (!(fabs((double)(got[j] - want[i][j])) <= 1e-6)) failures++;
    }
    printf("\n");
}

int main(void)
{
    tape = pal_tape_new();
    pal_set_grad(tape, false);
    pal_tensor state = PAL_NONE; /* zeros */

    printf("The delta rule:\n");
    step(&state, key_a, key_a, red, 1, 1);
    show("write a = red", state, red, nothing);
    step(&state, key_b, key_b, green, 1, 1);
    show("write b = green", state, red, green);
    step(&state, key_a, key_a, blue, 1, 1);
    show("overwrite a = blue", state, blue, green);

    /* GDN-2 has separate gates, so it can erase without writing, or write half of a value. */
    step(&state, key_a, key_a, nothing, 1, 0);
    show("erase a", state, nothing, green);
    step(&state, key_b, key_b, red, 0.5, 0.5);
    show("move b half-way to red", state, (const float[]){0, 0, 0}, (const float[]){0.5f, 0.5f, 0});

    printf("An erase gate of 0, as in Mamba-2, only adds:\n");
    state = PAL_NONE;
    step(&state, key_a, key_a, red, 0, 1);
    step(&state, key_a, key_a, blue, 0, 1);
    show("write a = red, then a = blue", state, (const float[]){1, 0, 1}, nothing);

    printf("Keys that are not orthogonal disturb each other, and the delta rule limits it:\n");
    const float near_a[K] = {0.8f, 0.6f, 0, 0};
    state = PAL_NONE;
    step(&state, key_a, key_a, red, 1, 1);
    step(&state, near_a, near_a, blue, 1, 1);
    /* S = k_a red^T - n (n.k_a) red^T + n blue^T with n.k_a = 0.8, n.k_b = 0.36 */
    show("write a = red, a key near a = blue", state, (const float[]){0.36f, 0, 0.8f},
         (const float[]){-0.288f, 0, 0.36f});
    pal_tape_free(tape);
    return failures == 0 ? 0 : 1;
}
