/*
 * dist_shard.c - divides the optimiser's state over ranks: which rank owns which parameters, the
 * norm of gradients that are spread over owners, and the values that owners send to all.
 */
#include "autograd/internal.h"
#include "optim/ranks/dist_private.h"

#include <math.h>
#include <string.h>

struct pal_shard {
    pal_optim *optim;
    const pal_params *params;
    int count, blocks; /* number of parameters; number of blocks */
    size_t size;       /* of this allocation */
    int *owner;        /* rank that owns each parameter */
    pal_setting
        *mine; /* of each parameter: equal settings, with `elsewhere` set if another rank owns it */
    int *counts, *from;   /* for each rank in each block: number of elements, and the first one */
    MPI_Request *request; /* one for each block */
};

/* Allocates the object with its arrays behind it, all zero. */
static struct pal_shard *allocate(pal_optim *optim, int ranks)
{
    const size_t n = (size_t)optim->count, blocks = (size_t)pal_params_blocks(optim->params);
    const size_t cells = blocks * (size_t)ranks;
    const size_t start = pal_round_up(sizeof(struct pal_shard), PAL_ALIGN);
    const size_t size = start + n * (sizeof(pal_setting) + sizeof(int)) +
                        blocks * sizeof(MPI_Request) + 2 * cells * sizeof(int);
    struct pal_shard *s = pal_malloc(size);
    if (!s) return NULL;
    memset(s, 0, size);
    *s = (struct pal_shard){.optim = optim,
                            .params = optim->params,
                            .count = (int)n,
                            .blocks = (int)blocks,
                            .size = size};
    s->mine = (pal_setting *)(void *)((char *)s + start);
    s->request = (MPI_Request *)(void *)(s->mine + n);
    s->counts = (int *)(void *)(s->request + blocks);
    s->from = s->counts + cells;
    s->owner = s->from + cells;
    return s;
}

void pal_shard_free(pal_dist *d)
{
    if (!d->shard) return;
    d->shard->optim->on_free = NULL;
    pal_free(d->shard, d->shard->size);
    d->shard = NULL;
}

static void optimiser_goes(void *dist) { pal_shard_free(dist); }

/* ---- Who owns what ---- */

/* The bytes of the moments of parameter i, or of the parameter itself if it has no moments. */
static double weight(const pal_optim *optim, int i)
{
    const pal_span span = pal_params_span(optim->params, i);
    const pal_dtype dtype = pal_params_block_as_is(optim->params, span.block).dtype;
    const int moments = optim->setting[i].moments;
    return (double)span.count * (double)pal_dtype_size(dtype) * (moments ? moments : 1);
}

/* The rank with the smallest load of those that own nothing in this block; if there is none,
 * `now`. */
static int least(const double *load, const int *counts, int ranks, int now)
{
    int best = now;
    for (int r = 0; r < ranks; r++)
        if (counts[r] == 0 && r != now && (best == now || load[r] < load[best])) best = r;
    return best;
}

/* Gives each rank neighbouring parameters of the block, so that all ranks own about as much
 * so far. */
static void divide_block(struct pal_shard *s, int b, int ranks, double *load)
{
    int *counts = s->counts + (size_t)b * (size_t)ranks,
        *from = s->from + (size_t)b * (size_t)ranks;
    double mean = 0;
    int rank = -1;
    for (int r = 0; r < ranks; r++) mean += load[r] / ranks;
    for (int i = 0; i < s->count; i++)
        if (pal_params_span(s->params, i).block == b) mean += weight(s->optim, i) / ranks;
    for (int i = 0; i < s->count; i++) {
        const pal_span span = pal_params_span(s->params, i);
        const double w = weight(s->optim, i);
        if (span.block != b) continue;
        if (rank < 0 || load[rank] + w / 2 > mean) rank = least(load, counts, ranks, rank);
        if (counts[rank] == 0) from[rank] = (int)span.offset;
        counts[rank] = (int)(span.offset + span.count) - from[rank];
        load[rank] += w;
        s->owner[i] = rank;
    }
}

static pal_status divide(struct pal_shard *s, int ranks, pal_error *error)
{
    const size_t bytes = (size_t)ranks * sizeof(double);
    double *load = pal_malloc(bytes);
    if (!load) return pal_error_set(error, PAL_ENOMEM, "dist_shard: out of memory");
    memset(load, 0, bytes);
    for (int b = 0; b < s->blocks; b++)
        if (!pal_params_block_as_is(s->params, b).kept) divide_block(s, b, ranks, load);
    pal_free(load, bytes);
    return PAL_OK;
}

