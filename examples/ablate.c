/*
 * ablate.c - studies: models that differ in one thing, trained on the same tasks from the same
 * seeds; and one trained model, layer by layer.
 *
 *     ablate examples/ablate/studies/mqar.study --out build/studies/mqar
 *     ablate examples/ablate/studies/mqar.study --rates
 *     ablate --layers build/run/step-00000200.h5
 *
 * What a study is, docs/studies.md says; what its parts do, ablate/ablate.h. Everything but
 * times is a function of the study: on processors of one kind results.csv has the same bytes
 * whoever made the runs, in whatever order, and however often that was stopped and gone on with.
 */
#include "examples/ablate/ablate.h"
#include "examples/flags/checked.h"
#include "examples/flags/files.h"
#include "examples/flags/flags.h"
#include "tensor/stream.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pal_dist *ranks; /* this process and those that mpirun started with it */

void stop(const char *format, ...)
{
    char text[8192] = "ablate: ";
    const size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, sizeof text - used, format, args);
    va_end(args);
    pal_dist_abort(ranks, text);
    abort(); /* the line before does not return, but does not say so */
}

/* ---- The command line ---- */

typedef enum what { RUN, LIST, RATES, TABLE, PLOTS } what;
typedef struct options {
    flags flags; /* of `sections`, which set the rest */
    what what;
    const char *study, *out, *run, *from, *part;
    bool smoke;
    int64_t jobs;
    layers_opts layers;
} options;

static const pal_key study_rows[] = {
    {"out", PAL_KEY_STRING, PAL_AT(options, out), .required = true, .argument = "FOLDER",
     .help = "where everything is kept (build/studies/NAME)"},
    {"jobs", PAL_KEY_WHOLE, PAL_AT(options, jobs), .low = 1, .high = 256,
     .help = "runs at a time, each on one thread (the processors; of a rank: 1)"},
    {"part", PAL_KEY_STRING, PAL_AT(options, part), .required = true, .argument = "I/N",
     .help =
         "make every N-th run, from number I of 0..N-1 (those of a Slurm array, if this is one)"},
    {"from", PAL_KEY_STRING, PAL_AT(options, from), .required = true, .argument = "FILE",
     .help =
         "no runs: those of a runs.txt, which are put into FOLDER/runs, and what --table makes"},
    {"smoke", PAL_KEY_FLAG, PAL_AT(options, smoke),
     .help = "three steps of one seed, in FOLDER/smoke: whether all of it runs"},
};
static const pal_key layers_rows[] = {
    {"layers", PAL_KEY_STRING, PAL_AT(options, layers.checkpoint), .required = true,
     .argument = "CHECKPOINT",
     .help = "of train_lm, of a task's example or of a study with models = true"},
    {"data", PAL_KEY_STRING, PAL_AT(options, layers.data), .required = true,
     .argument = "STORE|TASK", .help = "what it is evaluated on (that of the checkpoint)"},
    {"rows", PAL_KEY_WHOLE, PAL_AT(options, layers.rows), .low = 1, .high = 1 << 20,
     .help = "rows of each test, or batches of held-out text (64; 16)"},
    {"heads", PAL_KEY_FLAG, PAL_AT(options, layers.heads),
     .help = "also edit each head, each MLP and each pair of layers"},
    {"by", PAL_KEY_CHOICE, PAL_AT(options, layers.by), .words = "zero|mean|resample",
     .help = "what stands there then: 0, the mean of all rows, or another row (zero)"},
    {"lens", PAL_KEY_FLAG, PAL_AT(options, layers.lens),
     .help = "also read the stream after each layer as if it were the last"},
    {"patch", PAL_KEY_STRING, PAL_AT(options, layers.patch), .required = true, .argument = "I,J",
     .help = "also put what row I of the first test has, place by place, into row J; or two texts, "
             "FILE,FILE"},
    LM_DTYPE_ROW(PAL_AT(options, layers.dtype)),
    {"last", PAL_KEY_FLAG, PAL_AT(options, layers.last),
     .help = "the parameters of the last step although there is an average"},
};
static const pal_keys of_study = PAL_KEYS(study_rows), of_layers = PAL_KEYS(layers_rows);
static const flags_section sections[] = {{"A study:", &of_study, 0},
                                         {"One trained model, layer by layer:", &of_layers, 0}};

