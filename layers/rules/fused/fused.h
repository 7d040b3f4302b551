/*
 * fused.h - the fused rules as one problem: sequences x heads, each cut into chunks.
 *
 * A lane is one value head of one sequence: lane i is head i mod HV of sequence i / HV. Lanes share
 * nothing but inputs, and the gradients of shared inputs.
 *
 * There are two schedules. With lanes enough for the team each thread takes whole lanes, several
 * heads side by side: a chunk of each in turn, so that memory, where heads are neighbours, is read
 * as it lies. With fewer, the team goes together through waves of chunks:
 * preparing and gradients are divided over lanes x chunks, the scans over lanes x panels. Both do
 * the same arithmetic in the same order, so the number of threads does not show in the results.
 */
#ifndef PAL_FUSED_H
#define PAL_FUSED_H

#include "layers/rules/scan.h"
#include "layers/rules/kernels.h"
#include "layers/rules/rule.h"
#include "layers/parts.h"
#include "tensor/denormals.h"

/* Tokens of a chunk unless the caller says otherwise; measured (docs/kernels.md). */
enum { PAL_DEFAULT_CHUNK = 16 };

typedef struct pal_fused_opts {
    const pal_rule *rule;
    bool recurrent, in_place, normalize, activate;
    int64_t C;     /* tokens a chunk */
    int64_t every; /* a state is kept for backward at every so many chunks */
    double scale, lower_bound;
    bool records; /* backward will come: keep states */
} pal_fused_opts;

typedef struct pal_fused {
    const pal_call *call;
    const pal_fused_opts *opts;
    const pal_rule_table *table;
    const pal_rule_kernels *rule;
    pal_rule_shape shape;
    size_t size;                     /* of an element */
    int at[PAL_PLACES];              /* which input of the call is at a place; -1: none */
    int64_t channels[PAL_HEAD_ARGS]; /* of what comes by token */
    pal_sequences seq;
    int64_t HV, H, lanes;
    int64_t wave; /* chunks a lane goes through between two barriers; 0: lanes by threads */
    int team;
} pal_fused;

/* Of a call whose inputs begin with those of its rule (pal_rule_input), or with arrays like them.
 */
pal_fused pal_fused_of(const pal_call *call, int team);
/* The input at a place and its gradient; NULL: there is none, or nobody wants it. */
static inline const pal_array *pal_fused_in(const pal_fused *f, int place)
{
    return f->at[place] < 0 ? NULL : f->call->in[f->at[place]];
}
static inline const pal_array *pal_fused_din(const pal_fused *f, int place)
{
    return pal_fused_in(f, place) ? f->call->din[f->at[place]] : NULL;
}
/* At least so many chunks: whole segments between kept states, or the longest sequence. */
int64_t pal_fused_segment(const pal_fused *f, int64_t chunks);
/* The wave for a pass whose work is divided over so many units (lanes, or families of lanes that
 * share gradients), when it wants about `chunks` of them at once; 0 if units are enough. */
int64_t pal_fused_wave(const pal_fused *f, int64_t units, int64_t chunks);
/* Lanes side by side are of one sequence, in whole families of `members` lanes that belong
 * together; so many families. At most PAL_SIDE lanes unless a family is larger. */
enum { PAL_SIDE = 8 };
int64_t pal_fused_side(const pal_fused *f, int64_t members);
/* The lanes of group `i` when `side` families are side by side, and how many groups there are. */
typedef struct pal_group {
    int64_t first, count;
} pal_group;
pal_group pal_fused_group(const pal_fused *f, int64_t members, int64_t side, int64_t i);
int64_t pal_fused_groups(const pal_fused *f, int64_t members, int64_t side);

/* ---- Geometry ---- */

static inline int64_t pal_fused_length(const pal_fused *f, int64_t sequence)
{
    return pal_sequence_length(&f->seq, sequence);
}
static inline int64_t pal_fused_chunks(const pal_fused *f, int64_t sequence)
{
    return (pal_fused_length(f, sequence) + f->shape.C - 1) / f->shape.C;
}
static inline int64_t pal_fused_rows(const pal_fused *f, int64_t sequence, int64_t chunk)
{
    int64_t left = pal_fused_length(f, sequence) - chunk * f->shape.C;
    return left < f->shape.C ? left : f->shape.C;
}
static inline int64_t pal_fused_panels(const pal_fused *f) { return f->shape.Vp / f->table->panel; }
/* Bytes of a state in panels, and of one panel. */
static inline size_t pal_fused_state_bytes(const pal_fused *f)
{
    return (size_t)(f->shape.Kp * f->shape.Vp) * f->size;
}
static inline size_t pal_fused_panel_bytes(const pal_fused *f)
{
    return (size_t)(f->shape.Kp * f->table->panel) * f->size;
}
/* Room for kept states, in states. */
int64_t pal_fused_kept(const pal_fused *f);
/* Where the state before `chunk`, a multiple of opts->every, is kept. */
void *pal_fused_state(const pal_fused *f, int64_t lane, int64_t chunk);

