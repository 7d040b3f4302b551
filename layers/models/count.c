/*
 * count.c - how many parameters a model has, by part.
 */
#include "layers/models/lm.h"

#include <stdlib.h>
#include <string.h>

static bool begins(const char **name, const char *with)
{
    size_t n = strlen(with);
    if (strncmp(*name, with, n) != 0) return false;
    *name += n;
    return true;
}

/* Adds n parameters of this name if they are of the layer asked for (-1: any). */
static void count_one(pal_lm_counts *c, const char *name, int64_t n, int64_t layer)
{
    if (begins(&name, "model.layers.")) {
        char *end;
        if (strtoll(name, &end, 10) != layer && layer >= 0) return;
        name = end;
        *(begins(&name, ".attn.") ? &c->mixer : begins(&name, ".mlp.") ? &c->mlp : &c->norms) += n;
    } else if (layer >= 0) {
        return;
    } else if (begins(&name, "model.embeddings.")) {
        c->embeddings += n;
    } else if (begins(&name, "model.norm.")) {
        c->norms += n;
    } else if (begins(&name, "lm_head.")) {
        c->head += n;
    } else {
        return; /* not the model's */
    }
    c->total += n;
}

pal_lm_counts pal_lm_count(const pal_lm *lm, int64_t layer)
{
    pal_lm_counts c = {0};
    const pal_params *params = lm->trunk->params;
    for (int i = 0; i < pal_params_count(params); i++)
        count_one(&c, pal_params_name(params, i), pal_params_span(params, i).count, layer);
    return c;
}

void pal_lm_print_counts(const pal_lm *lm, FILE *file)
{
    pal_lm_counts all = pal_lm_count(lm, -1);
    fprintf(file, "%-18s %12s %12s %12s %12s\n", "parameters", "mixer", "mlp", "norms", "total");
    fprintf(file, "%-57s %12lld\n", "embeddings", (long long)all.embeddings);
    for (int64_t i = 0; i < lm->opts.layers; i++) {
        pal_lm_counts c = pal_lm_count(lm, i);
        fprintf(file, "layer %-4lld %-7s %12lld %12lld %12lld %12lld\n", (long long)i,
                pal_mixer_name(pal_lm_mixer(lm, i)), (long long)c.mixer, (long long)c.mlp,
                (long long)c.norms, (long long)c.total);
    }
    fprintf(file, "%-57s %12lld\n", "norm", (long long)lm->opts.width);
    fprintf(file, "%-57s %12lld\n", lm->opts.tie ? "head (the embeddings)" : "head",
            (long long)all.head);
    fprintf(file, "%-18s %12lld %12lld %12lld %12lld\n", "total", (long long)all.mixer,
            (long long)all.mlp, (long long)all.norms, (long long)all.total);
}
