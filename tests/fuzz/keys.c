/* keys.c - options by name, :name=value..., with a row of every kind. */
#include "tests/fuzz/frame/fuzz.h"
#include "tensor/keys.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct opts {
    int64_t whole, word;
    int small;
    uint64_t big;
    double real;
    bool flag, not_flag, bit;
    int choice;
    unsigned set;
    char text[16];
    const char *string;
    struct {
        int64_t count, of[4];
    } wholes;
    struct {
        int64_t count;
        double of[4];
    } reals;
} opts;

static const pal_key rows[] = {
    {"whole", PAL_KEY_WHOLE, PAL_AT(opts, whole), .low = -3, .high = 64},
    {"word", PAL_KEY_WHOLE, PAL_AT(opts, word), .words = "none|all", .high = 1e9},
    {"small", PAL_KEY_WHOLE, PAL_AT(opts, small)},
    {"big", PAL_KEY_UNSIGNED, PAL_AT(opts, big)},
    {"real", PAL_KEY_REAL, PAL_AT(opts, real), .high = HUGE_VAL, .open = PAL_OPEN_LOW},
    {"flag", PAL_KEY_FLAG, PAL_AT(opts, flag)},
    {"not", PAL_KEY_NOT, PAL_AT(opts, not_flag)},
    {"bit", PAL_KEY_CHOICE, PAL_AT(opts, bit), .words = "no|yes"},
    {"choice", PAL_KEY_CHOICE, PAL_AT(opts, choice), .words = "a|b|cc", .low = 5},
    {"set", PAL_KEY_SET, PAL_AT(opts, set), .words = "x|y|zz", .required = true},
    {"text", PAL_KEY_TEXT, PAL_AT(opts, text)},
    {"string", PAL_KEY_STRING, PAL_AT(opts, string), .required = true},
    {"wholes", PAL_KEY_WHOLES, PAL_AT(opts, wholes), .low = 1, .high = 99},
    {"reals", PAL_KEY_REALS, PAL_AT(opts, reals), .required = true},
};
static const pal_keys keys = PAL_KEYS(rows);

/* A line of a file, cut in place. */
static void read_line(opts *o, char *line)
{
    char *name, *value;
    pal_error error = {0};
    pal_status s = pal_key_line(line, 1, &name, &value, &error);
    if (s == PAL_OK && name) s = pal_keys_set(&keys, o, "line 1: ", name, value, &error);
    fuzz_refused(s, &error);
}

/* What a row prints is read as the same. */
static void check_row(const pal_key *key, const opts *o)
{
    char text[1 << 13], again[1 << 13], wanted[PAL_KEY_WANTED];
    opts other = *o;
    const size_t n = pal_key_print(key, o, text, sizeof text);
    pal_key_wanted(key, wanted);
    fuzz_must(*wanted != '\0', "every kind says what is wanted");
    fuzz_must(n < sizeof text && strlen(text) == n, "a value is printed whole");
    if (!pal_key_read(key, &other, text)) return; /* a default that no text stands for */
    fuzz_must(pal_key_print(key, &other, again, sizeof again) == n && strcmp(text, again) == 0,
              "what is printed is read as the same");
    fuzz_must(pal_key_same(key, o, &other) || key->kind == PAL_KEY_STRING, "and compares equal");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    opts o = {.choice = 5, .set = 1, .string = "s", .real = 1};
    pal_error error = {0};
    const char *text = fuzz_text(data, size);
    const pal_status s = pal_keys_read(&keys, &o, "fuzz: ", text, strlen(text), size & 1, &error);
    fuzz_refused(s, &error);
    if (!o.string) o.string = "";
    for (int i = 0; i < keys.count; i++)
        if (rows[i].kind != PAL_KEY_STRING) check_row(&rows[i], &o);
    fuzz_refused(pal_keys_check(&keys, &o, "fuzz: ", &error), &error);
    read_line(&o, fuzz_text(data, size));
    fuzz_forget();
    return 0;
}
