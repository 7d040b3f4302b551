/*
 * internal.h - what the files of this room share: extents of memory, moments, and the code around
 * every kind of optimiser.
 *
 * Neighbouring parameters of one block that are treated alike form an extent. It is one range of
 * memory, which includes the padding between them; padding stays zero, because its gradients are
 * zero. Frozen parameters and those of other ranks are in no extent. Work on an extent is cut into
 * pieces of PAL_PIECE elements, whatever the number of threads.
 */
#ifndef PAL_OPTIM_INTERNAL_H
#define PAL_OPTIM_INTERNAL_H

#include "optim/optimisers/kernels.h"
#include "optim/optim.h"
#include "tensor/keys.h"
#include "tensor/squares.h"

/* ---- Extents of memory (extent.c) ---- */

enum { PAL_PIECE = 1 << 14 };

/* How an optimiser treats a parameter. */
typedef struct pal_setting {
    double rate,
        decay;      /* factor of the learning rate; weight decay, without regard to pal_no_decay */
    int moments;    /* numbers kept beside each element: 0, 1 or 2 */
    bool alone;     /* it is an extent by itself */
    bool elsewhere; /* another rank updates it: it has no moments here and is in no extent */
    int owner;      /* that rank */
    const pal_schedule *schedule; /* of its group, owned by the optimiser; NULL: that of the step */
} pal_setting;

/* What becomes of gradients that an update reads. */
typedef struct pal_use {
    bool spend; /* they are multiplied by `factor` first and set to zero afterwards; false: kept */
    double factor;
} pal_use;

typedef struct pal_extent {
    int next;  /* the parameter after the extent; 0 starts a walk */
    int first; /* its first parameter */
    int block;
    int64_t offset, count;        /* elements of the block */
    double rate, decay;           /* of all its parameters; decay 0 for those marked pal_no_decay */
    const pal_schedule *schedule; /* likewise; NULL: none */
    pal_use use;                  /* set by whoever walks */
} pal_extent;

/* Moves *extent to the next extent in order of creation; false after the last. `setting` has an
 * entry for each parameter; NULL: all are treated alike. */
bool pal_extent_next(const pal_params *params, const pal_setting *setting, pal_extent *extent);

static inline int64_t pal_pieces(int64_t count) { return (count + PAL_PIECE - 1) / PAL_PIECE; }
static inline int64_t pal_piece_size(int64_t count, int64_t piece)
{
    int64_t left = count - piece * PAL_PIECE;
    return left < PAL_PIECE ? left : PAL_PIECE;
}
/* The address of element i of memory with this dtype; NULL if memory is NULL. */
static inline void *pal_element(pal_dtype dtype, void *memory, int64_t i)
{
    return memory ? (char *)memory + (size_t)i * pal_dtype_size(dtype) : NULL;
}

/*
 * These run over `count` elements of contiguous memory, piece by piece. The first does with g
 * what `use` says; a piece stays in the cache meanwhile, so this costs less than two more passes.
 */
void pal_update_all(pal_dtype dtype, int64_t count, pal_update *kernel, const void *numbers,
                    pal_use use, void *g, void *x, void *m, void *v);
pal_squares pal_sum_square(pal_dtype dtype, int64_t count, void *memory);
void pal_scale(pal_dtype dtype, int64_t count, void *memory, double factor);
/* Whether all numbers are finite. */
bool pal_all_finite(pal_dtype dtype, int64_t count, void *memory);
/* The largest absolute value; what it is with a NaN is not said. */
double pal_largest(pal_dtype dtype, int64_t count, const void *memory);

/* The first multiplies all gradients by a factor. The second is the sum of the squares of the
 * gradients, of all or of those in extents. The third is the factor by which clipping multiplies
 * gradients of this norm; 1 if it leaves them as they are. The fourth is pal_clip_grad_norm for a
 * norm that is known (clip.c). */
void pal_scale_gradients(pal_params *params, double factor);
pal_squares pal_gradient_squares(const pal_params *params, const pal_setting *setting);
double pal_clip_factor(double norm, double max_norm);
double pal_clip_to(pal_params *params, double norm, double max_norm);
/* The name of the first parameter with a number that is not finite; NULL: there is none
 * (train_step.c). */