enum { KEY_LIST = 256, KEY_RATES, KEY_TABLE, KEY_PLOTS, ONE };
static const struct argp_option actions[] = {
    {NULL, 0, NULL, 0, "What is done with a study, if not its runs:", 3},
    {"rates", KEY_RATES, NULL, 0,
     "a run for each of the study's rates on each of the rate-seeds, in FOLDER/rates; prints the "
     "lines that put the best into the study",
     0},
    {"list", KEY_LIST, NULL, 0, "say which runs are there and which are missing", 0},
    {"table", KEY_TABLE, NULL, 0, "no runs: results, table and plots of what is there", 0},
    {"plots", KEY_PLOTS, NULL, 0, "no runs: the plots alone", 0},
    {"run", ONE, "NAME", OPTION_HIDDEN, "one run, described on standard input", 0},
    {0}};

static const char doc[] =
    "Trains the models of a study and tells what came out.\v"
    "A study is a file of lines `name = value`; # begins a comment. Those of "
    "examples/ablate/studies are "
    "examples. For the study:\n\n"
    "  title       a line of text\n"
    "  task        a synthetic task; several lines are several tasks (listed below)\n"
    "  variant.X   a list of mixers as in train_lm --mixers; X is its name. Mamba-2 and "
    "Mamba-3 know inner=N here: an inner width that stays when the model width changes\n"
    "  option.O    keys that every variant gets, such as allow_neg_eigval=true, or none; variants "
    "are then X+O for each\n"
    "  seeds       1,2,3\n"
    "  state       numbers of recurrent state that every layer must have, same, or any\n"
    "  match       3%: how far parameters may be from those of the first variant; what is searched "
    "for that is the MLP's width (mlp = match) or the model's (mlp = none)\n"
    "  parameters  a number that they are matched to instead\n"
    "  compare     what differences are told: first (against the first variant), all, or a "
    "variant\n"
    "  axis.A      a list of values: variants for each, with ${A} or the option A "
    "(docs/studies.md)\n"
    "  same, differ   options of mixers that are kept equal, and those that may differ; a note "
    "says so if output_gate differs and neither names it\n"
    "  models      true keeps the trained models\n"
    "  rates, rate-seeds   the search of --rates, at full length\n\n"
    "For all variants, or as variant.X.KEY for one (with options for all X+O, and variant.X+O.KEY "
    "for one of these):\n\n"
    "  layers (2), width (64), mlp (none; match or a width), steps (1000), batch (32), lr (3e-3), "
    "optimizer (adamw; as in train_lm --optimizer), weight-decay (0.1), warmup (a twentieth of the "
    "steps), clip (1), every (steps between looks; "
    "a twentieth), rows (of each test; 256), enough (accuracy at which a run ends; 0: never)\n\n"
    "For one variant, variant.X.init = Y: X begins as the function that the seed draws for Y, "
    "whose "
    "mixers are contained in those of X.\n\n"
    "A run that is there is not made again unless its description has changed. SIGINT (control-C) "
    "stops; the same command goes on. mpirun -n 4 ablate ... divides the runs among ranks, and so "
    "does a Slurm array among its tasks.";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->flags;
        break;
    case KEY_LIST:
    case KEY_RATES:
    case KEY_TABLE:
    case KEY_PLOTS:
        if (o->what != RUN) argp_error(state, "one of --list, --rates, --table, --plots");
        o->what = key == KEY_LIST    ? LIST
                  : key == KEY_RATES ? RATES
                  : key == KEY_TABLE ? TABLE
                                     : PLOTS;
        break;
    case ONE:
        o->run = arg;
        break;
    case ARGP_KEY_ARG:
        if (o->study) argp_error(state, "one study at a time, and '%s' is a second", arg);
        o->study = arg;
        break;
    case ARGP_KEY_END:
        if (!!o->study + !!o->layers.checkpoint + !!o->run != 1)
            argp_error(state, "a study is wanted, or --layers CHECKPOINT");
        if (!o->layers.checkpoint &&
            (o->layers.data || o->layers.rows || o->layers.last || o->layers.heads ||
             o->layers.lens || o->layers.patch || o->layers.by))
            argp_error(
                state,
                "--data, --rows, --last, --heads, --by, --lens and --patch go with --layers");
        if (o->from && (o->what != RUN || o->smoke))
            argp_error(state,
                       "--from goes with none of --rates, --list, --table, --plots, --smoke");
        if (o->layers.checkpoint && (o->smoke || o->jobs || o->what != RUN || o->from))
            argp_error(state,
                       "--jobs, --smoke, --from, --rates, --list, --table and --plots go with a "
                       "study, and not with --layers");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* The tasks there are, after the help. */
