/*
 * own.h - mixers of one's own. A program defines a mixer as this library defines its own, and
 * registers it; from then on models, lists of mixers, checkpoints, states and decoding take its
 * name. Letters as in layers.h.
 *
 *     #include <palimpsest.h>
 *     typedef struct opts { int64_t heads; } opts;
 *     typedef struct mean { pal_mixer mixer; pal_tensor weight; } mean;
 *     static pal_tensor forward(const pal_mixer *m, pal_tensor x, const pal_mixer_call *call);
 *     static pal_remembered remembers(const pal_mixer *m, int64_t B, int64_t seen);
 *     static pal_mixer *create(pal_params *params, const char *prefix, int64_t width,
 *                              pal_dtype dtype, const void *opts, pal_rng *rng);
 *     static const pal_key rows[] = {{"heads", PAL_KEY_WHOLE, PAL_AT(opts, heads), .low = 1}};
 *     static const pal_mixer_kind kind = {"mean", PAL_KEYS(rows), sizeof(opts), create};
 *     PAL_MIXER(kind)
 *
 * examples/07_own_mixer.c is a whole one. Built as a shared object, it also serves the programs of
 * this repository: PAL_MIXERS=./mean.so train_lm --mixers mean,gdn2
 */
#ifndef PAL_LAYERS_OWN_H
#define PAL_LAYERS_OWN_H

#include "layers/mixers.h"
#include "tensor/key.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One call of a mixer. */
typedef struct pal_mixer_call {
    pal_mixer_state *state; /* NULL: sequences start here */
    pal_run_opts opts;      /* as they were given to pal_mixer_forward */
} pal_mixer_call;

/* What a mixer remembers between calls: the parts of its state, and their shapes. */
typedef struct pal_remembered {
    int parts; /* how many there are */
    /* One of them: its name and its shape. */
    struct {
        const char *name;
        pal_shape shape;
    } part[PAL_MIXER_PARTS];
    bool counts; /* it also needs the number of tokens seen */
} pal_remembered;

/* What a mixer does not take; pal_mixer_forward refuses it with a sentence (PAL_EVALUE). */
typedef enum pal_mixer_refuses {
    PAL_NO_PACKED = 1,       /* offsets */
    PAL_NO_STATE = 2,        /* a state: such a mixer cannot decode */
    PAL_NO_PARTS = 4,        /* sequences over several processes */
    PAL_NO_PACKED_STATE = 8, /* a state together with one of these two */
} pal_mixer_refuses;

/* The first member of every mixer. pal_params_alloc gives the memory of the whole. */
struct pal_mixer {
    const char *name; /* of its kind */
    /* y [B,T,d] of x [B,T,d]. It reads the parts of call->state and replaces them. */
    pal_tensor (*forward)(const pal_mixer *mixer, pal_tensor x, const pal_mixer_call *call);
    /* What it remembers of B sequences after `seen` tokens; with pal_remember. NULL: `state` says
     * it. */
    pal_remembered (*remembers)(const pal_mixer *mixer, int64_t B, int64_t seen);
    unsigned refuses; /* a sum of pal_mixer_refuses; 0: it takes everything */
    pal_shape state;  /* if remembers is NULL: the part "state" of one sequence, as [H,K,V] of
                         pal_mixer_attend; no axes: it remembers nothing */
};

/* A kind of mixers, by name. */
typedef struct pal_mixer_kind {
    const char *name; /* letters a-z, digits and _, beginning with a letter; at most 31 */
    pal_keys keys;    /* of its options, which begin as zeros: these are the defaults */
    size_t opts_size; /* bytes of the options */
    /* Makes one: parameters are named prefix.something (pal_linear_weight and its neighbours). If
     * rng is NULL, nothing is drawn. NULL after an error, of which the handler was told
     * (pal_mixer_wrong). */
    pal_mixer *(*create)(pal_params *params, const char *prefix, int64_t width, pal_dtype dtype,
                         const void *opts, pal_rng *rng);
} pal_mixer_kind;

/*
 * Makes a kind known, for the rest of the process. *kind is not copied. Call it before other
 * threads use the library, and before a model of it is made; with several processes, in each of
 * them. The same kind may be registered again. Errors: PAL_EVALUE if the name is malformed or
 * taken, if create is NULL, or if 64 kinds are registered already.
 */
