/*
 * golden_folder.c - a folder of a released model against the results of its reference: logits,
 * probabilities, states, layers left out. The other parts are in golden_folder_*.c.
 */
#include "tests/support/golden_folder.h"
#include "layers/models/trunk.h"

#include <hdf5.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void golden_folder_tolerance(golden_folder *f, double f64, double f32_error)
{
    f->g->f64 = f->g->f64_stored_f32 = f64;
    f->g->f32 = fmax(5 * f32_error, 2e-6);
}

pal_tensor golden_folder_tokens(golden_folder *f, int64_t step, int64_t rows, int64_t first,
                                int64_t last)
{
    pal_tensor all = pal_from_array(f->g->tape, &f->tokens);
    pal_tensor one = pal_slice(pal_select(all, 0, step), 0, 0, rows, 1);
    return pal_slice(one, 1, first, last, 1);
}

pal_array golden_folder_read(golden_folder *f, const char *name)
{
    pal_shape shape;
    pal_dtype stored;
    pal_error error;
    pal_array a = {.dtype = PAL_F64};
    if (pal_h5_info(f->g->file, name, &stored, &shape, &error) != PAL_OK) {
        golden_fail(f->g, "%s: %s", name, error.message);
        return a;
    }
    a = pal_array_of(stored == PAL_I64 ? PAL_I64 : PAL_F64, shape, NULL);
    a.data = malloc((size_t)pal_shape_count(shape) * 8 + 8);
    if (a.data && pal_h5_get(f->g->file, name, &a, &error) == PAL_OK) return a;
    golden_fail(f->g, "%s: %s", name, a.data ? error.message : "out of memory");
    free(a.data);
    a.data = NULL;
    return a;
}

/* ---- The model ---- */

/* An attribute of n numbers. */
static bool numbers(golden *g, const char *name, int n, double *to)
{
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    const hid_t file = H5Fopen(g->path, H5F_ACC_RDONLY, access);
    const hid_t a = H5Aexists(file, name) > 0 ? H5Aopen(file, name, H5P_DEFAULT) : -1;
    const hid_t space = a >= 0 ? H5Aget_space(a) : -1;
    const bool good = space >= 0 && H5Sget_simple_extent_npoints(space) == n &&
                      H5Aread(a, H5T_NATIVE_DOUBLE, to) >= 0;
    if (space >= 0) H5Sclose(space);
    if (a >= 0) H5Aclose(a);
    H5Fclose(file);
    H5Pclose(access);
    if (!good) golden_fail(g, "the attribute %s does not have %d numbers", name, n);
    return good;
}

static bool read_tokens(golden_folder *f)
{
    f->tokens = golden_folder_read(f, "in/tokens");
    const pal_array *t = &f->tokens;
    if (!t->data) return false;
    f->steps = t->shape[0];
    f->B = t->shape[1];
    f->T = t->shape[2] - 1;
    if (t->dtype == PAL_I64 && t->ndim == 3 && f->steps > 0 && f->B > 0 && f->T > 0) return true;
    golden_fail(f->g, "in/tokens is not i64 [steps,B,T+1]");
    return false;
}

static bool open_all(golden_folder *f, const char *path)
{
    golden *g = f->g;
    pal_error error;
    const pal_lm_open_opts opts = {.dtype = g->dtype, .no_tokenizer = true};
    pal_status s = pal_lm_open(&f->model, path, opts, &error);
    if (s == PAL_OK) s = pal_folder_open(&f->folder, path, &error);
    if (s == PAL_OK)
        s = pal_names_match(&f->names, f->model.params, f->folder.family, &f->folder.described,
                            f->folder.weights, &error);
    if (s != PAL_OK) golden_fail(g, "%s", error.message);
    if (f->model.notes) printf("%s", f->model.notes);
    if (s == PAL_OK) f->vocab = pal_lm_options(f->model.lm).vocab;
    return s == PAL_OK && numbers(g, "f32_error", 1, &f->f32_error) &&
           numbers(g, "f32_train_error", 2, f->f32_train_error) && read_tokens(f);
}

static void close_all(golden_folder *f)
{
    pal_names_free(f->names);
    if (f->folder.path) pal_folder_close(&f->folder);
    pal_lm_close(&f->model);
    free(f->tokens.data);
}

/* ---- Outputs ---- */

static const char *const outputs[] = {"logits", "logits_last", "losses", "grad_norms",
                                      "lrs",    "score",       "greedy", "ablate"};
enum { OUTPUTS = sizeof outputs / sizeof *outputs };

/* Compares one output; what else is under out/ is somebody else's. */
static void compare(golden_folder *f, const char *name, pal_array value)
{
    const golden_result r = golden_result_of(name, value);
    golden_compare_one(f->g, "out", &r);
}

static void logits_and_score(golden_folder *f)
{
    const pal_run_opts run = {.mode = f->g->mode};
    golden_folder_tolerance(f, 1e-7, f->f32_error);
    pal_tensor x = golden_folder_tokens(f, 0, 1, 0, f->T);
    compare(f, "logits", pal_value(pal_lm_logits(f->model.lm, x, run)));
    golden_folder_tolerance(f, 1e-12, f->f32_error);
    x = golden_folder_tokens(f, 0, 1, 0, f->T + 1);
    compare(f, "score", pal_value(pal_select(pal_lm_score(f->model.lm, x, run), 0, 0)));
    pal_tape_reset(f->g->tape);
}