static char *with_tasks(int key, const char *text, void *input)
{
    (void)input;
    if (key != ARGP_KEY_HELP_POST_DOC || !text) return (char *)(uintptr_t)text;
    FILE *to = pal_stream_open();
    if (!to) return (char *)(uintptr_t)text;
    fprintf(to, "%s\n\nTasks:\n\n", text);
    for (int i = 0; task_names(i); i++) fprintf(to, "  %s: %s\n", task_names(i), task_help(i));
    char *all = pal_stream_close(to, NULL);
    return all ? all : (char *)(uintptr_t)text;
}

/* ---- A study ---- */

typedef struct work {
    options o;
    study s;
    models m;
    char folder[PAL_PATH], where[PAL_PATH]; /* of the study, and of its runs */
} work;

static void list_runs(const work *w, const runs *r)
{
    double seconds = 0;
    int there = 0;
    makers m = {.n = 0};
    char rate[PAL_NUMBER_TEXT];
    for (int i = 0; i < r->n; i++) {
        result *x = result_read(w->where, &r->at[i]);
        pal_number_print(w->s.variant[r->at[i].variant].s.lr, rate);
        if (x)
            printf("%-40s %s %.4f, %lld steps, rate %s, %.0f s%s\n", r->at[i].name,
                   r->at[i].bits ? "bits" : "accuracy", result_value(x, -1), (long long)x->steps,
                   rate, x->seconds, x->failed ? ", FAILED: not finite" : "");
        else
            printf("%-40s missing, rate %s\n", r->at[i].name, rate);
        if (x) there++, seconds += x->seconds, makers_add(&m, x);
        result_free(x);
    }
    printf("%d runs are there, %d are missing", there, r->n - there);
    if (there) printf("; %.2f core-hours are spent", seconds / 3600);
    if (there && there < r->n)
        printf(", about %.2f are left", seconds / there * (r->n - there) / 3600);
    printf("\n");
    makers_print(stdout, &m);
}

/* The lock of the study's folder. It is not that of the runs: --table may be asked for while runs
 * are made. */
static pal_lock *lock_folder(const char *folder)
{
    pal_lock *lock;
    pal_error error;
    if (flags_files_lock(&lock, folder, &error) != PAL_OK) stop("%s", error.message);
    return lock;
}

/* What is there, on rank 0. Plots are asked for, or made if there is gnuplot. */
static void show(const work *w, const runs *r)
{
    results *x = calloc(1, sizeof *x);
    pal_error error;
    if (!x) stop("out of memory");
    pal_lock *lock = lock_folder(w->folder);
    results_load(x, &w->s, (model(*)[MOST_VARIANTS])(uintptr_t)w->m, r, w->where);
    if (w->o.what != PLOTS &&
        (plots_remove(w->folder, &error) != PAL_OK || collect(x, w->folder, &error) != PAL_OK ||
         table(x, w->folder, &error) != PAL_OK || compare_write(x, w->folder, &error) != PAL_OK ||
         bundle_write(r, w->where, w->folder, &error) != PAL_OK ||
         makers_write(x, w->folder, &error) != PAL_OK))
        stop("%s", error.message);
    if (plots(x, w->folder, &error) != PAL_OK) {
        if (w->o.what == PLOTS) stop("%s", error.message);
        fprintf(stderr, "ablate: %s\n", error.message);
    }
    pal_run_unlock(lock);
    results_free(x);
    free(x);
}

