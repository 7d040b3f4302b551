/*
 * study.c - reads a study: lines `name = value`, # begins a comment.
 *
 * The lines are gone over several times, so that their order does not matter: for what holds for
 * all, for the variants, and for what these have of their own. Then options multiply the variants,
 * and X+O, which has what X had, may have something of its own too (lines of --rates have such
 * names).
 */
#include "examples/ablate/axes.h"
#include "examples/lm/options.h"
#include "examples/lm/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LINES = 512, MOST_OPTIONS = 8 };

typedef axes_line line;
typedef struct option {
    char name[NAME];
    const char *keys; /* of mixers, each after a colon; "": none */
} option;

typedef struct reading {
    const char *path, *from;
    lm_text text;
    int options;
    axes_lines all;
    option option[MOST_OPTIONS];
    study *s;
} reading;

static void wrong(const reading *r, const line *l, const char *should)
{
    stop("%s: line %d: %s=%.200s should be %s", r->path, l->number, l->name, l->value, should);
}

/* ---- Lines ---- */

/* Only tasks may be there several times. */
static void add_line(reading *r, char *text, int number)
{
    char *hash = strchr(text, '#');
    if (hash) *hash = '\0';
    text = pal_trim(text);
    if (!*text) return;
    char *equals = strchr(text, '=');
    if (!equals) stop("%s: line %d: '%.100s' is not 'name = value'", r->path, number, text);
    if (r->all.n == MOST_LINES) stop("%s: it has more than %d lines", r->path, MOST_LINES);
    *equals = '\0';
    const line l = {number, pal_trim(text), pal_trim(equals + 1), false, 0};
    if (!*l.value) stop("%s: line %d: %s has no value", r->path, number, l.name);
    for (int i = 0; i < r->all.n && strcmp(l.name, "task"); i++)
        if (strcmp(r->all.line[i].name, l.name) == 0)
            stop("%s: line %d: %s is there twice, in line %d too", r->path, number, l.name,
                 r->all.line[i].number);
    r->all.line[r->all.n++] = l;
}

static void read_lines(reading *r)
{
    pal_error error;
    if (lm_text_read_most(&r->text, r->path, LM_MOST_LINES, &error) != PAL_OK)
        stop("%s", error.message);
    char *copy = malloc((size_t)r->text.size + 1), *rest = copy;
    if (!copy) stop("%s: out of memory", r->path);
    memcpy(copy, r->text.byte, (size_t)r->text.size);
    copy[r->text.size] = '\0';
    if (strlen(copy) != (size_t)r->text.size) stop("%s: it is no text", r->path);
    lm_text_free(&r->text);
    r->text.byte = (unsigned char *)copy; /* lines point into it */
    for (int number = 1; rest; number++) {
        char *text = strsep(&rest, "\n");
        add_line(r, text, number);
    }
}

static bool is_name(const char *text, size_t n)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+";
    return n > 0 && n < NAME && strspn(text, allowed) >= n;
}

/* ---- What holds for all ---- */

static void add_task(reading *r, const line *l)
{
    study *s = r->s;
    pal_error error;
    if (s->tasks == MOST_TASKS)
        stop("%s: line %d: a study has at most %d tasks", r->path, l->number, MOST_TASKS);
    char *whole = r->from ? bundle_task(r->from, l->value) : NULL;
    if (task_new(&s->task[s->tasks], whole ? whole : l->value, &error) != PAL_OK)
        stop("%s: line %d: %s", r->path, l->number, error.message);
    free(whole);
    task *t = s->task[s->tasks];
    int before = 0;
    for (int i = 0; i < s->tasks; i++) before += strcmp(task_name(s->task[i]), task_name(t)) == 0;
    snprintf(s->label[s->tasks], NAME, before ? "%.40s%d" : "%.40s", task_name(t), before + 1);
    s->tasks++;
}

