/*
 * script_parse.c - reads a sequence made by hand: names, their vectors, a line for each token.
 */
#include "examples/inspect/script.h"
#include "tensor/number.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WORDS = OB_AXIS + 8 }; /* of a line: a verb, channels, options, and one too many */

static const char *const verbs[VERBS] = {"write", "erase", "decay", "read"};

typedef struct parser {
    script *s;
    const char *file;
    int number;
    pal_error *error;
} parser;

static pal_status fail(const parser *p, const char *what, const char *word)
{
    return pal_error_set(p->error, PAL_EFORMAT, "%s:%d: %s%s%.60s", p->file, p->number, what,
                         word ? ": " : "", word ? word : "");
}

static bool real(const char *word, double *x)
{
    const bool read = pal_number_read(word, x);
    if (read && *x == 0 && errno == ERANGE)
        *x = DBL_TRUE_MIN; /* too small for a double, but not 0 */
    return read && !isnan(*x);
}

/* Whether squares of x stay above 0 and those of a state below infinity: I - k (b*k)^T stretches
 * by sqrt 2 at most, 512 tokens by 1e77. */
static bool in_range(double x) { return x == 0 || (fabs(x) >= 1e-50 && fabs(x) <= 1e50); }

/* ---- Names ---- */

static pal_status find(const parser *p, names *n, const char *word, int *index)
{
    if (strlen(word) >= OB_WORD || strchr(word, '='))
        return fail(p, "a name has at most 23 characters and no =", word);
    for (*index = 0; *index < n->count; ++*index)
        if (strcmp(n->of[*index].word, word) == 0) return PAL_OK;
    if (n->count == OB_AXIS) return fail(p, "more than 64 names", word);
    strcpy(n->of[n->count++].word, word);
    return PAL_OK;
}

/* key NAME x y .. */
static pal_status declare(const parser *p, names *n, char **word, int words)
{
    int at;
    if (words < 3) return fail(p, "a name and the numbers of its vector are wanted", NULL);
    if (words - 2 > OB_AXIS) return fail(p, "more than 64 channels", word[1]);
    pal_status s = find(p, n, word[1], &at);
    if (s != PAL_OK) return s;
    name *m = &n->of[at];
    if (m->count) return fail(p, "this name has a vector already", word[1]);
    m->count = words - 2;
    if (n->width && n->width != m->count)
        return fail(p, "another vector has another number of channels", word[1]);
    n->width = m->count;
    for (int64_t i = 0; i < m->count; i++) {
        if (!real(word[i + 2], &m->x[i])) return fail(p, "this is no number", word[i + 2]);
        if (!in_range(m->x[i]))
            return pal_error_set(p->error, PAL_EFORMAT,
                                 "%s:%d: %s %s: the numbers of a vector are 0 or from 1e-50 to "
                                 "1e50 in size: %.60s",
                                 p->file, p->number, word[0], word[1], word[i + 2]);
    }
    return PAL_OK;
}

/* Names without a vector become unit vectors, in their order. Keys get unit length. */
static pal_status settle(const parser *p, names *n, bool unit, const char *what)
{
    int64_t plain = 0;
    for (int i = 0; i < n->count; i++) plain += n->of[i].count == 0;
    if (!n->width) n->width = plain > 0 ? plain : 1;
    if (plain > n->width)
        return pal_error_set(p->error, PAL_EFORMAT,
                             "%s: %lld %s without a vector, and only %lld channels", p->file,
                             (long long)plain, what, (long long)n->width);
    plain = 0;
    for (int i = 0; i < n->count; i++) {
        name *m = &n->of[i];
        if (m->count == 0) m->x[plain++] = 1;
        m->count = n->width;
        const double length = ob_norm(m->x, n->width);
        if (unit && !(length > 0))
            return pal_error_set(p->error, PAL_EFORMAT, "%s: key %s is zeros", p->file, m->word);
        for (int64_t c = 0; unit && c < n->width; c++) m->x[c] /= length;
    }
    return PAL_OK;
}

/* ---- Lines ---- */