/* The state of a layer's rule as the reference has it, Mamba-2's transposed. */
static bool state_of(const pal_lm *lm, const pal_lm_state *state, int64_t layer, golden_result *r)
{
    const pal_tensor t = pal_mixer_state_get(&state->layer[layer], "state");
    if (pal_is_none(t)) return false;
    pal_array a = pal_value(t);
    if (strncmp(pal_mixer_name(pal_lm_mixer(lm, layer)), "mamba2", 6) == 0) {
        const int64_t n = a.shape[2], step = a.stride[2];
        a.shape[2] = a.shape[3], a.stride[2] = a.stride[3];
        a.shape[3] = n, a.stride[3] = step;
    }
    *r = golden_result_of("", a);
    snprintf(r->name, sizeof r->name, "state/%lld", (long long)layer);
    return true;
}

/* Every name below out/ is one that is compared. */
static void expect_outputs(golden_folder *f, int states, const golden_result *state)
{
    const int all = OUTPUTS + states;
    const char **names = calloc((size_t)all, sizeof *names);
    for (int i = 0; i < all; i++) names[i] = i < OUTPUTS ? outputs[i] : state[i - OUTPUTS].name;
    golden_expect_only(f->g, "out", all, names);
    free(names);
}

static void last_logits_and_states(golden_folder *f)
{
    golden *g = f->g;
    const pal_lm *lm = f->model.lm;
    const int64_t layers = pal_lm_options(lm).layers;
    pal_lm_state *state = pal_lm_state_new(lm);
    golden_result *results = calloc((size_t)layers, sizeof *results);
    int n = 0;
    pal_tensor x = golden_folder_tokens(f, 0, f->B, 0, f->T);
    golden_folder_tolerance(f, 1e-7, f->f32_error);
    compare(f, "logits_last",
            pal_value(pal_lm_step(lm, state, x, (pal_run_opts){.mode = g->mode})));
    golden_folder_tolerance(f, 1e-6, f->f32_error);
    for (int64_t i = 0; i < layers; i++) n += state_of(lm, state, i, &results[n]);
    for (int i = 0; i < n; i++) golden_compare_one(g, "out", &results[i]);
    expect_outputs(f, n, results);
    pal_lm_state_free(state);
    pal_tape_reset(g->tape);
    free(results);
}

/* ---- Layers left out ---- */

static bool leave_out(void *user, int64_t layer, const char *name, pal_tensor *t)
{
    if (layer != *(const int64_t *)user || strcmp(name, "x") != 0) return true;
    *t = PAL_NONE;
    return false;
}

/* Exchanges the output matrix of the MLP of a block that has nothing else for zeros, and back. */
static void leave_out_mlp(golden_folder *f, int64_t layer, void *kept, bool out)
{
    char name[96];
    snprintf(name, sizeof name, "model.layers.%lld.mlp.down_proj.weight", (long long)layer);
    const pal_array a = pal_edit(pal_params_find(f->model.params, name));
    const size_t bytes = (size_t)pal_array_count(&a) * pal_dtype_size(a.dtype);
    if (out) memcpy(kept, a.data, bytes);
    if (out)
        memset(a.data, 0, bytes);
    else
        memcpy(a.data, kept, bytes);
}

static void ablate(golden_folder *f)
{
    const int64_t layers = pal_lm_options(f->model.lm).layers;
    double *losses = calloc((size_t)layers, sizeof *losses);
    void *kept = malloc((size_t)pal_params_size(f->model.params) * 8);
    for (int64_t i = 0; i < layers; i++) {
        const bool mlp = strcmp(pal_mixer_name(pal_lm_mixer(f->model.lm, i)), "none") == 0;
        if (mlp) leave_out_mlp(f, i, kept, true);
        const pal_run_opts run = {.mode = f->g->mode, .hook = leave_out, .user = &i};
        pal_tensor x = golden_folder_tokens(f, 0, f->B, 0, f->T),
                   y = golden_folder_tokens(f, 0, f->B, 1, f->T + 1);
        losses[i] = pal_item(pal_lm_loss(f->model.lm, x, y, run));
        pal_tape_reset(f->g->tape);
        if (mlp) leave_out_mlp(f, i, kept, false);
    }
    golden_folder_tolerance(f, 1e-6, f->f32_error);
    compare(f, "ablate", pal_array_of(PAL_F64, PAL_SHAPE(layers), losses));
    free(losses);
    free(kept);
}

/* ---- All of it ---- */

golden_verdict golden_folder_results(golden *g, const char *path)
{
    static const char *const inputs[] = {"tokens", "prompt"};
    static const char *const attributes[] = {
        "kind", "json", "note", "recipe", "f32_error", "f32_train_error", "margin", "checkpoint"};
    golden_folder f = {.g = g};
    golden_expect_attributes(g, 8, attributes);
    golden_expect_only(g, "in", 2, inputs);
    if (open_all(&f, path)) {
        pal_set_grad(g->tape, false);
        logits_and_score(&f);
        last_logits_and_states(&f);
        golden_folder_greedy(&f);
        ablate(&f);
        pal_set_grad(g->tape, true);
        golden_folder_gradients(&f);
        golden_folder_train(&f);
        golden_folder_encodings(g, path);
    }
    close_all(&f);
    return g->failed ? GOLDEN_FAIL : GOLDEN_PASS;
}
