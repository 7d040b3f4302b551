/*
 * inspect.c - runs a model, or a sequence made by hand, and shows its memory.
 *
 *     inspect --demo --out build/inspect
 *     inspect build/run/start.h5 build/run/model.h5 --row 3 --out build/inspect
 *
 * What is observed comes from a source (look.h), becomes one record (observation.h), is measured
 * there, and is printed in four ways (report.h). docs/inspect.md explains the pictures.
 */
#include "examples/flags/checked.h"
#include "examples/flags/files.h"
#include "examples/flags/flags.h"
#include "examples/inspect/look.h"
#include "examples/inspect/report.h"
#include "examples/inspect/statistics.h"
#include "examples/lm/text.h"
#include "tensor/number.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

typedef struct options {
    flags flags; /* of `sections`, which set the rest */
    source_opts source;
    statistics_opts statistics;
    const char *script, *rules, *out;
    int64_t at, threads; /* at, and numbers of the source: -1 if they were not given */
    pal_rule_mode mode;
    bool demo, no_figures;
} options;

/* A message may quote a file, which may hold anything. */
static void stop(const char *what)
{
    char *shown = ob_shown(what, (int64_t)strlen(what));
    fprintf(stderr, "inspect: %s\n", shown);
    free(shown);
    exit(EXIT_FAILURE);
}

static void need(pal_status status, const pal_error *error)
{
    if (status != PAL_OK) stop(error->message);
}

/* ---- The command line ---- */

static const pal_key run_rows[] = {
    {"demo", PAL_KEY_FLAG, PAL_AT(options, demo), .help = "a short sequence made by hand"},
    {"script", PAL_KEY_STRING, PAL_AT(options, script), .argument = "FILE",
     .help = "a sequence made by hand (docs/inspect.md)"},
    {"rule", PAL_KEY_STRING, PAL_AT(options, rules), .names = ob_rules, .argument = "LIST",
     .help = "of these two: the rules side by side (all)"},
    {"mixers", PAL_KEY_STRING, PAL_AT(options, source.mixers), .names = pal_mixers_name,
     .argument = "LIST",
     .help = "instead of checkpoints: an untrained model of each entry, side by side"},
    {"layers", PAL_KEY_WHOLE, PAL_AT(options, source.layers), .low = 1, .high = 64,
     .help = "of these models (1)"},
    {"width", PAL_KEY_WHOLE, PAL_AT(options, source.width), .low = 1, .high = 4096,
     .help = "of these models (64)"},
    LM_DTYPE_ROW(PAL_AT(options, source.dtype)),
    {"last", PAL_KEY_FLAG, PAL_AT(options, source.last),
     .help = "of a checkpoint that has an average of the parameters: those of the last step"},
};
static const pal_key token_rows[] = {
    {"text", PAL_KEY_STRING, PAL_AT(options, source.text), .letter = 't', .argument = "TEXT",
     .help = "these, by the tokenizer of the checkpoint (of --mixers: of the store --data, else "
             "bytes)"},
    {"row", PAL_KEY_WHOLE, PAL_AT(options, source.row), .high = INT32_MAX, .letter = 'r',
     .help = "row N of the task, or window N of the data (0)"},
    {"point", PAL_KEY_WHOLE, PAL_AT(options, source.point), .high = INT32_MAX,
     .help = "of a task: test point N, a degree of difficulty (0)"},
    {"data", PAL_KEY_STRING, PAL_AT(options, source.data), .argument = "TASK|FILE",
     .help = "of --mixers, and of the folder of a released model: a task, a store of tokens or a "
             "text"},
    {"seed", PAL_KEY_WHOLE, PAL_AT(options, source.seed), .high = INT32_MAX, .letter = 's',
     .help = "of the parameters of --mixers and of a task's rows (1)"},
    {"tokens", PAL_KEY_WHOLE, PAL_AT(options, source.tokens), .high = OB_TOKENS, .letter = 'n',
     .help = "the first N of them; 0: all, at most 512 (0)"},
};
static const pal_key shown_rows[] = {
    {"layer", PAL_KEY_WHOLE, PAL_AT(options, source.look.layer), .high = INT32_MAX, .letter = 'l',
     .help = "only this layer"},
    {"head", PAL_KEY_WHOLE, PAL_AT(options, source.look.head), .high = INT32_MAX,
     .help = "only this (value) head"},
    {"out", PAL_KEY_STRING, PAL_AT(options, out), .letter = 'o', .argument = "FOLDER",
     .help = "write index.html, CSV and figures there (tables only)"},
    {"at", PAL_KEY_WHOLE, PAL_AT(options, at), .high = OB_TOKENS - 1,
     .help = "the token after which figures and state.csv show S (the last)"},
    {"no-figures", PAL_KEY_FLAG, PAL_AT(options, no_figures),
     .help = "no SVG and PNG, for which gnuplot is needed; those of an earlier run go"},
    {"mode", PAL_KEY_CHOICE, PAL_AT(options, mode), .low = PAL_RULE_COMPOSED,
     .words = "composed|recurrent", .help = "how the rules are stepped (recurrent)"},
    {"threads", PAL_KEY_WHOLE, PAL_AT(options, threads), .high = 4096,
     .help = "0: as many as OpenMP gives (0)"},
};
static const pal_key statistics_rows[] = {
    {"statistics", PAL_KEY_WHOLE, PAL_AT(options, statistics.rows), .low = 1, .high = INT32_MAX,
     .argument = "ROWS",
     .help = "gates and decay of each head over so many rows of the data, from --row on, in place "
             "of one look; --out gets statistics.csv and statistics.h5"},
    {"file", PAL_KEY_STRING, PAL_AT(options, statistics.file), .argument = "FILE",
     .help = "the same over a text of any length, which is read as one"},
};
static const pal_keys of_statistics = PAL_KEYS(statistics_rows);
static const pal_keys of_run = PAL_KEYS(run_rows), of_tokens = PAL_KEYS(token_rows),
                      of_shown = PAL_KEYS(shown_rows);
