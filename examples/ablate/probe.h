/*
 * probe.h - a hook that edits places of a running model: the residual stream, the output of a mixer
 * or of an MLP, or heads. What stands there becomes 0, its mean, that of another row, or what
 * another run of the model had there (activation patching); or the stream after a layer is read as
 * if it were the last one (the logit lens).
 *
 * It knows nothing of tasks and files. Sources: Meng et al. 2022 (arXiv 2202.05262) for patching;
 * nostalgebraist 2020, "interpreting GPT: the logit lens".
 */
#ifndef ABLATE_PROBE_H
#define ABLATE_PROBE_H

#include <palimpsest.h>

typedef enum place { AT_STREAM, AT_MIXER, AT_MLP, AT_OUT, AT_HEAD, PLACES } place;
/* "stream", "mixer", "mlp", "out", "head": the stream as a block gets it, what its mixer and its
 * MLP add, the stream as it leaves it, and what the mixer's last projection reads of a head. */
const char *place_name(place p);

typedef enum by { BY_ZERO, BY_MEAN, BY_ROW, BY_PATCH, BY_LENS } by;

/* Where something is edited. */
typedef struct site {
    int64_t layer;
    place place;
    int64_t head;     /* of AT_HEAD */
    int64_t position; /* BY_PATCH: of this token alone; -1: of all. PROBE_ROW: of token b in row b,
                         counted from `first` of the probe */
} site;
enum { PROBE_SITES = 256, PROBE_ROW = -2 };

typedef struct probe probe;

probe *probe_new(pal_tape *tape, int64_t layers);
void probe_free(probe *p); /* NULL is allowed */
/* Heads of a layer, and whether it has an MLP, which are known after a pass of any kind; 0: no
 * heads. */
int64_t probe_heads(const probe *p, int64_t layer);
bool probe_has_mlp(const probe *p, int64_t layer);

/* Nothing is edited from now on. */
void probe_clear(probe *p);
/* What passes edit from now on: n sites, all alike. BY_MEAN: the mean over all rows and tokens of a
 * pass, which needs two passes of the same rows (probe_passes). BY_ROW: row b gets what row b + 1
 * has, the last one that of row 0. BY_LENS has one site, AT_OUT of a layer. Heads of a layer are
 * edited alone or together. */
void probe_set(probe *p, by how, const site *at, int n);
/* The first position of PROBE_ROW. */
void probe_first(probe *p, int64_t first);
int probe_passes(const probe *p);
void probe_pass(probe *p, int pass);
/* The next pass is recorded, for BY_PATCH: one row, or as many as are patched. */
void probe_record(probe *p);

pal_run_opts probe_opts(probe *p);

#endif
