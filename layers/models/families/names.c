/*
 * names.c - which tensors of a folder hold the numbers of which parameters.
 *
 * Parameters and tensors of a row, each end to end, are the same numbers in the same order. So a
 * row is two ways to cut one line of numbers, and a tensor is a few pieces of parameters.
 */
#include "layers/models/families/names.h"
#include "autograd/internal.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 8, NAME = 512 }; /* parameters or tensors of a row; bytes of a name */

typedef struct group {
    int params, tensors;
    int param[MOST];
    int64_t tensor[MOST];
} group;

struct pal_names {
    const pal_params *params;
    const pal_weights *weights;
    int count;
    group *group; /* at most one for each parameter */
    int *of;      /* the group of each tensor; -1: none */
    int table;    /* the group of the embeddings */
    int64_t head; /* the tensor that repeats the embeddings; -1: none */
};

/* What is at hand while names are compared. */
typedef struct match {
    pal_names *n;
    const pal_family *family;
    const pal_described *d;
    char prefix[64];
    bool *done; /* of each parameter */
} match;

/* ---- Spellings ---- */

/* The block of a parameter's name, and where the name goes on behind its number; -1: none. */
static int64_t block_of(const char *name, const char **rest)
{
    static const char begin[] = "model.layers.";
    char *end;
    *rest = name;
    if (strncmp(name, begin, strlen(begin)) != 0) return -1;
    const long long i = strtoll(name + strlen(begin), &end, 10);
    if (*end != '.' || i < 0) return -1;
    *rest = end;
    return i;
}

/* The next of several names with blanks between them; false: there is none. */
static bool next_word(const char **words, char word[NAME])
{
    *words += strspn(*words, " ");
    const size_t n = strcspn(*words, " ");
    snprintf(word, NAME, "%.*s", (int)n, *words);
    *words += n;
    return n > 0;
}

/* Whether a name is that of a row. A star matches what is left of it, to which *star points. */
static bool same(const char *word, const char *name, const char **star)
{
    const size_t n = strlen(word);
    *star = "";
    if (n == 0 || word[n - 1] != '*') return strcmp(word, name) == 0;
    if (strncmp(word, name, n - 1) != 0) return false;
    *star = name + n - 1;
    return true;
}

/* The full name of one in the list `ours` of a row, or of one in `theirs`. */
static void full_name(const match *m, const char *word, int64_t block, const char *star, bool ours,
                      char to[NAME])
{
    char begin[128] = "";
    size_t n = strlen(word);
    const bool within = *word == '.', prefixed = *word == '^';
    if (within)
        snprintf(begin, sizeof begin, "%slayers.%lld", ours ? "model." : m->prefix,
                 (long long)block);
    else if (prefixed)
        snprintf(begin, sizeof begin, "%s", m->prefix);
    word += prefixed;
    n -= prefixed;
    if (n > 0 && word[n - 1] == '*') n--;
    snprintf(to, NAME, "%s%.*s%s", begin, (int)n, word, star);
}

/* The name of the mixer of a block. */
static bool block_has(const match *m, int64_t block, const char *mixer)
{
    if (block < 0 || block >= m->d->opts.layers) return false;
    const char *text = m->d->text[m->d->kind[block]];
    const size_t n = strcspn(text, ":");
    return strlen(mixer) == n && strncmp(text, mixer, n) == 0;
}

static int find_param(const pal_params *params, const char *name)
{
    for (int i = 0; i < pal_params_count(params); i++)
        if (strcmp(pal_params_name(params, i), name) == 0) return i;
    return -1;
}

/* ---- One row ---- */