/* Which share of the runs this process has been given: by --part, or as one of a Slurm array. */
static void part_of(const options *o, int *part, int *parts)
{
    const char *const names[] = {"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN",
                                 "SLURM_ARRAY_TASK_COUNT"};
    int64_t value[3] = {0, 0, 1}, n = 0;
    int used = 0;
    *part = 0, *parts = 1;
    if (o->part) {
        if (sscanf(o->part, "%d/%d%n", part, parts, &used) != 2 || o->part[used] || *part < 0 ||
            *parts < 1 || *part >= *parts)
            stop("--part=%.100s should be I/N, and I a number of 0..N-1", o->part);
        return;
    }
    for (int i = 0; i < 3; i++)
        n += getenv(names[i]) && pal_integer_read(getenv(names[i]), &value[i]);
    if (n == 3 && value[2] > 0 && value[0] >= value[1] && value[0] - value[1] < value[2])
        *part = (int)(value[0] - value[1]), *parts = (int)value[2];
}

/* The runs of a share, for make_runs; they are those of r. */
static runs share_of(const runs *r, int part, int parts)
{
    runs mine = {.at = calloc((size_t)r->n + 1, sizeof *mine.at)};
    if (!mine.at) stop("out of memory");
    for (int i = part; i < r->n; i += parts) mine.at[mine.n++] = r->at[i];
    return mine;
}

/* Together. How many failed. A share has a lock of its own, in a folder of its own. */
static int64_t make_runs(const work *w, const runs *r, int part, int parts)
{
    char locked[PAL_PATH + 32];
    pal_error error;
    pal_lock *lock = NULL;
    pal_status s = PAL_OK;
    int64_t jobs = w->o.jobs;
    if (!jobs) jobs = pal_dist_size(ranks) > 1 ? 1 : sysconf(_SC_NPROCESSORS_ONLN);
    if (pal_dist_rank(ranks) == 0) {
        snprintf(locked, sizeof locked, "%s", w->where);
        if (parts > 1) snprintf(locked, sizeof locked, "%s/part-%d-of-%d", w->where, part, parts);
        s = pal_run_make(w->where, &error);
        if (s == PAL_OK) s = pal_run_make(locked, &error);
        if (s == PAL_OK) s = pal_run_lock(&lock, locked, &error);
    }
    if (pal_dist_agree(ranks, s, &error) != PAL_OK) stop("%s", error.message);
    pal_stop_install();
    int64_t n[2] = {jobs_run(r, w->where, jobs > 0 ? (int)jobs : 1, ranks), pal_stop_requested()};
    pal_dist_sum_i64(ranks, 2, n);
    pal_run_unlock(lock);
    if (!n[1]) return n[0];
    if (pal_dist_rank(ranks) == 0) printf("stopped; the same command goes on\n");
    pal_dist_end(ranks);
    exit(128 + (pal_stop_requested() ? pal_stop_requested() : 15));
}

/* No output is the study, the model or its data. */
static void check_files(const flags_file *in, int ins, const flags_file *out, int outs)
{
    pal_error error;
    if (flags_files_check(in, ins, out, outs, &error) != PAL_OK) stop("%s", error.message);
}

static void run_layers(layers_opts *o, const char *out)
{
    static const char *const names[] = {"layers.csv", "layers.md", "layers.svg", "layers.pdf",
                                        "heads.*",    "lens.*",    "patch.*",    NULL};
    o->out = out ? out : "build/layers";
    const flags_file in[] = {{"--layers", o->checkpoint, NULL}, {"--data", o->data, NULL}},
                     to = {"--out", o->out, names};
    if (pal_dist_size(ranks) > 1)
        stop("--layers is for one process, not for %d ranks", pal_dist_size(ranks));
    check_files(in, 2, &to, 1);
    layers_run(o);
}

