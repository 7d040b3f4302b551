/*
 * fused.h - the fused rules as one problem: sequences x heads, each cut into chunks.
 *
 * A lane is one value head of one sequence: lane i is head i mod HV of sequence i / HV. Lanes share
 * nothing but inputs, and the gradients of shared inputs.
 *
 * There are two schedules. If there are enough lanes for the team, each thread takes whole lanes,
 * several heads of a sequence side by side: it computes a chunk of each in turn. Heads are
 * neighbours in memory, so it reads memory in order. With fewer lanes, the whole team goes through
 * the chunks in waves: preparation and gradients are divided over lanes x chunks, the scans over
 * lanes x panels. Both schedules do the same arithmetic in the same order, so results do not depend
 * on the number of threads.
 */
#ifndef PAL_FUSED_H
#define PAL_FUSED_H

#include "layers/rules/scan.h"
#include "layers/rules/kernels.h"
#include "layers/rules/rule.h"
#include "layers/parts.h"
#include "tensor/denormals.h"

/* The default number of tokens in a chunk; docs/kernels.md has the measurements. */
enum { PAL_DEFAULT_CHUNK = 16 };

typedef struct pal_fused_opts {
    const pal_rule *rule;
    bool recurrent, in_place, normalize, activate;
    int64_t C;     /* tokens a chunk */
    int64_t every; /* backward keeps the state before every `every`-th chunk */
    double scale, lower_bound;
    pal_pair pair;
    bool records; /* keep states, because backward will follow */
} pal_fused_opts;

typedef struct pal_fused {
    const pal_call *call;
    const pal_fused_opts *opts;
    const pal_rule_table *table;
    const pal_rule_kernels *rule;
    pal_rule_shape shape;
    size_t size;        /* of an element */
    int at[PAL_PLACES]; /* which input of the call is at a place; -1: none */
    /* Of the operands that have a value for each token: their channels, the axis of heads (-1: they
     * have none), its size, and how many value heads share one of these. */
    int64_t channels[PAL_HEAD_ARGS], heads[PAL_HEAD_ARGS], sharers[PAL_HEAD_ARGS];
    int head_axis[PAL_HEAD_ARGS];
    int64_t tokens; /* of a chunk; shape.C counts their rows */
    double *angles; /* Mamba-3: those of all lanes (ends.c) */
    pal_sequences seq;
    int64_t HV, lanes;
    int64_t members; /* lanes of a family: neighbours that add to the same gradients */
    int64_t wave;    /* chunks of a lane between two barriers; 0: threads take whole lanes */
    int team;
} pal_fused;

/* The problem of a call. Its inputs are those of its rule (pal_rule_input), perhaps with more
 * behind them. */
pal_fused pal_fused_of(const pal_call *call, int team);
/* The same problem for another team. */
void pal_fused_use_team(pal_fused *f, int team);
/* The input at a place, and its gradient. NULL: there is no such input, or nobody wants its
 * gradient. */
static inline const pal_array *pal_fused_in(const pal_fused *f, int place)
{
    return f->at[place] < 0 ? NULL : f->call->in[f->at[place]];
}
static inline const pal_array *pal_fused_din(const pal_fused *f, int place)
{
    return pal_fused_in(f, place) ? f->call->din[f->at[place]] : NULL;
}
/* Rounds `chunks` up to a multiple of opts->every. The result is at most the chunks of the longest
 * sequence. */
int64_t pal_fused_whole_chunks(const pal_fused *f, int64_t chunks);
/* The chunks of a lane in a wave. A pass divides its work over so many units, which are lanes, or
 * families of lanes that share gradients. It wants about `chunks` chunks of all units at once. The
 * result is 0 if there are enough units for the team. */
int64_t pal_fused_wave(const pal_fused *f, int64_t units, int64_t chunks);
/* How many families of `members` lanes a thread takes side by side. All belong to one sequence.
 * They are at most PAL_SIDE lanes, unless one family has more. */