/* The parameters of a row that has parameter i; false: it has not, or lacks another. */
static bool take_ours(const match *m, const pal_spelling *row, int i, group *g, int64_t *block,
                      const char **star)
{
    const char *name = pal_params_name(m->n->params, i), *rest, *words = row->ours;
    char word[NAME], full[NAME];
    bool has = false;
    *block = block_of(name, &rest);
    while (!has && next_word(&words, word))
        has = same(word, *word == '.' ? rest : name, star) && (*word != '.' || *block >= 0);
    if (!has || (row->mixer && !block_has(m, *block, row->mixer))) return false;
    g->params = 0;
    for (words = row->ours; next_word(&words, word) && g->params < MOST;) {
        /* Neighbours are made one after the other. */
        full_name(m, word, *block, *star, true, full);
        int j = g->params ? g->param[g->params - 1] + 1 : i;
        if (j >= pal_params_count(m->n->params) || strcmp(pal_params_name(m->n->params, j), full))
            j = find_param(m->n->params, full);
        if (j < 0 || m->done[j]) return false;
        g->param[g->params++] = j;
    }
    return true;
}

/* The tensors of a row; the name of the first that is missing is left in `lacks`. */
static bool take_theirs(const match *m, const pal_spelling *row, int64_t block, const char *star,
                        group *g, char lacks[NAME])
{
    const char *words = row->theirs;
    char word[NAME];
    g->tensors = 0;
    while (next_word(&words, word) && g->tensors < MOST) {
        full_name(m, word, block, star, false, lacks);
        const int64_t t = pal_weights_find(m->n->weights, lacks);
        if (t < 0 || m->n->of[t] >= 0) return false;
        g->tensor[g->tensors++] = t;
    }
    return true;
}

/* ---- Shapes ---- */

/* Adds the rows of a shape to *rows. Further shapes have to be like the first but for those. */
static bool add_rows(const pal_shape *s, pal_shape *first, int64_t *rows)
{
    if (s->ndim == 0) return false;
    if (first->ndim == 0) *first = *s;
    *rows += s->dim[0];
    pal_shape like = *s;
    like.dim[0] = first->dim[0];
    return pal_shape_equal(like, *first);
}

static const char *describe_tensor(const pal_stored *t, char text[160])
{
    char shape[128];
    const pal_array a = pal_array_of(PAL_F32, t->shape, NULL);
    pal_array_describe(&a, shape, sizeof shape); /* f32[..] */
    snprintf(text, 160, "%s%s", t->type == PAL_EL_OTHER ? t->dtype : pal_element_name(t->type),
             strchr(shape, '['));
    return text;
}

static pal_status check_shapes(const match *m, const group *g, pal_error *error)
{
    pal_shape ours = {0}, theirs = {0};
    int64_t rows = 0, their_rows = 0;
    char have[160], want[128];
    const pal_array a = pal_params_array(m->n->params, g->param[0]);
    for (int i = 0; i < g->tensors; i++) {
        const pal_stored *t = pal_weights_at(m->n->weights, g->tensor[i]);
        if (t->type == PAL_EL_OTHER)
            return pal_error_set(error, PAL_EFORMAT,
                                 "%.300s is %s, and bf16, f16, f32 and f64 are "
                                 "read",
                                 t->name, describe_tensor(t, have));
        if (!add_rows(&t->shape, &theirs, &their_rows))
            return pal_error_set(error, PAL_EFORMAT, "%.300s is %s, which does not fit %.200s",
                                 t->name, describe_tensor(t, have),
                                 pal_weights_at(m->n->weights, g->tensor[0])->name);
    }
    for (int i = 0; i < g->params; i++) {
        const pal_array p = pal_params_array(m->n->params, g->param[i]);
        const pal_shape shape = pal_array_shape(&p);
        if (!add_rows(&shape, &ours, &rows)) their_rows = -1;
    }
    theirs.dim[0] = ours.dim[0];
    if (rows == their_rows && pal_shape_equal(ours, theirs)) return PAL_OK;
    const pal_stored *t = pal_weights_at(m->n->weights, g->tensor[0]);
    pal_array_describe(&a, want, sizeof want);
    if (g->params == 1 && g->tensors == 1)
        return pal_error_set(error, PAL_EFORMAT, "%.300s is %s where %s is wanted", t->name,
                             describe_tensor(t, have), strchr(want, '['));
    return pal_error_set(error, PAL_EFORMAT,
                         "%.300s is %s; with what belongs to it, it does not have %lld rows like "
                         "those of %s",
                         t->name, describe_tensor(t, have), (long long)rows, strchr(want, '['));
}

