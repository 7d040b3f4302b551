/*
 * released.c - folders of released models for tests: copies with changes, and what they share.
 */
#include "tests/support/released.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char released_scratch[] = "/tmp/released-XXXXXX";
pal_error released_error;

const char *released_at(const char *folder, const char *name)
{
    static char path[64][256];
    static int turn;
    char joined[256]; /* folder may be an earlier path */
    turn = (turn + 1) % 64;
    snprintf(joined, sizeof joined, "%s/%s", folder, name);
    return strcpy(path[turn], joined);
}

const char *released_source(const char *model) { return released_at("tests/data/hf", model); }

char *released_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s cannot be read", path);
    char *text = malloc(1 << 22);
    *size = fread(text, 1, (1 << 22) - 1, file);
    text[*size] = '\0';
    fclose(file);
    return text;
}

void released_write(const char *path, const char *text, size_t size)
{
    FILE *file = fopen(path, "wb");
    ck_assert(file && fwrite(text, 1, size, file) == size && fclose(file) == 0);
}

void released_same_file(const char *a, const char *b)
{
    size_t n, m;
    char *x = released_read(a, &n), *y = released_read(b, &m);
    ck_assert_msg(n == m && memcmp(x, y, n) == 0, "%s and %s differ", a, b);
    free(x);
    free(y);
}

void released_setup(void) { ck_assert_ptr_nonnull(mkdtemp(released_scratch)); }
void released_teardown(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", released_scratch);
    ck_assert_int_eq(system(command), 0);
}

const pal_lm_open_opts released_bare = {.no_tokenizer = true};

pal_lm_file released_open(const char *path)
{
    pal_lm_file f;
    const pal_status s = pal_lm_open(&f, path, released_bare, &released_error);
    ck_assert_msg(s == PAL_OK, "%s", released_error.message);
    return f;
}

void released_same_params(const pal_params *a, const pal_params *b)
{
    ck_assert_int_eq(pal_params_count(a), pal_params_count(b));
    for (int i = 0; i < pal_params_count(a); i++) {
        const pal_array x = pal_params_array(a, i), y = pal_params_array(b, i);
        ck_assert_str_eq(pal_params_name(a, i), pal_params_name(b, i));
        ck_assert_int_eq(pal_array_count(&x), pal_array_count(&y));
        ck_assert_int_eq(
            memcmp(x.data, y.data, (size_t)pal_array_count(&x) * pal_dtype_size(x.dtype)), 0);
    }
}

/* ---- A folder with changes ---- */

int64_t released_tensors(const pal_weights *w, released_change c, pal_stored all[RELEASED_TENSORS])
{
    int64_t n = 0;
    for (int64_t i = 0; i < pal_weights_count(w); i++) {
        pal_stored t = *pal_weights_at(w, i);
        if (c.twice && strcmp(t.name, c.twice) == 0) {
            all[n] = t;
            all[n++].name = c.rename;
        }
        if (c.drop && strcmp(t.name, c.drop) == 0) {
            if (!c.rename && !c.dtype && !c.rows) continue;
            if (c.rename) t.name = c.rename;
            if (c.dtype) t.dtype = c.dtype;
            if (c.rows) {
                t.bytes = t.bytes / (size_t)t.shape.dim[0] * (size_t)c.rows;
                t.shape.dim[0] = c.rows;
            }
        }
        all[n++] = t;
    }
    return n;
}

void released_write_tensors(const char *path, int64_t n, const pal_stored *all,
                            const released_change *c)
{
    pal_safetensors_out *out;
    pal_status s = pal_safetensors_create(&out, path, n, all, NULL, &released_error);
    for (int64_t i = 0; i < n && s == PAL_OK; i++) {
        unsigned char first = all[i].data[0];
        if (c && c->spoil && strcmp(all[i].name, c->rename) == 0) first ^= 1;
        s = pal_safetensors_put(out, &first, 1, &released_error);
        if (s == PAL_OK)
            s = pal_safetensors_put(out, all[i].data + 1, all[i].bytes - 1, &released_error);
    }
    ck_assert_msg(out && pal_safetensors_commit(out, s, &released_error) == PAL_OK, "%s",
                  released_error.message);
}

void released_config(const char *from, const char *to, released_change c)
{
    size_t n;
    char *text = released_read(released_at(from, "config.json"), &n),
         *found = strstr(text, c.old ? c.old : "{");
    FILE *file = fopen(released_at(to, "config.json"), "wb");
    ck_assert_msg(file && found, "%s is not in config.json", c.old);
    fwrite(text, 1, (size_t)(found - text), file);
    fputs(c.old ? c.new : "{", file);
    fputs(found + strlen(c.old ? c.old : "{"), file);
    fclose(file);
    free(text);
}

/* A copy in the released_scratch folder. */
const char *released_changed(const char *model, released_change c)
{
    pal_weights *w;
    pal_stored all[RELEASED_TENSORS];
    const char *from = released_source(model), *to = released_at(released_scratch, "changed");
    mkdir(to, 0700);
    released_config(from, to, c);
    ck_assert_int_eq(pal_weights_open(&w, from, &released_error), PAL_OK);
    const int64_t n = released_tensors(w, c, all);
    released_write_tensors(released_at(to, "model.safetensors"), n, all, &c);
    pal_weights_close(w);
    return to;
}

void released_refused(const char *model, released_change c, const char *words)
{
    pal_lm_file f;
    const char *path = released_changed(model, c);
    memset(&f, 1, sizeof f);
    const pal_status s = pal_lm_open(&f, path, released_bare, &released_error);
    ck_assert_msg(s != PAL_OK, "%s: \"%s\" is expected", model, words);
    ck_assert_msg(strstr(released_error.message, words) && strstr(released_error.message, path),
                  "no \"%s\": %s", words, released_error.message);
    ck_assert(!f.params && !f.lm && !f.description && !f.notes);
}