static pal_status make(pal_dist *d, pal_optim *optim, struct pal_shard **out, pal_error *error)
{
    *out = NULL;
    if (!optim) return pal_error_set(error, PAL_EVALUE, "dist_shard: there is no optimiser (NULL)");
    if (d->shard)
        return pal_error_set(error, PAL_EVALUE,
                             "dist_shard: the state of another optimiser is divided, which has to "
                             "be freed before");
    struct pal_shard *s = *out = allocate(optim, d->size);
    if (!s) return pal_error_set(error, PAL_ENOMEM, "dist_shard: out of memory");
    for (int b = 0; b < s->blocks; b++)
        if (pal_params_block_as_is(s->params, b).count > INT32_MAX)
            return pal_error_set(error, PAL_EVALUE,
                                 "dist_shard: a parameter has more than %d elements", INT32_MAX);
    pal_status status = divide(s, d->size, error);
    if (status == PAL_OK) status = pal_optim_shard(optim, s->owner, d->rank, error);
    for (int i = 0; i < s->count; i++) s->mine[i].elsewhere = s->owner[i] != d->rank;
    return status;
}

pal_status pal_dist_shard(pal_dist *d, pal_optim *optim, pal_error *error)
{
    if (pal_dist_size(d) == 1 || !d->opts.shard || pal_dist_shards(d, optim)) return PAL_OK;
    struct pal_shard *s;
    pal_status status = pal_dist_agree(d, make(d, optim, &s, error), error);
    if (status == PAL_OK) {
        optim->on_free = optimiser_goes;
        optim->on_free_user = d;
        d->shard = s;
    } else if (s) {
        pal_free(s, s->size);
    }
    return status;
}

bool pal_dist_shards(const pal_dist *d, const pal_optim *optim)
{
    return d && d->shard && d->shard->optim == optim;
}

const int *pal_shard_owners(const pal_dist *d, const pal_params *params)
{
    const struct pal_shard *s = d->shard;
    return s && s->params == params && s->count == pal_params_count(params) ? s->owner : NULL;
}

int pal_dist_owner(const pal_dist *d, int param)
{
    const struct pal_shard *s = d ? d->shard : NULL;
    return s && param >= 0 && param < s->count ? s->owner[param] : -1;
}

/* ---- A step ---- */

/* The sum over ranks. One that is out of range is added again with exponents; all ranks see it. */
static double root_of_all(pal_dist *d, pal_squares mine)
{
    double sum = pal_squares_value(mine), own[2] = {mine.sum, mine.exponent};
    pal_dist_sum(d, 1, &sum);
    if (pal_squares_fit(sum)) return sqrt(sum);
    const double *all = pal_dist_gather(d, 2, own);
    pal_squares total = {0};
    for (int r = 0; r < d->size; r++, all += 2)
        pal_squares_add(&total, (pal_squares){all[0], (int)all[1]});
    return pal_squares_root(total);
}

double pal_dist_grad_norm(pal_dist *d, const pal_params *params)
{
    if (!d || !pal_shard_owners(d, params))
        return pal_squares_root(pal_gradient_squares(params, NULL));
    return root_of_all(d, pal_gradient_squares(params, d->shard->mine));
}

double pal_dist_clip_grad_norm(pal_dist *d, pal_params *params, double max_norm)
{
    return pal_clip_to(params, pal_dist_grad_norm(d, params), max_norm);
}

pal_status pal_dist_try_step(pal_dist *d, pal_optim *optim, double lr, pal_error *error)
{
    pal_status status = PAL_OK;
    if (pal_dist_shards(d, optim) && !optim->known_finite) { /* each rank sees only its own part */
        status = pal_dist_agree(d, pal_optim_check_gradients(optim, error), error);
        if (status != PAL_OK) return status;
        optim->known_finite = true;
    }
    status = pal_optim_try_step(optim, lr, error);
    if (status != PAL_OK || !pal_dist_shards(d, optim)) return status;
    const struct pal_shard *s = d->shard;
    for (int b = 0; b < s->blocks; b++) {
        const pal_param_block block = pal_params_block_as_is(s->params, b);
        const size_t at = (size_t)b * (size_t)d->size;
        s->request[b] = MPI_REQUEST_NULL;
        if (!block.kept)
            MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, block.value, s->counts + at,
                            s->from + at, pal_dist_type(block.dtype), d->gradients, &s->request[b]);
    }
    pal_dist_wait(d, s->blocks, s->request);
    return PAL_OK;
}

pal_status pal_dist_step(pal_dist *d, pal_optim *optim, double lr)
{
    pal_error error;
    const pal_status s = pal_dist_try_step(d, optim, lr, &error);
    return s == PAL_OK ? s : pal_fail_nowhere(s, "%s", error.message);
}

/* ---- Files ---- */

pal_status pal_dist_create(pal_dist *d, pal_h5 **file, const char *path, pal_error *error)
{
    return pal_h5_create_shared(file, path, &d->world, error);
}