/* ---- All of them ---- */

/* Finds the row of parameter i, which is not done yet. */
static pal_status match_param(match *m, int i, char lacks[NAME], pal_error *error)
{
    const pal_family *f = m->family;
    bool known = false;
    *lacks = '\0';
    for (int r = 0; r < f->spelling_count; r++) {
        char missing[NAME];
        const char *star;
        int64_t block;
        group g = {0};
        if (!take_ours(m, &f->spellings[r], i, &g, &block, &star)) continue;
        if (!take_theirs(m, &f->spellings[r], block, star, &g, missing)) {
            if (!known) strcpy(lacks, missing);
            known = true;
            continue;
        }
        *lacks = '\0';
        if (strcmp(f->spellings[r].ours, "model.embeddings.weight") == 0) m->n->table = m->n->count;
        for (int j = 0; j < g.params; j++) m->done[g.param[j]] = true;
        for (int j = 0; j < g.tensors; j++) m->n->of[g.tensor[j]] = m->n->count;
        m->n->group[m->n->count++] = g;
        return check_shapes(m, &g, error);
    }
    if (!known) strcpy(lacks, pal_params_name(m->n->params, i));
    return PAL_OK;
}

static pal_status match_params(match *m, pal_error *error)
{
    char first[NAME] = "", lacks[NAME];
    int missing = 0;
    for (int i = 0; i < pal_params_count(m->n->params); i++) {
        if (m->done[i]) continue;
        const pal_status s = match_param(m, i, lacks, error);
        if (s != PAL_OK) return s;
        if (*lacks && missing++ == 0) strcpy(first, lacks);
    }
    if (!missing) return PAL_OK;
    if (missing == 1) return pal_error_set(error, PAL_EFORMAT, "it lacks the tensor %.400s", first);
    return pal_error_set(error, PAL_EFORMAT, "it lacks the tensor %.400s and %d more", first,
                         missing - 1);
}

/* Whether a name begins with one of "a|b"; *begin gets it. */
static bool begins_with_one(const char *name, const char *begins, char begin[64])
{
    for (const char *b = begins ? begins : ""; *b;) {
        const size_t n = strcspn(b, "|");
        snprintf(begin, 64, "%.*s", (int)n, b);
        if (strncmp(name, begin, n) == 0) return true;
        b += n + (b[n] == '|');
    }
    return false;
}

/* The head of a tied model, where a file has it too. */
static pal_status check_head(match *m, int64_t tensor, pal_error *error)
{
    const pal_stored *head = pal_weights_at(m->n->weights, tensor);
    const group *g = &m->n->group[m->n->table];
    const pal_stored *table = pal_weights_at(m->n->weights, g->tensor[0]);
    m->n->head = tensor;
    if (g->tensors == 1 && head->type == table->type && head->bytes == table->bytes &&
        pal_shape_equal(head->shape, table->shape) &&
        memcmp(head->data, table->data, head->bytes) == 0)
        return PAL_OK;
    return pal_error_set(error, PAL_EFORMAT,
                         "%.300s differs from %.300s, and config.json says that they are the same",
                         head->name, table->name);
}

