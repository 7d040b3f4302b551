/*
 * sum.c - several mixers of one input, whose outputs are added: "mamba2:num_heads=6+attn".
 *
 * They share the state of the layer, so no two may remember parts of the same name.
 */
#include "layers/mixers/internal.h"

#include <ctype.h>
#include <string.h>

typedef struct sum {
    pal_mixer mixer;
    int count;
    pal_mixer *part[PAL_SUM_MOST];
} sum;

static pal_tensor forward(const pal_mixer *mixer, pal_tensor x, const pal_mixer_call *call)
{
    const sum *m = (const sum *)mixer;
    pal_tensor y = m->part[0]->forward(m->part[0], x, call);
    for (int i = 1; i < m->count; i++) y = pal_add(y, m->part[i]->forward(m->part[i], x, call));
    return y;
}

static pal_remembered remembers(const pal_mixer *mixer, int64_t B, int64_t seen)
{
    const sum *m = (const sum *)mixer;
    pal_remembered all = {0};
    for (int i = 0; i < m->count; i++) {
        const pal_remembered one = pal_mixer_remembers(m->part[i], B, seen);
        for (int j = 0; j < one.parts && all.parts < PAL_MIXER_PARTS; j++)
            pal_remember(&all, one.part[j].name, one.part[j].shape);
        all.counts = all.counts || one.counts;
    }
    return all;
}

/* Whether the parts of all mixers have names of their own and there is room for them. */
static bool fit(const sum *m, const pal_build *b)
{
    const char *name[PAL_SUM_MOST * PAL_MIXER_PARTS];
    int n = 0;
    for (int i = 0; i < m->count; i++) {
        const pal_remembered one = pal_mixer_remembers(m->part[i], 1, 0);
        for (int j = 0; j < one.parts; j++) {
            for (int k = 0; k < n; k++)
                if (strcmp(name[k], one.part[j].name) == 0)
                    return pal_build_fail(b, m->mixer.name,
                                          "two of these mixers remember a part %s", name[k]);
            name[n++] = one.part[j].name;
        }
    }
    return n <= PAL_MIXER_PARTS || pal_build_fail(b, m->mixer.name,
                                                  "these mixers remember %d parts, and a state has "
                                                  "%d at most",
                                                  n, PAL_MIXER_PARTS);
}

/* The names of the parts with + between them, in the memory of params; NULL after an error. */
static const char *joined(const sum *m, pal_params *params)
{
    size_t size = 0;
    for (int i = 0; i < m->count; i++) size += strlen(m->part[i]->name) + 1;
    char *name = pal_params_alloc(params, size), *at = name;
    for (int i = 0; i < m->count && name; i++)
        at += snprintf(at, size - (size_t)(at - name), "%s%s", i ? "+" : "", m->part[i]->name);
    return name;
}

size_t pal_mixer_sum_length(const char *text)
{
    size_t n = 0;
    while (text[n] && !(text[n] == '+' && isalpha((unsigned char)text[n + 1]))) n++;
    return n;
}

pal_mixer *pal_mixer_sum(pal_params *params, const char *prefix, int count, pal_mixer *const *part)
{
    pal_build b = {.params = params, .prefix = prefix};
    sum *m = pal_params_alloc(params, sizeof *m);
    if (!m) return NULL;
    *m =
        (sum){.mixer = {.name = "sum", .forward = forward, .remembers = remembers}, .count = count};
    memcpy(m->part, part, (size_t)count * sizeof *part);
    m->mixer.name = joined(m, params);
    for (int i = 0; i < count; i++) m->mixer.refuses |= part[i]->refuses;
    return m->mixer.name && fit(m, &b) ? &m->mixer : NULL;
}