static int different_seeds(const reading *r, const line *l, const int64_t *of, int64_t n,
                           uint64_t seed[MOST_SEEDS])
{
    for (int64_t i = 0; i < n; i++) {
        seed[i] = (uint64_t)of[i];
        for (int64_t j = 0; j < i; j++)
            if (seed[j] == seed[i]) wrong(r, l, "a list of different numbers");
    }
    return (int)n;
}

static void take_rates(const reading *r, const line *l, const said *x)
{
    study *s = r->s;
    s->rates = (int)x->rates.count;
    for (int i = 0; i < s->rates; i++) {
        s->rate[i] = x->rates.of[i];
        for (int j = 0; j < i; j++)
            if (s->rate[i] == s->rate[j]) wrong(r, l, "a list of different numbers");
    }
}

/* "3%" or "0.03". */
static bool share_read(const char *text, double *out)
{
    char word[32];
    const size_t n = strlen(text);
    const bool percent = n && text[n - 1] == '%';
    if (n >= sizeof word) return false;
    snprintf(word, sizeof word, "%.*s", (int)(n - percent), text);
    if (!pal_number_read(word, out)) return false;
    if (percent) *out /= 100;
    return *out > 0 && *out <= 0.5;
}

/* A key of the table of studies. */
static void take(const reading *r, const line *l, const char *prefix)
{
    study *s = r->s;
    pal_error error;
    said x = {.models = s->models};
    if (pal_keys_set(&study_keys, &x, prefix, l->name, l->value, &error) != PAL_OK)
        stop("%s", error.message);
    if (*x.title) memcpy(s->title, x.title, sizeof s->title);
    if (*x.same) memcpy(s->same, x.same, sizeof s->same), s->same_line = l->number;
    if (*x.differ) memcpy(s->differ, x.differ, sizeof s->differ);
    if (*x.compare) memcpy(s->compare, x.compare, sizeof s->compare);
    if (x.seeds.count) s->seeds = different_seeds(r, l, x.seeds.of, x.seeds.count, s->seed);
    if (x.rate_seeds.count)
        s->rate_seeds = different_seeds(r, l, x.rate_seeds.of, x.rate_seeds.count, s->rate_seed);
    if (x.rates.count) take_rates(r, l, &x);
    if (x.rate_steps) s->short_rates = true;
    if (x.state) s->state_line = l->number;
    if (x.state > 0 || x.state == STATE_SAME) s->state = x.state;
    if (x.parameters) s->parameters = x.parameters;
    s->models = x.models;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static void read_common(reading *r, const line *l)
{
    char prefix[PAL_PATH + 32];
    pal_error error;
    if (begins(l->name, "variant.") || begins(l->name, "option.")) return;
    snprintf(prefix, sizeof prefix, "%s: line %d: ", r->path, l->number);
    if (strcmp(l->name, "task") == 0) {
        add_task(r, l);
    } else if (strcmp(l->name, "match") == 0) {
        if (!share_read(l->value, &r->s->match))
            wrong(r, l, "a share such as 3% or 0.03, up to 50%");
        r->s->match_line = l->number;
    } else if (pal_keys_find(&study_keys, l->name) >= 0) {
        take(r, l, prefix);
    } else if (strcmp(l->name, "init") == 0) {
        stop("%sinit is of one variant: variant.X.init = Y", prefix);
    } else if (pal_keys_find(&settings_keys, l->name) < 0) {
        stop("%sthere is no key '%.100s'; ablate --help names them", prefix, l->name);
    } else if (pal_keys_set(&settings_keys, &r->s->s, prefix, l->name, l->value, &error) !=
               PAL_OK) {
        stop("%s", error.message);
    }
}

/* ---- Variants ---- */

static variant *find(study *s, const char *name, size_t n)
{
    for (int i = 0; i < s->variants; i++)
        if (strlen(s->variant[i].name) == n && strncmp(s->variant[i].name, name, n) == 0)
            return &s->variant[i];
    return NULL;
}

static void add_option(reading *r, const line *l, const char *name)
{
    if (!is_name(name, strlen(name)))
        stop("%s: line %d: '%.100s' is no name: letters, digits, _ - and +", r->path, l->number,
             name);
    if (r->options == MOST_OPTIONS)
        stop("%s: line %d: a study has at most %d options", r->path, l->number, MOST_OPTIONS);
    option *o = &r->option[r->options++];
    snprintf(o->name, sizeof o->name, "%s", name);
    o->keys = "";
    if (strcmp(l->value, "none") == 0) return;
    char *keys;
    const int n = asprintf(&keys, ":%s", l->value);
    if (n < 0) stop("out of memory");
    o->keys = lm_keep(keys, (size_t)n);
    free(keys);
}

/* Of X-8-64, after two axes, the place is -8-64. */
static void place_on_axes(const line *l, variant *v)
{
    memcpy(v->base, v->name, sizeof v->base);
    if (l->base) v->base[l->base] = '\0';
    const size_t n = strlen(v->base);
    memcpy(v->axes, v->name + n, strlen(v->name + n) + 1);
}

static void read_variant(reading *r, const line *l)
{
    study *s = r->s;
    if (begins(l->name, "option.")) add_option(r, l, l->name + strlen("option."));
    if (!begins(l->name, "variant.")) return;
    const char *name = l->name + strlen("variant.");
    const size_t n = strlen(name);
    if (strchr(name, '.')) return;
    if (!is_name(name, n))
        stop("%s: line %d: '%.100s' is no name: letters, digits, _ - and +", r->path, l->number,
             name);
    if (s->variants == MOST_VARIANTS)
        stop("%s: line %d: a study has at most %d variants", r->path, l->number, MOST_VARIANTS);
    variant *v = &s->variant[s->variants++];
    *v = (variant){.s = s->s, .line = l->number, .stem = l->base ? l->base : n};
    memcpy(v->name, name, n + 1);
    place_on_axes(l, v);
    v->mixers = lm_keep(l->value, strlen(l->value));
}

/* The first time X, the second time X+O; a name that is none of both is a mistake. */
static void read_own(reading *r, line *l, bool multiplied)
{
    if (!begins(l->name, "variant.") || l->taken) return;
    const char *name = l->name + strlen("variant."), *dot = strchr(name, '.');
    if (!dot) return;
    variant *v = find(r->s, name, (size_t)(dot - name));
    if (!v && !multiplied) return;
    if (!v)
        stop("%s: line %d: there is no variant '%.*s'", r->path, l->number, (int)(dot - name),
             name);
    char prefix[PAL_PATH + 64];
    pal_error error;
    snprintf(prefix, sizeof prefix, "%s: line %d: variant.%s.", r->path, l->number, v->name);
    if (pal_keys_find(&settings_keys, dot + 1) < 0)
        stop("%s: line %d: a variant has no '%.100s' of its own", r->path, l->number, dot + 1);
    if (pal_keys_set(&settings_keys, &v->s, prefix, dot + 1, l->value, &error) != PAL_OK)
        stop("%s", error.message);
    l->taken = true;
    v->own_width |= strcmp(dot + 1, "width") == 0;
    if (strcmp(dot + 1, "init") == 0) v->init_line = l->number;
}

/* A text that is being written. */
static FILE *begin_text(void)
{
    FILE *to = pal_stream_open();
    if (!to) stop("a text in memory: %s", strerror(errno));
    return to;
}

static const char *end_text(FILE *to)
{
    size_t size;
    char *text = pal_stream_close(to, &size);
    if (!text) stop("a text in memory: %s", strerror(errno));
    const char *kept = lm_keep(text, size);
    free(text);
    return kept;
}

/* The list with keys at the end of each mixer. */
static const char *with_keys(const char *mixers, const char *keys)
{
    FILE *to = begin_text();
    for (const char *at = mixers; *at; at++) {
        const size_t length = strcspn(at, ",()");
        fprintf(to, "%.*s", (int)length, at);
        at += length;
        if (length && *at != '(') fputs(keys, to);
        if (!*at) break;
        fputc(*at, to);
    }
    return end_text(to);
}

/* Every variant with every option: its keys go to each mixer of the list. */
static void multiply(reading *r)
{
    study *s = r->s;
    const int n = s->variants;
    if (!r->options) return;
    if (n * r->options > MOST_VARIANTS)
        stop("%s: %d variants times %d options are more than %d", r->path, n, r->options,
             MOST_VARIANTS);
    for (int i = n * r->options - 1; i >= 0; i--) { /* from the end: the place may be that of one */
        const option *o = &r->option[i % r->options];
        variant v = s->variant[i / r->options];
        char name[2 * NAME];
        v.mixers = with_keys(v.mixers, o->keys);
        snprintf(name, sizeof name, "%s+%s", v.name, o->name);
        if (strlen(name) >= NAME)
            stop("%s: line %d: variant %s with option %s is too long", r->path, v.line, v.name,
                 o->name);
        memcpy(v.name, name, strlen(name) + 1);
        if (!*v.axes) memcpy(v.base, name, strlen(name) + 1);
        s->variant[i] = v;
    }
    s->variants = n * r->options;
}

/* ---- The study ---- */

/* Whether the mixer that begins a text has the key expand, which inner=N stands for. */
static bool has_inner(const char *mixer)
{
    pal_error error;
    FILE *to = begin_text();
    fprintf(to, "%.*s:expand=1", (int)strcspn(mixer, ":,)"), mixer);
    return pal_mixers_check(end_text(to), &error) == PAL_OK;
}

/* inner=N is a key of ours (match.c), which the mixers do not know. */
static void check_mixers(const reading *r, const variant *v)
{
    pal_error error;
    const char *mixer = v->mixers;
    FILE *to = begin_text();
    for (const char *at = v->mixers; *at;) {
        if (strchr(",(*", *at)) mixer = at + 1;
        if (begins(at, ":inner=")) {
            if (!has_inner(mixer))
                stop("%s: line %d: variant %s: mixer %.*s has no key \"inner\", nor \"expand\"",
                     r->path, v->line, v->name, (int)strcspn(mixer, ":,)"), mixer);
            at += 1 + strcspn(at + 1, ":,)");
            continue;
        }
        fputc(*at++, to);
    }
    if (pal_mixers_check(end_text(to), &error) != PAL_OK)
        stop("%s: line %d: variant %s: %s", r->path, v->line, v->name, error.message);
}

static int line_of(const reading *r, const char *name)
{
    for (int i = 0; i < r->all.n; i++)
        if (strcmp(r->all.line[i].name, name) == 0) return r->all.line[i].number;
    return 0;
}

static void check_variant(const reading *r, int i)
{
    const study *s = r->s;
    const variant *v = &s->variant[i];
    const int64_t every = v->s.every;
    check_mixers(r, v);
    for (int j = 0; j < i; j++)
        if (strcmp(s->variant[j].name, v->name) == 0 ||
            (strcmp(s->variant[j].mixers, v->mixers) == 0 &&
             settings_same(&s->variant[j].s, &v->s)))
            stop("%s: line %d: the variants %s and %s are the same", r->path, v->line,
                 s->variant[j].name, v->name);
    if (every && (v->s.steps - 1) / every + 1 > MOST_LOOKS)
        stop("%s: line %d: variant %s looks at the tests every %lld of %lld steps; a run has at "
             "most %d looks",
             r->path, v->line, v->name, (long long)every, (long long)v->s.steps, MOST_LOOKS);
}

/* Bits and accuracy have no common mean. */
static void check_measures(const reading *r)
{
    const study *s = r->s;
    bool bits = false, shares = false;
    for (int t = 0; t < s->tasks; t++) *(task_in_bits(s->task[t]) ? &bits : &shares) = true;
    if (bits && shares)
        stop("%s: line %d: a study of a text has no other tasks, for bits and accuracy have no "
             "common mean",
             r->path, line_of(r, "task"));
    for (int v = 0; v < s->variants && bits; v++)
        if (s->variant[v].s.enough > 0)
            stop("%s: line %d: enough is an accuracy, and a text is measured in bits", r->path,
                 line_of(r, "enough") ? line_of(r, "enough") : s->variant[v].line);
}

static void check_compare(const reading *r)
{
    const study *s = r->s;
    if (!*s->compare || strcmp(s->compare, "first") == 0 || strcmp(s->compare, "all") == 0) return;
    for (int v = 0; v < s->variants; v++)
        if (strcmp(s->variant[v].base, s->compare) == 0) return;
    stop("%s: line %d: compare=%s should be first, all or the name of a variant", r->path,
         line_of(r, "compare"), s->compare);
}

static void check(const reading *r)
{
    study *s = r->s;
    if (!s->tasks) stop("%s: there is no line 'task = ...'", r->path);
    if (!s->variants) stop("%s: there is no line 'variant.NAME = MIXERS'", r->path);
    for (int i = 0; i < s->variants; i++) check_variant(r, i);
    if (s->parameters && s->match == 0)
        stop("%s: line %d: parameters = %lld without match: say how near, match = 3%%", r->path,
             line_of(r, "parameters"), (long long)s->parameters);
    for (int i = 0; i < s->seeds * s->rate_seeds && s->rates; i++)
        if (s->seed[i % s->seeds] == s->rate_seed[i / s->seeds])
            stop("%s: line %d: %llu of rate-seeds is one of the seeds: the rate of a run would be "
                 "chosen by that run",
                 r->path, line_of(r, line_of(r, "rate-seeds") ? "rate-seeds" : "seeds"),
                 (unsigned long long)s->seed[i % s->seeds]);
    check_measures(r);
    check_compare(r);
    init_find(s);
    same_check(s);
}

void study_read(study *s, const char *path, const char *from)
{
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    const size_t n = strlen(file) > 6 && strcmp(file + strlen(file) - 6, ".study") == 0
                         ? strlen(file) - 6
                         : strlen(file);
    if (!is_name(file, n))
        stop("%s: a study is a file NAME.study, the name of letters, digits, _ - and +", path);
    *s = (study){.path = path,
                 .seeds = 1,
                 .seed = {1},
                 .rate_seeds = 1,
                 .rate_seed = {1000},
                 .s = {.layers = 2,
                       .width = 64,
                       .mlp = MLP_NONE,
                       .steps = 1000,
                       .batch = 32,
                       .lr = 3e-3,
                       .weight_decay = 0.1,
                       .clip = 1,
                       .rows = 256}};
    snprintf(s->name, sizeof s->name, "%.*s", (int)n, file);
    snprintf(s->title, sizeof s->title, "%s", s->name);
    reading *r = calloc(1, sizeof *r);
    if (!r) stop("%s: out of memory", path);
    r->path = r->all.path = path;
    r->from = from;
    r->s = s;
    read_lines(r);
    axes_expand(&r->all);
    for (int i = 0; i < r->all.n; i++) read_common(r, &r->all.line[i]);
    for (int i = 0; i < r->all.n; i++) read_variant(r, &r->all.line[i]);
    for (int i = 0; i < r->all.n; i++) read_own(r, &r->all.line[i], false);
    multiply(r);
    for (int i = 0; i < r->all.n; i++) read_own(r, &r->all.line[i], true);
    check(r);
    free(r->text.byte);
    free(r);
}

void study_free(study *s)
{
    for (int i = 0; i < s->tasks; i++) task_free(s->task[i]);
}

static void shrink(settings *s)
{
    s->steps = 3;
    s->batch = 4;
    s->every = s->warmup = 1;
    s->rows = 4;
    s->enough = 0;
}

void study_shrink(study *s)
{
    s->seeds = s->rate_seeds = 1;
    for (int i = 0; i < s->variants; i++) shrink(&s->variant[i].s);
    shrink(&s->s);
}