enum { PAL_SIDE = 8 };
int64_t pal_fused_side(const pal_fused *f, int64_t members);
/* The lanes of group `i` when `side` families are side by side, and how many groups there are. */
typedef struct pal_lanes {
    int64_t first, count;
} pal_lanes;
pal_lanes pal_fused_group(const pal_fused *f, int64_t members, int64_t side, int64_t i);
int64_t pal_fused_groups(const pal_fused *f, int64_t members, int64_t side);

/* ---- Geometry ---- */

/* The sequence and the head of a lane. A division would take longer than what decoding does with
 * them. */
static inline int64_t pal_fused_sequence(const pal_fused *f, int64_t lane)
{
    return f->seq.count == 1 ? 0 : lane / f->HV;
}
static inline int64_t pal_fused_value_head(const pal_fused *f, int64_t lane)
{
    return lane - pal_fused_sequence(f, lane) * f->HV;
}

static inline int64_t pal_fused_length(const pal_fused *f, int64_t sequence)
{
    return pal_sequence_length(&f->seq, sequence);
}
static inline int64_t pal_fused_chunks(const pal_fused *f, int64_t sequence)
{
    return (pal_fused_length(f, sequence) + f->tokens - 1) / f->tokens;
}
/* These are the tokens of a chunk, and their rows. A result below 1 means that the sequence has no
 * such chunk. */
static inline int64_t pal_fused_tokens_in(const pal_fused *f, int64_t sequence, int64_t chunk)
{
    const int64_t left = pal_fused_length(f, sequence) - chunk * f->tokens;
    return left < f->tokens ? left : f->tokens;
}
static inline int64_t pal_fused_rows(const pal_fused *f, int64_t sequence, int64_t chunk)
{
    return pal_fused_tokens_in(f, sequence, chunk) * f->shape.ranks;
}
static inline int64_t pal_fused_panels(const pal_fused *f) { return f->shape.Vp / f->table->panel; }
/* The bytes of a state in panels, and those of one panel. */
static inline size_t pal_fused_state_bytes(const pal_fused *f)
{
    return (size_t)(f->shape.Kp * f->shape.Vp) * f->size;
}
static inline size_t pal_fused_panel_bytes(const pal_fused *f)
{
    return (size_t)(f->shape.Kp * f->table->panel) * f->size;
}
/* How many states are kept. */
int64_t pal_fused_kept(const pal_fused *f);
/* Where the state before `chunk`, a multiple of opts->every, is kept. */
void *pal_fused_state(const pal_fused *f, int64_t lane, int64_t chunk);

/* The rows of outputs [B,T ranks,HV,V] or their gradients, from the first token of a lane on. */
pal_rows pal_fused_out_rows(const pal_fused *f, const pal_array *x, int64_t lane);
/* The same of x, which has the axes of the operand at this place; of several rows a token the
 * first.
 */
pal_rows pal_fused_operand_rows(const pal_fused *f, int place, const pal_array *x, int64_t lane);
/* Part i of the final state: an output, or the input that is overwritten. */
const pal_array *pal_fused_final(const pal_fused *f, int i);
/* The state of a lane in x [S,HV,K,V]; data is NULL if x is. */
pal_rows pal_fused_state_rows(const pal_fused *f, const pal_array *x, int64_t lane);
pal_head pal_fused_head(const pal_fused *f, int64_t lane);
/* The rows x from token t on. */
static inline pal_rows pal_rows_from(const pal_fused *f, pal_rows x, int64_t t)
{
    if (x.data) x.data = (char *)x.data + (size_t)(t * x.step) * f->size;
    return x;
}

/* Part i of the final state: an output, or the input that is overwritten. */
const pal_array *pal_fused_final(const pal_fused *f, int i);
/* What a lane reads and writes in forward. */
typedef struct pal_lane {
    pal_head head;
    pal_rows o, before, after; /* the states in tensors, before and after the sequence */
} pal_lane;
pal_lane pal_lane_of(const pal_fused *f, int64_t lane);

/* Adds the rows of x from token t on to those that the scans of a chunk prefetch. */
static inline void pal_fused_ahead(const pal_fused *f, pal_prefetch *a, pal_rows x, int64_t t,
                                   int64_t channels)
{
    pal_prefetch_add(a, pal_rows_from(f, x, t), channels, f->size);
}
/* The same for outputs or their gradients, which may have several rows a token. */
void pal_fused_ahead_out(const pal_fused *f, pal_prefetch *a, pal_rows x, int64_t t);
/* The same for all of a head's arguments or gradients. Lanes from `first` to this one are done side
 * by side; what one of them has read already is left out. */