const char *pal_bad_parameter(const pal_params *params);

/* ---- Numbers kept beside the parameters (state.c) ---- */

enum { PAL_MOMENTS = 2 };

/* Moments lie in blocks like the parameters, in the same order and with the same padding.
 * Parameters without moments are left out. So the moments of an extent are one range of memory too.
 */
typedef struct pal_state {
    pal_params *params;
    const char *letters;        /* names of the moments in a file, one letter each: "mv" */
    int count, blocks;          /* numbers of parameters and blocks when it was made */
    int rank;                   /* of this process, if the state is divided among ranks */
    int64_t (*at)[PAL_MOMENTS]; /* where the moments of parameter i begin in the memory; -1: it has
                                   none; -2 - r: rank r has them */
    struct pal_state_block {
        void *memory[PAL_MOMENTS];
        size_t size[PAL_MOMENTS]; /* bytes */
    } * block;
} pal_state;

/* Makes moments of zero for the parameters that exist and have gradients. setting NULL: one moment
 * per element. false: out of memory. */
bool pal_state_new(pal_state *state, pal_params *params, const char *letters,
                   const pal_setting *setting);
void pal_state_free(pal_state *state);
/* Where moment k of parameter i begins; those of the following parameters of its extent come after
 * it. NULL: it has none. */
void *pal_state_at(const pal_state *state, int i, int k);
/* The rank that has moment k of parameter i; -1: there is none. */
int pal_state_owner(const pal_state *state, int i, int k);
/* PAL_ENUMERIC, with the name of the moment in *error, if a number of this rank is not finite. */
pal_status pal_state_finite(const pal_state *state, const char *what, pal_error *error);
/* PAL_EVALUE if parameters were created after the state. */
pal_status pal_state_check(const pal_state *state, const char *op, pal_error *error);

/* Writes or reads datasets group/LETTER/NAME and group/step, and the text `kind` as an attribute of
 * the group. Reading is all or nothing. Errors name `op`. If the state is divided among ranks, they
 * all write one file together, and each reads its own part. */
pal_status pal_state_put(const pal_state *state, const char *op, const char *kind, int64_t steps,
                         pal_h5 *file, const char *group, pal_error *error);
/* Sets path to group/LETTER/NAME of moment k, or to group/LETTER if name is NULL. */
enum { PAL_STATE_PATH = 1024 };
pal_status pal_state_path(const pal_state *state, const char *op, const char *group, int k,
                          const char *name, char path[PAL_STATE_PATH], pal_error *error);
/* What loading has replaced, so that it can be taken back. All zero: nothing. */
typedef struct pal_undo {
    pal_state *state;
    struct pal_state_block *block;
    int64_t *steps, old_steps;
} pal_undo;
/* Reads the state. undo may be NULL. */
pal_status pal_state_get(pal_state *state, const char *op, const char *kind, int64_t *steps,
                         pal_h5 *file, const char *group, pal_undo *undo, pal_error *error);
/* The same as pal_optim_get and pal_average_get, but *undo can take them back. */
pal_status pal_optim_load(pal_optim *optim, pal_h5 *file, const char *group, pal_undo *undo,
                          pal_error *error);
pal_status pal_average_load(pal_average *average, pal_h5 *file, const char *group, pal_undo *undo,
                            pal_error *error);
/* As pal_state_finite. */
pal_status pal_average_finite(const pal_average *average, pal_error *error);
/* Puts the old values back (`back`), or frees them. It cannot fail. */
void pal_undo_end(pal_undo *undo, bool back);

/* A schedule as text, which a checkpoint holds (schedule.c). Returns text. */
enum { PAL_SCHEDULE_TEXT = 256 };
char *pal_schedule_text(const pal_schedule *schedule, char text[PAL_SCHEDULE_TEXT]);

/* ---- Kinds of optimisers (optim.c) ---- */

/* The tag of options that a file has for each parameter (in its setting), so that they are no
 * attribute of the optimiser. */
enum { PAL_IN_SETTING = 1 };

