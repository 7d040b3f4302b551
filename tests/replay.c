/*
 * replay.c - holds the library against files of reference outputs and gradients.
 *
 *     replay [--mode auto|composed|recurrent|chunk] [--dtype f32|f64|both] [--folder DIR]
 * FILE.h5...
 *
 * With --folder, the files are results of the released model in that folder, which is opened as
 * programs open it; without, a file of a model has its parameters.
 *
 * Prints the error of every output and gradient. The error of an array is ||x - ref|| /
 * max(||ref||, 0.01 sqrt(count)). Exit status: 0 every array of every file within its tolerance, 1
 * some are not, 2 a file that cannot be run (and none that failed).
 */
#include "tests/support/golden.h"

#include <stdlib.h>
#include <string.h>

typedef struct settings {
    pal_rule_mode mode;
    bool f32, f64;
    const char *folder; /* of the model whose results the files have; NULL: none */
} settings;

/* Errors of the library are failures of the file, not of the program. */
static void complain(const pal_error *error, void *user)
{
    golden_fail(user, "%s", error->message);
}

static golden_verdict replay(const char *path, pal_h5 *file, const char *kind, const settings *s,
                             pal_dtype dtype)
{
    bool op = strcmp(kind, "op") == 0, model = strcmp(kind, "model") == 0;
    golden g = {
        .file = file,
        .path = path,
        .dtype = dtype,
        .mode = s->mode,
        .f32 = op ? 2e-5 : 1e-4,
        .f64 = 1e-9,
        .f64_stored_f32 = model ? 1e-6 : 1e-7,
        .tape = pal_tape_new(),
    };
    printf("%s  [%s]\n", path, pal_dtype_name(dtype));
    pal_set_error_handler(complain, &g);
    golden_verdict verdict = s->folder ? golden_folder_results(&g, s->folder)
                             : op      ? golden_op(&g)
                             : model   ? golden_model(&g)
                                       : golden_layer(&g);
    if (verdict != GOLDEN_CANNOT) {
        if (!g.compared) golden_fail(&g, "nothing was compared");
        printf("  %d compared, %d failed\n", g.compared, g.failed);
        verdict = g.failed ? GOLDEN_FAIL : GOLDEN_PASS;
    }
    pal_tape_free(g.tape);
    pal_set_error_handler(NULL, NULL);
    return verdict;
}

static golden_verdict replay_file(const char *path, const settings *s)
{
    pal_h5 *file;
    pal_error error;
    char kind[64] = "";
    if (pal_h5_open(&file, path, &error) != PAL_OK) {
        printf("%s\n  %s\n", path, error.message);
        return GOLDEN_CANNOT;
    }
    pal_status status = pal_h5_get_text(file, "/", "kind", kind, sizeof kind, &error);
    golden_verdict verdict = GOLDEN_CANNOT;
    if (status != PAL_OK)
        printf("%s\n  %s\n", path, error.message);
    else if (s->folder ? strcmp(kind, "model") != 0
                       : strcmp(kind, "op") != 0 && strcmp(kind, "layer") != 0 &&
                             strcmp(kind, "model") != 0)
        printf("%s\n  files of kind \"%s\" cannot be run\n", path, kind);
    else {
        verdict = GOLDEN_PASS;
        for (int i = 0; i < 2 && verdict != GOLDEN_CANNOT; i++) {
            if (!(i ? s->f64 : s->f32)) continue;
            golden_verdict v = replay(path, file, kind, s, i ? PAL_F64 : PAL_F32);
            if (v != GOLDEN_PASS) verdict = v;
        }
    }
    pal_h5_close(file);
    return verdict;
}

static int usage(void)
{
    fprintf(stderr, "usage: replay [--mode auto|composed|recurrent|chunk] [--dtype f32|f64|both] "
                    "[--folder DIR] FILE.h5...\n");
    return GOLDEN_CANNOT;
}

/* Takes one option if argv[*i] is one; false if it is wrong. */
static bool option(settings *s, int argc, char **argv, int *i)
{
    const char *name = argv[*i], *value = *i + 1 < argc ? argv[*i + 1] : "";
    if (strcmp(name, "--mode") == 0) {
        static const char *const modes[] = {[PAL_RULE_AUTO] = "auto",
                                            [PAL_RULE_COMPOSED] = "composed",
                                            [PAL_RULE_RECURRENT] = "recurrent",
                                            [PAL_RULE_CHUNK] = "chunk"};
        int m = PAL_RULE_CHUNK;
        while (m >= 0 && strcmp(value, modes[m]) != 0) m--;
        s->mode = (pal_rule_mode)m;
        (*i)++;
        return m >= 0;
    }
    if (strcmp(name, "--dtype") == 0) {
        bool both = strcmp(value, "both") == 0;
        s->f32 = both || strcmp(value, "f32") == 0;
        s->f64 = both || strcmp(value, "f64") == 0;
        (*i)++;
        return s->f32 || s->f64;
    }
    if (strcmp(name, "--folder") == 0) {
        s->folder = value;
        (*i)++;
        return *value;
    }
    return false;
}

int main(int argc, char **argv)
{
    settings s = {.mode = PAL_RULE_AUTO, .f32 = true, .f64 = true};
    int count[3] = {0}, files = 0;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-') {
            if (!option(&s, argc, argv, &i)) return usage();
        } else {
            argv[++files] = argv[i]; /* the files, moved to the front */
        }
    }
    if (!files) return usage();
    for (int i = 1; i <= files; i++) count[replay_file(argv[i], &s)]++;
    printf("%d files passed, %d failed, %d could not be run\n", count[GOLDEN_PASS],
           count[GOLDEN_FAIL], count[GOLDEN_CANNOT]);
    return count[GOLDEN_FAIL] ? GOLDEN_FAIL : count[GOLDEN_CANNOT] ? GOLDEN_CANNOT : GOLDEN_PASS;
}