/* What a gate may be. */
typedef struct kind {
    double low, high;
    const char *wanted;
} kind;
static const kind share = {0, 1, "a number from 0 to 1 is wanted"},
                  twice = {0, 2, "a number from 0 to 2 is wanted"}, /* negative eigenvalues */
    size = {0, 1e50, "a number from 0 to 1e50 is wanted"},
                  turns = {-1e4, 1e4, "a number from -10000 to 10000 is wanted"};

/* "1" or "1,0,0.5". */
static pal_status read_gate(const parser *p, gate *g, char *text, kind is)
{
    char *word;
    for (g->count = 0; (word = strsep(&text, ",")); g->count++) {
        if (g->count == OB_AXIS) return fail(p, "more than 64 channels", NULL);
        double *x = &g->x[g->count];
        if (!real(word, x) || !(*x >= is.low && *x <= is.high)) return fail(p, is.wanted, word);
        if (!in_range(*x))
            return fail(p,
                        is.low < 0 ? "a number that is not 0 is 1e-50 at least in size"
                                   : "a number above 0 is 1e-50 at least",
                        word);
    }
    return PAL_OK;
}

static pal_status read_one(const parser *p, gate *g, char *text, kind is)
{
    const pal_status s = read_gate(p, g, text, is);
    return s == PAL_OK && g->count != 1 ? fail(p, "dt and lam are one number", NULL) : s;
}

static pal_status option(const parser *p, line *l, char *word)
{
    char *equals = strchr(word, '=');
    if (!equals) return fail(p, "erase=, write=, decay=, dt=, lam= or angle= is wanted here", word);
    *equals = 0;
    if (strcmp(word, "erase") == 0 && (l->verb == WRITE || l->verb == ERASE))
        return read_gate(p, &l->erase, equals + 1, twice);
    if (strcmp(word, "write") == 0 && l->verb == WRITE)
        return read_gate(p, &l->write, equals + 1, share);
    if (strcmp(word, "decay") == 0 && l->verb != DECAY)
        return read_gate(p, &l->decay, equals + 1, share);
    if (strcmp(word, "dt") == 0) return read_one(p, &l->dt, equals + 1, size);
    if (strcmp(word, "lam") == 0) return read_one(p, &l->lam, equals + 1, share);
    if (strcmp(word, "angle") == 0) return read_gate(p, &l->angle, equals + 1, turns);
    return fail(p, "this line takes no such option", word);
}

double script_step(const line *l)
{
    if (l->dt.count) return l->dt.x[0];
    return l->verb == WRITE ? ob_mean(l->write.x, l->write.count) : 1;
}

/* Angles are turned by steps: in the rule they are a rate times dt. */
static pal_status check_angle(const parser *p, const line *l)
{
    for (int64_t j = 0; j < l->angle.count; j++)
        if (l->angle.x[j] != 0 && script_step(l) == 0)
            return fail(p, "angle= wants a step, and dt (or write) is 0", NULL);
    return PAL_OK;
}

static pal_status parse_line(const parser *p, line *l, char **word, int words)
{
    int wanted = l->verb == WRITE ? 2 : l->verb == DECAY ? 0 : 1, at = 1;
    pal_status s = PAL_OK;
    l->key = l->value = -1;
    l->erase = (gate){1, {l->verb == WRITE || l->verb == ERASE}};
    l->write = (gate){1, {l->verb == WRITE}};
    l->decay = (gate){1, {1}};
    if (words < 1 + wanted)
        return fail(p, wanted == 2 ? "write: a key and a value are wanted" : "a key is wanted",
                    NULL);
    if (wanted > 0) s = find(p, &p->s->keys, word[at++], &l->key);
    if (s == PAL_OK && wanted > 1) s = find(p, &p->s->values, word[at++], &l->value);
    if (s == PAL_OK && l->verb == DECAY) {
        if (words < 2 || strchr(word[1], '=')) return fail(p, "decay: a number is wanted", NULL);
        if (words - 1 > OB_AXIS) return fail(p, "more than 64 channels", NULL);
        l->decay.count = 0;
        for (; s == PAL_OK && at < words && !strchr(word[at], '='); l->decay.count++, at++) {
            gate one = {0};
            s = read_gate(p, &one, word[at], share);
            if (s == PAL_OK && one.count != 1)
                s = fail(p, "channels of decay have spaces between them", word[at]);
            l->decay.x[l->decay.count] = one.x[0];
        }
    }
    for (; s == PAL_OK && at < words; at++) s = option(p, l, word[at]);
    return s == PAL_OK ? check_angle(p, l) : s;
}