void pal_fused_ahead_head(const pal_fused *f, pal_prefetch *a, const pal_rows x[PAL_HEAD_ARGS],
                          int64_t t, int64_t first, int64_t lane);
/* Adds part `i` of `parts` of a state that was kept. */
void pal_fused_ahead_state(const pal_fused *f, pal_prefetch *a, const void *state, int64_t i,
                           int64_t parts);

/* Mamba-3: how many numbers f->angles has (0 for other rules), and those of a lane: before each
 * chunk, and after the last token. */
int64_t pal_fused_angle_count(const pal_fused *f);
double *pal_fused_lane_angles(const pal_fused *f, int64_t lane);
/* The rows of a lane in x [S,HV,(R,)channels], a part of the state. */
pal_rows pal_fused_part_rows(const pal_fused *f, const pal_array *x, int64_t lane);

/* ---- Mamba-3: where sequences begin and end (ends.c) ---- */

/* Where the angles are not saved for backward they are the first part of scratch, which begins at
 * `base`. Returns where the rest begins. */
pal_carver pal_fused_scratch(pal_fused *f, void *base);
/* Makes the angles before a lane and returns them (its chunks make the others), all of a lane, or
 * all. */
double *pal_fused_first_angles(const pal_fused *f, int64_t lane, const pal_head *h);
void pal_fused_lane_begin(const pal_fused *f, int64_t lane, const pal_head *h);
void pal_fused_angles(const pal_fused *f);
/* Writes the final angles, keys and x of a lane, or of all. `keys` are the turned rows of its last
 * token; NULL: they are made. */
void pal_fused_lane_end(const pal_fused *f, int64_t lane, const pal_head *h, const void *keys);
void pal_fused_last(const pal_fused *f);
/* Adds what is left of the last write before the sequence to columns of a state; nothing for other
 * rules. `panel` says that S is in panels, of which these are from .. to - 1; else columns. */
void pal_fused_enter(const pal_fused *f, const pal_head *h, void *S, bool panel, int64_t from,
                     int64_t to);
/* For backward: the numbers of K(ends) for each lane, [lanes][2][angles]; and what empty sequences
 * hand through. */
void pal_fused_ends_back(const pal_fused *f, double *ends);
/* Fills in what a chunk's gradient needs of them. */
void pal_fused_ends_grad(const pal_fused *f, int64_t lane, const double *ends, pal_head_grad *g);

/* ---- Gradients that families share (shared.c) ---- */

/* The lanes of a family. They divide the heads of a sequence. */
int64_t pal_fused_members(const pal_fused *f);

/* Copies of gradients that several families add to; NULL where only one does. */
typedef struct pal_shared {
    void *copies[PAL_HEAD_ARGS];
} pal_shared;
pal_shared pal_carve_shared(pal_carver *c, const pal_fused *f);
/* Where the gradient of a lane goes: the gradient at this place, which somebody wants, or a copy.
 * fresh: the lane is the first one there, and overwrites. */
pal_array pal_fused_family_grad(const pal_fused *f, const pal_shared *s, int place, int64_t lane,
                                bool *fresh);
/* Adds all copies to their gradients. */
void pal_fused_add_shared(const pal_fused *f, const pal_shared *s);

/* ---- Gradients of what a head has once (sums.c) ---- */

/* The number of sums of a lane. */
int64_t pal_fused_sum_count(const pal_fused *f);
/* Where the sums for this operand are among those of a lane; NULL: the rule has no such operand. */
double *pal_fused_sums_of(const pal_fused *f, int place, double *sums);
/* Adds the sums of all lanes to the gradients. */
void pal_fused_hand_out_sums(const pal_fused *f, const double *sums);

/* ---- Memory ---- */

pal_chunk pal_carve_chunk(pal_carver *c, const pal_fused *f);
pal_chunk_back pal_carve_back(pal_carver *c, const pal_fused *f);