static int study_main(work *w)
{
    static const char *const tables[] = {"results.csv",  "curves.csv",      "results.h5",
                                         "table.md",     "comparisons.csv", "table.tex",
                                         "runs.txt",     "made.md",         "accuracy-*.svg",
                                         "curves-*.svg", "state-*.svg",     NULL};
    static const char *const kept[] = {"*.txt", "*.h5", "*.log", NULL};
    const bool rates = w->o.what == RATES;
    const char *out = w->o.out;
    study_read(&w->s, w->o.study, w->o.from);
    if (*w->s.unequal && pal_dist_rank(ranks) == 0)
        fprintf(stderr, "ablate: note: %s\n", w->s.unequal);
    if (w->s.short_rates && rates && pal_dist_rank(ranks) == 0)
        fputs("ablate: note: rate-steps is not used: rates are searched at full length\n", stderr);
    if (rates && !w->s.rates) stop("%s: it has no line 'rates = ...'", w->o.study);
    snprintf(w->folder, sizeof w->folder, "%s%.3900s%s", out ? "" : "build/studies/",
             out ? out : w->s.name, w->o.smoke ? "/smoke" : "");
    snprintf(w->where, sizeof w->where, "%.4000s/%s", w->folder, rates ? "rates" : "runs");
    const flags_file in[] = {{"STUDY", w->o.study, NULL}, {"--from", w->o.from, NULL}},
                     to[] = {{"--out", w->folder, tables}, {"--out", w->where, kept}};
    check_files(in, 2, to, 2);
    if (w->o.smoke) study_shrink(&w->s);
    match(&w->s, w->m);
    runs r = runs_of(&w->s, w->m, rates);
    int64_t failed = 0, unknown = 0; /* runs, and variants without a line */
    if (w->o.from) {
        bundle_unpack(w->o.from, w->where);
        for (int i = 0; i < r.n; i++) r.at[i].model = false; /* it is not among them */
    }
    int part, parts;
    part_of(&w->o, &part, &parts);
    if ((w->o.what == RUN && !w->o.from) || rates) {
        runs mine = share_of(&r, part, parts);
        failed = make_runs(w, &mine, part, parts);
        free(mine.at);
    }
    const bool shared = parts > 1 && w->o.what == RUN && !w->o.from;
    if (shared) printf("part %d of %d is made; --table shows all parts\n", part, parts);
    if (pal_dist_rank(ranks) == 0 && !(parts > 1 && (shared || rates))) {
        if (w->o.what == LIST)
            list_runs(w, &r);
        else if (rates)
            unknown = rates_print(&w->s, &r, w->where, w->folder);
        else
            show(w, &r);
        if (failed) fprintf(stderr, "ablate: %lld runs failed\n", (long long)failed);
        if (unknown) fprintf(stderr, "ablate: %lld variants have no line\n", (long long)unknown);
    }
    free(r.at);
    study_free(&w->s);
    return failed || unknown ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static work w;
    pal_error error;
    checked_files();
    flags_begin(&w.o.flags, sections, sizeof sections / sizeof *sections, &w.o);
    const struct argp_child children[] = {{&w.o.flags.argp, 0, NULL, 0}, {0}};
    const struct argp argp = {actions,    parse, "STUDY\n--layers CHECKPOINT", doc, children,
                              with_tasks, 0};
    flags_parse(&argp, argc, argv, &w.o);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (w.o.run) return one_run(w.o.out ? w.o.out : ".", w.o.run);
    pal_set_threads(1);
    if (pal_dist_start(&ranks, (pal_dist_opts){0}, &error) != PAL_OK) stop("%s", error.message);
    int status = EXIT_SUCCESS;
    if (w.o.layers.checkpoint) {
        run_layers(&w.o.layers, w.o.out);
    } else {
        status = study_main(&w);
    }
    pal_dist_end(ranks);
    return status;
}