/* Writes options as attributes of an object of the file, or compares them with such attributes:
 * PAL_EVALUE names the first that differs (state.c). */
pal_status pal_numbers_put(const pal_keys *keys, const void *opts, pal_h5 *file, const char *object,
                           pal_error *error);
pal_status pal_numbers_check(const pal_keys *keys, const void *opts, const char *op, pal_h5 *file,
                             const char *object, pal_error *error);

typedef struct pal_update_kind {
    const char *name;
    pal_keys keys; /* of the options except groups; the bounds hold after defaults are filled in */
    size_t opts_size; /* bytes of the options */
    size_t groups;    /* where the field `groups` lies in them; group_count follows it */
    bool averages;    /* its one moment is an average of gradients, not a sum */
    /* The constructor. */
    pal_optim *(*create)(pal_params *params, const void *opts);
    /* Sets setting->moments and setting->alone of parameter i. */
    void (*classify)(const void *opts, const pal_params *params, int i, pal_setting *setting);
    /* The bytes that it needs in pal_optim.work; NULL: none. */
    size_t (*work)(const pal_optim *optim);
    /* One step of an extent; optim->steps is t. */
    void (*update)(const pal_optim *optim, const pal_extent *extent, double lr);
} pal_update_kind;

#define PAL_OPTIMISER(name) extern const pal_update_kind pal_update_##name;
#include "optim/optimisers/optimisers.def"

struct pal_optim {
    const pal_update_kind *kind;
    pal_params *params;
    int count;              /* of the parameters when it was made */
    void *opts;             /* with defaults filled in */
    pal_setting *setting;   /* of each parameter */
    pal_schedule *schedule; /* of each group that has one; the settings point here */
    int groups;             /* room in that list */
    pal_state state;
    void *work;
    size_t work_size;
    int64_t steps;
    bool known_finite; /* the caller has seen that all gradients are; the next step does not look */
    /* Called before the optimiser is freed, for the code that has divided its state; NULL: it is
     * not divided. */
    void (*on_free)(void *user);
    void *on_free_user;
};

/* pal_optim_step, which writes its error instead of telling the handler. */
pal_status pal_optim_try_step(pal_optim *optim, double lr, pal_error *error);
/* The same with all gradients multiplied by `factor`. Whatever it returns, all gradients are zero
 * afterwards. */
pal_status pal_optim_spend(pal_optim *optim, double factor, double lr, pal_error *error);
/* PAL_ENUMERIC, with the parameter in *error, if a gradient that the optimiser would use is not
 * finite. PAL_EVALUE if parameters were created after the optimiser. */
pal_status pal_optim_check_gradients(const pal_optim *optim, pal_error *error);
/* PAL_ENUMERIC, with the parameter in *error, if a gradient is too large for the moments, which
 * would be clamped. `most` is at least every gradient's absolute value. */
#define PAL_LARGE_GRADIENT \
    0x1p63 /* its square is half of the largest f32; smaller ones always fit */
pal_status pal_optim_check_moments(const pal_optim *optim, double most, pal_error *error);

/* Keeps only the moments of the parameters that this rank owns; `owner` has a rank for each
 * parameter. It must come before the first step. After PAL_EVALUE or PAL_ENOMEM nothing has
 * changed. */
pal_status pal_optim_shard(pal_optim *optim, const int *owner, int rank, pal_error *error);
/* The end of every constructor, which has filled in its defaults. If it fails, the handler is told
 * and NULL returned. */
pal_optim *pal_optim_make(const pal_update_kind *kind, pal_params *params, const void *opts,
                          const pal_group *groups, int group_count, double decay);
/* Runs a kernel over an extent with its gradients, values and moments. */
void pal_update_extent(const pal_optim *optim, const pal_extent *extent, pal_update *kernel,
                       const void *numbers);
/* AdamW's update of an extent (Adam's, if the decay is coupled), for optimisers that leave some
 * parameters to it. decay and groups of opts are not read. */
void pal_adamw_update_extent(const pal_optim *optim, const pal_extent *extent,
                             const pal_adamw_opts *opts, double lr, bool coupled);

#endif