static pal_status parse_words(parser *p, char **word, int words, const char *text)
{
    script *s = p->s;
    if (strcmp(word[0], "key") == 0) return declare(p, &s->keys, word, words);
    if (strcmp(word[0], "value") == 0) return declare(p, &s->values, word, words);
    int v = 0;
    while (v < VERBS && strcmp(word[0], verbs[v]) != 0) v++;
    if (v == VERBS)
        return fail(p, "a line begins with key, value, write, erase, decay or read, not", word[0]);
    if (s->lines == OB_TOKENS) return fail(p, "more than 512 tokens", NULL);
    line *l = &s->line[s->lines++];
    *l = (line){.verb = (verb)v, .number = p->number};
    snprintf(l->text, sizeof l->text, "%s", text);
    return parse_line(p, l, word, words);
}

/* Gates by channel have as many as there are. */
static pal_status check_gates(const parser *p)
{
    const script *s = p->s;
    for (int i = 0; i < s->lines; i++) {
        const line *l = &s->line[i];
        const struct {
            const char *what;
            int64_t count, width;
        } all[] = {{"erase", l->erase.count, s->keys.width},
                   {"decay", l->decay.count, s->keys.width},
                   {"write", l->write.count, s->values.width},
                   {"angle", l->angle.count, s->keys.width / 2}};
        if (l->angle.count && s->keys.width < 2)
            return pal_error_set(p->error, PAL_EFORMAT,
                                 "%s:%d: angle= turns pairs of channels, and keys have one channel",
                                 p->file, l->number);
        for (int j = 0; j < 4; j++)
            if (all[j].count > 1 && all[j].count != all[j].width)
                return pal_error_set(p->error, PAL_EFORMAT,
                                     "%s:%d: %s has %lld numbers; 1 or %lld are wanted", p->file,
                                     l->number, all[j].what, (long long)all[j].count,
                                     (long long)all[j].width);
    }
    return PAL_OK;
}

/* The words of a line without its comment, in place. */
static int split(char *text, char **word, int most)
{
    int n = 0;
    text[strcspn(text, "#")] = 0;
    for (char *w; n < most && (w = strsep(&text, " \t\r"));)
        if (*w) word[n++] = w;
    return n;
}

pal_status script_parse(script *s, const char *text, const char *file, pal_error *error)
{
    parser p = {.s = s, .file = file, .error = error};
    char *copy = ob_copy(text, (int64_t)strlen(text)), *rest = copy, *one, *word[MOST_WORDS];
    pal_status status = PAL_OK;
    *s = (script){.lines = 0};
    while (status == PAL_OK && (one = strsep(&rest, "\n"))) {
        char shown[sizeof s->line->text] = "";
        p.number++;
        const int words = split(one, word, MOST_WORDS);
        if (words == MOST_WORDS) status = fail(&p, "too many words", NULL);
        for (int i = 0; i < words; i++) {
            strncat(shown, i ? " " : "", sizeof shown - 1 - strlen(shown));
            strncat(shown, word[i], sizeof shown - 1 - strlen(shown));
        }
        if (status == PAL_OK && words > 0) status = parse_words(&p, word, words, shown);
    }
    free(copy);
    if (status == PAL_OK && s->lines == 0)
        status = pal_error_set(error, PAL_EFORMAT, "%s has no line that is a token", file);
    if (status == PAL_OK) status = settle(&p, &s->keys, true, "keys");
    if (status == PAL_OK) status = settle(&p, &s->values, false, "values");
    return status == PAL_OK ? check_gates(&p) : status;
}
