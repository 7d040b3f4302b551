/*
 * init.c - variants that begin as the function of another one: variant.X.init = Y.
 *
 * The model of Y is drawn by the seed as its own runs draw it, and pal_lm_map gives the model of X
 * parameters with which it computes the same. So two such runs begin at one loss, and what differs
 * in the end is what training made of what X has more. Whether a pair can be mapped is tried before
 * anything is run.
 */
#include "examples/ablate/ablate.h"

#include <stdlib.h>
#include <string.h>

/* ---- Which one ---- */

static void stop_at(const study *s, const variant *v, const char *why)
{
    stop("%s: line %d: variant.%s.init = %s: %s", s->path, v->init_line, v->name, v->s.init, why);
}

static int named(const study *s, const char *name)
{
    for (int i = 0; i < s->variants; i++)
        if (strcmp(s->variant[i].name, name) == 0) return i;
    return -1;
}

/* A variant of that name, or the one at the same place: of X-8+O, whose init is Y, it is Y-8+O. */
static int other_of(const study *s, const variant *v)
{
    char name[2 * NAME];
    const int exact = named(s, v->s.init);
    if (exact >= 0) return exact;
    snprintf(name, sizeof name, "%s%s", v->s.init, v->name + v->stem);
    return named(s, name);
}

void init_find(study *s)
{
    for (int i = 0; i < s->variants; i++) {
        variant *v = &s->variant[i];
        v->init = -1;
        if (!*v->s.init) continue;
        v->init = other_of(s, v);
        if (v->init < 0) stop_at(s, v, "there is no variant of that name");
        if (v->init == i) stop_at(s, v, "it is the variant itself");
        const variant *other = &s->variant[v->init];
        if (*other->s.init) stop_at(s, v, "that variant has an init of its own");
        if (strcmp(other->mixers, v->mixers) == 0)
            stop_at(s, v, "both have the same mixers, so that nothing is left to differ");
    }
}

/* ---- The model ---- */

pal_lm *init_new(pal_params *params, pal_lm_opts opts, const char *init, uint64_t seed,
                 pal_error *error)
{
    pal_rng rng = pal_rng_new(seed, 0);
    pal_lm *lm = pal_lm_new(params, opts, &rng);
    *error = (pal_error){PAL_OK, ""};
    if (!lm) pal_error_set(error, PAL_EVALUE, "no model");
    if (!lm || !init) return lm;
    pal_params *others = pal_params_new();
    rng = pal_rng_new(seed, 0);
    opts.mixers = init;
    const pal_lm *other = pal_lm_new(others, opts, &rng);
    const pal_status s = other ? pal_lm_map(lm, params, other, others, error)
                               : pal_error_set(error, PAL_EVALUE, "no model");
    pal_params_free(others);
    return s == PAL_OK ? lm : NULL;
}

/* "2 layers, width 96, MLP 256" */
static void describe(const variant *v, const model *m, char text[96])
{
    char mlp[32] = "no MLP";
    if (v->s.mlp != MLP_NONE) snprintf(mlp, sizeof mlp, "MLP %lld", (long long)m->mlp);
    snprintf(text, 96, "%lld layers, width %lld, %s", (long long)v->s.layers, (long long)m->width,
             mlp);
}

void init_check(const study *s, int t, const model *m)
{
    for (int i = 0; i < s->variants; i++) {
        const variant *v = &s->variant[i];
        if (v->init < 0) continue;
        char here[96], there[96], why[320];
        pal_error error;
        describe(v, &m[i], here);
        describe(&s->variant[v->init], &m[v->init], there);
        snprintf(why, sizeof why,
                 "both have to have the same layers, width and MLP, and it has %s where the other "
                 "has %s",
                 here, there);
        if (strcmp(here, there)) stop_at(s, v, why);
        pal_params *params = pal_params_new();
        const pal_lm_opts opts = {.vocab = task_vocab(s->task[t]),
                                  .width = m[i].width,
                                  .layers = v->s.layers,
                                  .mixers = m[i].mixers,
                                  .mlp_width = m[i].mlp,
                                  .no_mlp = v->s.mlp == MLP_NONE};
        if (!init_new(params, opts, m[v->init].mixers, s->seed[0], &error))
            stop_at(s, v, error.message);
        pal_params_free(params);
    }
}