static const flags_section sections[] = {{"What is run:", &of_run, 0},
                                         {"Which tokens:", &of_tokens, 0},
                                         {"What is shown:", &of_shown, 0},
                                         {"Many tokens:", &of_statistics, 0}};
_Static_assert(PAL_RULE_RECURRENT == PAL_RULE_COMPOSED + 1,
               "the words of --mode are in this order");

static void add_checkpoint(struct argp_state *state, source_opts *s, const char *path)
{
    if (s->checkpoints == OB_MODELS) argp_error(state, "at most %d checkpoints", OB_MODELS);
    s->checkpoint[s->checkpoints++] = path;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->flags;
        return 0;
    case ARGP_KEY_ARG:
        add_checkpoint(state, &o->source, text);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Exactly one source, and no flag of another. */
static void check(const options *o)
{
    const source_opts *s = &o->source;
    const bool hand = o->demo || o->script, saved = s->checkpoints > 0, fresh = s->mixers != NULL;
    if (o->demo + (o->script != NULL) + fresh + saved != 1)
        stop("one of CHECKPOINT, --mixers, --script and --demo is wanted (see --help)");
    const struct {
        bool given, belongs;
        const char *what;
    } all[] = {
        {o->rules, hand, "--rule belongs to --demo and --script"},
        {s->data, fresh || (saved && pal_file_kind_of(s->checkpoint[0]) == PAL_FILE_FOLDER),
         "--data belongs to --mixers: a checkpoint knows its data"},
        {s->layers >= 0, fresh, "--layers belongs to --mixers"},
        {s->width >= 0, fresh, "--width belongs to --mixers"},
        {s->last, saved, "--last belongs to checkpoints"},
        {s->text, !hand, "--text belongs to models"},
        {s->row >= 0, !hand && !s->text, "--row belongs to the data of models, without --text"},
        {s->point >= 0, !hand && !s->text, "--point belongs to the tasks of models"},
        {s->seed >= 0, !hand, "--seed belongs to models"},
        {s->tokens >= 0, !hand, "--tokens belongs to models"},
        {s->look.layer >= 0, !hand, "--layer belongs to models"},
        {s->look.head >= 0, !hand, "--head belongs to models"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].given && !all[i].belongs) stop(all[i].what);
    const bool many = o->statistics.rows > 0 || o->statistics.file;
    if (many && hand) stop("--statistics and --file belong to models");
    if (many && (s->text || s->tokens >= 0))
        stop("--statistics and --file read whole rows and texts, without --text and --tokens");
    if (o->statistics.rows > 0 && o->statistics.file)
        stop("--statistics is of rows, and --file is a text: one of them");
    if (o->statistics.file && fresh && !s->data) return; /* bytes */
    if (fresh && !s->text && !s->data) stop("--mixers: --text or --data says what is read");
}

static void check_files(const options *o)
{
    static const char *const names[] = {
        "index.html",          "tokens.csv",          "heads.csv", "gates.csv", "statistics.csv",
        "statistics.h5",       "norms.csv",           "sigma.csv", "maps.csv",  "state.csv",
        "*-[0-9]*-[0-9]*.svg", "*-[0-9]*-[0-9]*.png", NULL};
    pal_error error;
    flags_file in[OB_MODELS + 3] = {{"--script", o->script, NULL},
                                    {"--data", o->source.data, NULL},
                                    {"--file", o->statistics.file, NULL}};
    const flags_file out = {"--out", o->out, names};
    for (int i = 0; i < o->source.checkpoints; i++)
        in[3 + i] = (flags_file){"CHECKPOINT", o->source.checkpoint[i], NULL};
    need(flags_files_check(in, 3 + o->source.checkpoints, &out, 1, &error), &error);
}

static void fill(int64_t *x, int64_t otherwise)
{
    if (*x < 0) *x = otherwise;
}

static void read_options(options *o, int argc, char **argv)
{
    const struct argp_child children[] = {{&o->flags.argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .children = children,
        .parser = parse,
        .args_doc = "[BEFORE.h5 [AFTER.h5 ...]]",
        .doc =
            "Runs a model, or a sequence made by hand, and shows its memory after every token: the "
            "state S, its singular values, the gates, what every key reads back, and how much each "
            "token counts in each output. Tables go to the screen; --out FOLDER gets "
            "FOLDER/index.html (open it in a browser), CSV, SVG and PNG. Several models are shown "
            "side by side."
            "\vExamples:\n\n"
            "  inspect --demo --out build/inspect\n"
            "  inspect --script memory.txt --rule gdn2,mamba2\n"
            "  inspect build/recall/start.h5 build/recall/model.h5 --row 3 --out build/inspect\n"
            "  inspect build/run/step-00000200.h5 --text \"The delta rule\" --layer 0 --head 1\n"
            "  inspect --mixers gdn2,kda,gdn,mamba2,mamba3 --text \"abcabcabc\" --out "
            "build/inspect\n"
            "  inspect build/run/step-00000200.h5 --statistics 100 --out build/inspect\n"};
    source_opts *s = &o->source;
    *o = (options){.at = -1,
                   .mode = PAL_RULE_RECURRENT,
                   .source = {.layers = -1,
                              .width = -1,
                              .row = -1,
                              .point = -1,
                              .tokens = -1,
                              .seed = -1,
                              .look = {-1, -1}}};
    flags_begin(&o->flags, sections, sizeof sections / sizeof *sections, o);
    flags_parse(&argp, argc, argv, o);
    check(o);
    check_files(o);
    fill(&s->layers, 1), fill(&s->width, 64), fill(&s->seed, 1);
    fill(&s->row, 0), fill(&s->point, 0), fill(&s->tokens, 0);
}

/* ---- The run ---- */

static void observe(observation *ob, const options *o)
{
    pal_error error;
    lm_text text = {.byte = NULL};
    if (!o->demo && !o->script) {
        need(source_observe(ob, &o->source, &error), &error);
        return;
    }
    if (o->script) need(lm_text_read_most(&text, o->script, LM_MOST_LINES, &error), &error);
    if (text.size > 0 && memchr(text.byte, 0, (size_t)text.size)) stop("--script: it is no text");
    char *copy = ob_copy(text.byte ? text.byte : (const unsigned char *)"", text.size);
    need(script_observe(ob, o->demo ? script_demo : copy, o->demo ? "the demo" : o->script,
                        o->rules, &error),
         &error);
    free(copy);
    lm_text_free(&text);
}

/* The float64 steps repeat what the layer computed: what is apart by more than rounding is not its
 * memory. */
static void check_layers(const observation *ob)
{
    for (int i = 0; i < ob->heads; i++) {
        const ob_head *h = &ob->head[i];
        if (h->A_error <= 1e-8 && (!h->given || h->given_error <= 1e-4)) continue;
        fprintf(stderr,
                "inspect: %s, layer %lld, head %lld: what is shown is not what the layer computes "
                "(%g and %g apart)\n",
                ob->model[h->model], (long long)h->layer, (long long)h->head, h->A_error,
                h->given_error);
        exit(EXIT_FAILURE);
    }
}

static void report(const observation *ob, const options *o)
{
    pal_error error;
    if (o->demo || o->script) report_readings(ob, stdout);
    report_screen(ob, stdout);
    if (!o->out) return;
    const int64_t at = o->at < 0 ? ob->T - 1 : o->at;
    pal_lock *lock;
    need(pal_run_make(o->out, &error), &error);
    need(flags_files_lock(&lock, o->out, &error), &error);
    need(report_page(ob, o->out, &error), &error);
    need(report_csv(ob, o->out, at, &error), &error);
    if (!o->no_figures) need(report_figures(ob, o->out, at, &error), &error);
    need(report_figures_tidy(ob, o->out, !o->no_figures, &error), &error);
    pal_run_unlock(lock);
    printf("\n%s/index.html shows it after every token\n", o->out);
}

int main(int argc, char **argv)
{
    options o;
    observation ob = {.T = 0};
    checked_files(); /* the flags already look at files */
    read_options(&o, argc, argv);
    pal_set_threads((int)o.threads);
    if (o.statistics.rows > 0 || o.statistics.file) {
        pal_error error;
        need(statistics_run(&o.source, &o.statistics, o.out, stdout, &error), &error);
        return 0;
    }
    observe(&ob, &o);
    if (o.at >= ob.T) stop("--at: there are not so many tokens");
    ob_measure(&ob, o.mode);
    check_layers(&ob);
    report(&ob, &o);
    ob_free(&ob);
    return 0;
}