static pal_status check_others(match *m, pal_error *error)
{
    char begin[64], head[NAME] = "";
    const char *extra = NULL;
    int64_t extras = 0;
    const bool tied = m->d->opts.tie;
    for (int r = 0; tied && r < m->family->spelling_count; r++)
        if (strcmp(m->family->spellings[r].ours, "lm_head.weight") == 0)
            full_name(m, m->family->spellings[r].theirs, -1, "", false, head);
    for (int64_t t = 0; t < pal_weights_count(m->n->weights); t++) {
        const char *name = pal_weights_at(m->n->weights, t)->name;
        if (m->n->of[t] >= 0 || begins_with_one(name, m->family->left_out, begin)) continue;
        if (tied && strcmp(name, head) == 0) {
            const pal_status s = check_head(m, t, error);
            if (s != PAL_OK) return s;
        } else if (extras++ == 0) {
            extra = name;
        }
    }
    if (!extras) return PAL_OK;
    if (extras == 1)
        return pal_error_set(error, PAL_EFORMAT,
                             "it has the tensor %.400s, which its model does "
                             "not have",
                             extra);
    return pal_error_set(error, PAL_EFORMAT,
                         "it has the tensor %.400s and %lld more, which its model does not have",
                         extra, (long long)extras - 1);
}

/* The first of the family's prefixes with which a tensor's name begins. */
static void choose_prefix(match *m)
{
    for (const char *p = m->family->prefixes; *p;) {
        const size_t n = strcspn(p, "|");
        snprintf(m->prefix, sizeof m->prefix, "%.*s", (int)n, p);
        for (int64_t t = 0; t < pal_weights_count(m->n->weights); t++)
            if (strncmp(pal_weights_at(m->n->weights, t)->name, m->prefix, n) == 0) return;
        p += n + (p[n] == '|');
    }
}

pal_status pal_names_match(pal_names **names, const pal_params *params, const pal_family *family,
                           const pal_described *d, const pal_weights *weights, pal_error *error)
{
    const size_t params_n = (size_t)pal_params_count(params),
                 tensors = (size_t)pal_weights_count(weights);
    *names = NULL;
    pal_names *n = calloc(1, sizeof *n);
    match m = {.n = n, .family = family, .d = d, .done = calloc(params_n + 1, sizeof *m.done)};
    if (n) {
        *n = (pal_names){params,
                         weights,
                         0,
                         calloc(params_n + 1, sizeof *n->group),
                         malloc((tensors + 1) * sizeof *n->of),
                         0,
                         -1};
    }
    if (!n || !m.done || !n->group || !n->of) {
        free(m.done);
        pal_names_free(n);
        return pal_error_set(error, PAL_ENOMEM, "out of memory for names");
    }
    for (size_t t = 0; t < tensors; t++) n->of[t] = -1;
    choose_prefix(&m);
    pal_status s = match_params(&m, error);
    if (s == PAL_OK) s = check_others(&m, error);
    free(m.done);
    if (s == PAL_OK)
        *names = n;
    else
        pal_names_free(n);
    return s;
}

void pal_names_free(pal_names *n)
{
    if (!n) return;
    free(n->group);
    free(n->of);
    free(n);
}

/* ---- Pieces ---- */

pal_role pal_names_role(const pal_names *n, int64_t tensor)
{
    if (tensor == n->head) return PAL_ROLE_REPEATS;
    return n->of[tensor] >= 0 ? PAL_ROLE_MODEL : PAL_ROLE_OTHER;
}

void pal_names_pieces(const pal_names *n, int64_t tensor, pal_piece_fn *fn, void *user)
{
    const group *g = &n->group[tensor == n->head ? n->table : n->of[tensor]];
    const int64_t wanted = tensor == n->head ? g->tensor[0] : tensor;
    int64_t begin = 0, at = 0; /* on the line of numbers: of the tensor, and of a parameter */
    for (int i = 0; g->tensor[i] != wanted; i++)
        begin += pal_shape_count(pal_weights_at(n->weights, g->tensor[i])->shape);
    const int64_t end = begin + pal_shape_count(pal_weights_at(n->weights, wanted)->shape);
    for (int i = 0; i < g->params; i++) {
        const pal_array p = pal_params_array(n->params, g->param[i]);
        const int64_t last = at + pal_array_count(&p);
        const int64_t from = at > begin ? at : begin, to = last < end ? last : end;
        if (from < to) fn(user, g->param[i], from - at, from - begin, to - from);
        at = last;
    }
}