/* Runs the fused operation. The arguments are checked and on the tape of the frame. */
pal_rule_out pal_fused_rule(pal_frame *f, const pal_scan *s, const pal_rule *rule,
                            const pal_tensor in[PAL_RULE_INPUTS], const pal_rule_opts *opts);

/* Whether a call goes token by token. */
bool pal_fused_recurrent(const pal_scan *s, const pal_rule_opts *opts);
/* The fused operation of a rule; its inputs are those of pal_rule_input. */
const pal_op *pal_fused_op(const pal_rule *rule);

pal_fused_opts pal_fused_options(const pal_rule *rule, const pal_tensor in[PAL_RULE_INPUTS],
                                 const pal_rule_opts *opts);

/*
 * All tokens of a sequence together change its matrix by an affine map, S_out = M S_in + N.
 * pal_rule_map computes M [S,HV,K,K] and N [S,HV,K,V] from operands as the fused operation takes
 * them; the caller has checked them. If the operands have a matrix, *N is M S_in + N of that
 * matrix. Other parts of the state belong to the map: with the keys and x of the last token before
 * it, N has what is left of their write. M may be NULL: it is not wanted. If the rule erases
 * nothing and decays by head, the map is a number for each head, and M is [S,HV,1,1]. The gradient
 * of the matrix goes back by the transposed map, dS_in = M^T dS_out + n, where S_in is the matrix
 * with that write. pal_rule_map_back returns n [S,HV,K,V], computed from dO [B,T R,HV,V]; if dS_out
 * is given in the place of the matrix, it returns M^T dS_out + n. The results are constants, and
 * nothing is recorded. Flops per row and head: about 6 K (K + V), without M or where it is a number
 * 6 K V; pal_rule_map_back 10 K V.
 */
bool pal_rule_map_is_number(const pal_rule *rule);
void pal_rule_map(const pal_rule *rule, const pal_tensor in[PAL_RULE_INPUTS], pal_rule_opts opts,
                  pal_tensor *M, pal_tensor *N);
pal_tensor pal_rule_map_back(const pal_rule *rule, const pal_tensor in[PAL_RULE_INPUTS],
                             pal_rule_opts opts, pal_tensor dO);

/* pal_rule_map_back for use inside another operation: the bytes of scratch for a team, and the
 * forward function. */
size_t pal_rule_map_back_bytes(const pal_fused *f, int team);
void pal_rule_map_back_forward(const pal_call *call);

/* ---- Sequences over processes (ranks.c) ---- */

/* What is carried from pal_rule_parts_begin to pal_rule_parts_end. If sequences are whole, both do
 * nothing. */
typedef struct pal_rule_parts {
    pal_part part;
    pal_fused_opts opts;
    pal_tensor piece[PAL_RULE_INPUTS]; /* operands of the first sequence's tokens here, constants */
    pal_tensor map; /* M, if one sequence goes through the whole part; PAL_NONE: it is not needed */
    pal_tensor brought[PAL_RULE_STATES - 1]; /* by pal_rule.bring */
} pal_rule_parts;

/*
 * Call it before the rule, composed or fused. It brings the parts of the state that come from
 * earlier ranks, and puts them in s->state and in the state among in[]. False after an error was
 * reported.
 */
bool pal_rule_parts_begin(pal_rule_parts *p, pal_scan *s, const pal_rule *rule,
                          pal_tensor in[PAL_RULE_INPUTS], const pal_rule_opts *opts);
/* Call it after the rule. It returns `out`; in backward, the rule then gets the gradients that come
 * from later ranks. */
pal_rule_out pal_rule_parts_end(const pal_rule_parts *p, pal_rule_out out);

/* The recurrent form (tokens.c), and the bytes of scratch that each thread needs. */
size_t pal_fused_token_bytes(const pal_fused *f);
void pal_fused_tokens(const pal_fused *f, char *scratch, size_t each);
/* Whether one thread does all columns of a lane there. */
bool pal_fused_whole_lanes(const pal_fused *f);

size_t pal_fused_forward_scratch(const pal_fused *f);
size_t pal_fused_backward_scratch(const pal_fused *f);

void pal_fused_forward(const pal_call *call);
void pal_fused_backward(const pal_call *call);

#endif