PAL_API PAL_CHECKED pal_status pal_mixer_register(const pal_mixer_kind *kind, pal_error *error);
/* Registers a static kind when the program, or the shared object, is loaded. After an error the
 * program ends with status 1. */
#define PAL_MIXER(kind)                                                \
    __attribute__((constructor)) static void pal_register_##kind(void) \
    {                                                                  \
        pal_error error;                                               \
        if (pal_mixer_register(&(kind), &error) == PAL_OK) return;     \
        fprintf(stderr, "%s\n", error.message);                        \
        exit(EXIT_FAILURE);                                            \
    }

/* ---- For create and remembers ---- */

enum { PAL_MIXER_NAME = 256 }; /* bytes of a parameter's name, with its end */
/* "prefix.name" in text, which has the size of PAL_MIXER_NAME; returns text. */
PAL_API const char *pal_mixer_param(char text[PAL_MIXER_NAME], const char *prefix,
                                    const char *name);
/* pal_linear_weight [out,in] with the name "prefix.name.weight": a projection of a mixer. */
PAL_API pal_tensor pal_mixer_linear(pal_params *params, const char *prefix, const char *name,
                                    int64_t out, int64_t in, pal_dtype dtype, pal_rng *rng);
/* Reports a wrong option of a mixer (PAL_EVALUE), "NAME: " and the text; returns NULL for create.
 */
PAL_API pal_mixer *pal_mixer_wrong(const char *name, const char *format, ...) PAL_PRINTF(2, 3);
/* Adds a part to what is remembered: "state" or another name of letters, digits, _ and dots, except
 * "seen". At most PAL_MIXER_PARTS. */
PAL_API void pal_remember(pal_remembered *m, const char *name, pal_shape shape);

/* ---- For forward ---- */

/* Shows *t to the hook of the call, if there is one, and checks what the hook leaves there. Names
 * are those of pal_hook_fn; x and y are shown by pal_mixer_forward. */
PAL_API bool pal_mixer_show(const pal_mixer_call *call, const char *name, pal_tensor *t);
/* Where the part of this name is in the state of this call. A part that is not there yet is added
 * as PAL_NONE, which counts as zeros. NULL if the call has no state. */
PAL_API pal_tensor *pal_mixer_find_part(const pal_mixer_call *call, const char *name);
/* The options with which a rule, pal_linear_attention or pal_gdn2, say, serves this call: mode,
 * offsets, processes, and the part "state". */
PAL_API pal_rule_opts pal_mixer_rule_opts(const pal_mixer_call *call);
/* After the rule: shows o and state to the hook, and keeps the state in the part "state". */
PAL_API void pal_mixer_rule_done(const pal_mixer_call *call, pal_rule_out *out);
/* All of this for pal_linear_attention: shows q, k, v and g to the hook, runs the rule with the
 * state of the call, and returns o [B,T,HV,V]. */
PAL_API pal_tensor pal_mixer_attend(const pal_mixer_call *call, pal_tensor q, pal_tensor k,
                                    pal_tensor v, pal_tensor g);
/*
 * The same options for pal_short_conv, whose tail is the part of this name:
 *
 *     x = pal_short_conv(x, m->conv, PAL_NONE, pal_mixer_conv_opts(call, "conv.0"));
 */
PAL_API pal_short_conv_opts pal_mixer_conv_opts(const pal_mixer_call *call, const char *part);

/* ---- Tests of a mixer ---- */

/* Options of pal_mixer_test; zero is the default of every field. */
typedef struct pal_mixer_test_opts {
    int64_t width;    /* d; 0: 12 */
    double tolerance; /* largest relative difference in f64; 0: 1e-9 */
    FILE *report;     /* one line for each check; NULL: stdout */
} pal_mixer_test_opts;
/*
 * Does with the mixer of a text ("mean:heads=2") what this repository's tests do with its own:
 * gradients of x, state and every parameter against differences; f32 against f64; the same bits
 * with 1, 2 and 3 threads; a row does not depend on the others, nor a token on later ones; packed
 * sequences, and a state handed on at every cut, against one call; pal_lm that decodes token by
 * token, saves its state and goes on from it; recomputation; 1 to 3 ranks, as threads of this
 * process, against one. What the mixer says that it refuses is tried too, and must be an error.
 * Returns the number of checks that failed. Not for several threads at once.
 */
PAL_API int pal_mixer_test(const char *text, pal_mixer_test_opts opts);

#ifdef __cplusplus
}
#endif
#endif