/* Rows of x [B,T,heads(,channels)] for a lane, from its sequence's first token on. */
pal_rows pal_fused_array_rows(const pal_fused *f, const pal_array *x, int64_t lane);
/* The state of a lane in x [S,HV,K,V]; data is NULL if x is. */
pal_rows pal_fused_state_rows(const pal_fused *f, const pal_array *x, int64_t lane);
pal_head pal_fused_head(const pal_fused *f, int64_t lane);
/* The same rows from token t on. */
static inline pal_rows pal_rows_from(const pal_fused *f, pal_rows x, int64_t t)
{
    if (x.data) x.data = (char *)x.data + (size_t)(t * x.step) * f->size;
    return x;
}

/* Adds the rows of x from token t on to what a chunk's scans ask for ahead of time. */
static inline void pal_fused_ahead(const pal_fused *f, pal_ahead *a, pal_rows x, int64_t t,
                                   int64_t channels)
{
    pal_ahead_add(a, pal_rows_from(f, x, t), channels, f->size);
}
/* The same for all of a head's arguments or gradients. */
void pal_fused_ahead_head(const pal_fused *f, pal_ahead *a, const pal_rows x[PAL_HEAD_ARGS],
                          int64_t t);

/* ---- Memory ---- */

pal_chunk pal_carve_chunk(pal_carver *c, const pal_fused *f);
pal_chunk_back pal_carve_back(pal_carver *c, const pal_fused *f);

/* The operation on checked arguments that are on the frame's tape. */
pal_rule_out pal_fused_rule(pal_frame *f, const pal_scan *s, const pal_rule *rule,
                            const pal_tensor in[PAL_RULE_INPUTS], const pal_rule_opts *opts);

pal_fused_opts pal_fused_options(const pal_rule *rule, const pal_tensor in[PAL_RULE_INPUTS],
                                 const pal_rule_opts *opts);

/*
 * The tokens of each sequence as one map of its state, S_out = M S_in + N: M [S,HV,K,K] and N
 * [S,HV,K,V] for operands as the fused operation takes them (checked by the caller, on one tape).
 * Its transpose is dS_in = M^T dS_out + n, n [S,HV,K,V] from dO [B,T,HV,V]. N is M S_in + N if
 * there is a state, and n is M^T dS_out + n with dS_out in its place; M may be NULL, not wanted.
 * Constants: nothing is recorded. About 6 K (K + V), 6 K V without M, and 10 K V flops a token and
 * head.
 */
void pal_rule_map(const pal_rule *rule, const pal_tensor in[PAL_RULE_INPUTS], pal_rule_opts opts,
                  pal_tensor *M, pal_tensor *N);
pal_tensor pal_rule_map_back(const pal_rule *rule, const pal_tensor in[PAL_RULE_INPUTS],
                             pal_rule_opts opts, pal_tensor dO);

/* The second of them inside another operation: its scratch a thread, and what it does. */
size_t pal_rule_map_back_bytes(const pal_fused *f);
void pal_rule_map_back_forward(const pal_call *call);

/* ---- Sequences over processes (ranks.c) ---- */

/* A rule on one process's stretch, between begin and end; where sequences are whole, nothing. */
typedef struct pal_rule_parts {
    pal_part part;
    pal_fused_opts opts;
    int64_t first;                     /* tokens of the first piece */
    pal_tensor piece[PAL_RULE_INPUTS]; /* operands of these tokens, constants */
    pal_tensor map;                    /* M of what goes through; PAL_NONE: nobody reads it */
} pal_rule_parts;

/*
 * Before the rule, composed or fused, of these operands: brings in the states that come from
 * earlier ranks, as s->state and the state among in[]. False after reporting.
 */
bool pal_rule_parts_begin(pal_rule_parts *p, pal_scan *s, const pal_rule *rule,
                          pal_tensor in[PAL_RULE_INPUTS], const pal_rule_opts *opts);
/* After it: out itself, but in backward the rule gets the gradients that come from later ranks. */
pal_rule_out pal_rule_parts_end(const pal_rule_parts *p, pal_rule_out out);

size_t pal_fused_forward_scratch(const pal_fused *f);
size_t pal_fused_backward_scratch(const pal_fused *f);

void pal_fused_forward(const pal_call *call);
void pal_fused_backward(const pal_call *call);

#endif
