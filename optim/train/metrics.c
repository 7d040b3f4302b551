/* metrics.c - what a run counts and measures by name, which value is the best, and when patience
 * ends. */
#include "optim/data/batches.h"
#include "optim/dist.h"
#include "optim/train/run_folder.h"

#include <math.h>
#include <string.h>

const char *pal_train_unit(const pal_train_opts *o)
{
    if (o->unit) return o->unit;
    return o->batches && o->batches->set ? "rows" : "tokens";
}

int pal_train_metrics(const pal_train_opts *o)
{
    int n = 0;
    if (!o->measure) return o->evaluate != NULL;
    while (n < PAL_METRICS && o->metric[n].name) n++;
    return n;
}

const char *pal_train_metric(const pal_train_opts *o, int i)
{
    return o->measure ? o->metric[i].name : "held_out";
}

int pal_train_best(const pal_train_opts *o)
{
    for (int i = 0; o->best && i < pal_train_metrics(o); i++)
        if (strcmp(pal_train_metric(o, i), o->best) == 0) return i;
    return 0;
}

char *pal_train_columns(const pal_train_opts *o, char text[PAL_COLUMNS])
{
    const bool bytes = o->batches && !o->batches->set;
    size_t n = (size_t)snprintf(text, PAL_COLUMNS, "loss,%slr,grad_norm,%s",
                                bytes ? "bits_per_byte," : "", pal_train_unit(o));
    if (!o->measure) snprintf(text + n, PAL_COLUMNS - n, ",held_out");
    for (int i = 0; o->measure && i < pal_train_metrics(o) && n < PAL_COLUMNS; i++)
        n += (size_t)snprintf(text + n, PAL_COLUMNS - n, ",%s", pal_train_metric(o, i));
    if (o->noise && (n = strlen(text)) < PAL_COLUMNS)
        snprintf(text + n, PAL_COLUMNS - n, ",noise_scale");
    return text;
}

int pal_train_fields(const pal_train_opts *o, const pal_step *p, const double *value, double took,
                     double noise, pal_field field[PAL_TRAIN_FIELDS])
{
    static char speed[PAL_COLUMNS + 16]; /* of the one loop that a process has */
    const char *unit = pal_train_unit(o);
    const double bits = p->bytes ? p->loss / log(2) * (double)p->counted / (double)p->bytes : NAN;
    int n = 0;
    snprintf(speed, sizeof speed, "%s_per_second", unit);
    field[n++] = (pal_field){"loss", p->loss};
    field[n++] = (pal_field){"lr", p->lr};
    field[n++] = (pal_field){"grad_norm", p->norm};
    field[n++] = (pal_field){unit, (double)p->counted};
    field[n++] = (pal_field){"seconds", took};
    field[n++] = (pal_field){speed, (double)p->counted / took};
    if (isfinite(bits)) field[n++] = (pal_field){"bits_per_byte", bits};
    for (int i = 0; i < pal_train_metrics(o); i++)
        if (isfinite(value[i])) field[n++] = (pal_field){pal_train_metric(o, i), value[i]};
    if (isfinite(noise)) field[n++] = (pal_field){"noise_scale", noise};
    if (pal_dist_size(o->dist) > 1) {
        const struct pal_dist_times t = pal_dist_times(o->dist);
        field[n++] = (pal_field){"reduce_exposed", t.exposed};
        field[n++] = (pal_field){"reduce_span", t.span};
        field[n++] = (pal_field){"reduce_bytes", (double)t.bytes};
    }
    return n;
}

bool pal_train_watched(const pal_train_opts *o, int64_t step)
{
    return o->watch && step % (o->watch_every > 0 ? o->watch_every : 100) == 0;
}

double pal_train_noise(pal_checkpoint *state, const pal_step *made)
{
    const double decay = 0.95;
    if (isfinite(made->noise_trace) && isfinite(made->noise_square)) {
        state->noise_trace = decay * state->noise_trace + (1 - decay) * made->noise_trace;
        state->noise_square = decay * state->noise_square + (1 - decay) * made->noise_square;
    }
    const bool both = state->noise_trace > 0 && state->noise_square > 0;
    return both ? state->noise_trace / state->noise_square : NAN;
}

bool pal_train_better(const pal_train_opts *o, double value, int64_t best_step, double best)
{
    if (!isfinite(value)) return false;
    const bool more = o->measure && o->metric[pal_train_best(o)].more_is_better;
    return best_step == 0 || (more ? value > best : value < best);
}

/* A function of steps alone, so that a run that is continued decides as it did before. */
bool pal_train_patience_over(const pal_train_opts *o, int64_t step, int64_t best_step)
{
    if (o->patience == 0 || o->evaluate_every < 1 || best_step == 0) return false;
    return step - step % o->evaluate_every - best_step >= o->patience;
}

pal_status pal_train_check_metrics(const pal_train_opts *o, pal_error *error)
{
    const int n = pal_train_metrics(o);
    size_t bytes = 64 + strlen(pal_train_unit(o));
    if (o->measure && o->evaluate)
        return pal_error_set(error, PAL_EVALUE,
                             "train: evaluate and measure are both set; a run has one of them");
    if (o->held_out && (!o->measure || !o->held_out->opts.validation))
        return pal_error_set(error, PAL_EVALUE,
                             "train: held_out wants batches of validation, and measure");
    if (o->measure && n == 0)
        return pal_error_set(error, PAL_EVALUE, "train: measure is set, and no metric has a name");
    for (int i = 0; o->measure && i < n; i++) bytes += strlen(pal_train_metric(o, i)) + 1;
    for (int i = 0; o->measure && i < n; i++)
        if (strchr(pal_train_metric(o, i), ',') || bytes > PAL_COLUMNS)
            return pal_error_set(error, PAL_EVALUE,
                                 "train: the name of metric \"%.60s\" has a comma, or the names "
                                 "are too long",
                                 pal_train_metric(o, i));
    if (strchr(pal_train_unit(o), ',') || bytes > PAL_COLUMNS)
        return pal_error_set(error, PAL_EVALUE, "train: the unit \"%.60s\" cannot be a column",
                             pal_train_unit(o));
    if (o->noise && pal_dist_size(o->dist) == 1 && o->accumulate < 2)
        return pal_error_set(error, PAL_EVALUE,
                             "train: the noise scale is seen from two sizes of batches; set "
                             "accumulate to 2 or more, or train with several ranks");
    if (o->noise && pal_dist_sequence_count(o->dist) > 1)
        return pal_error_set(error, PAL_EVALUE,
                             "train: the noise scale needs ranks that have whole sequences");
    if (o->watch_every < 0)
        return pal_error_set(error, PAL_EVALUE, "train: watch_every is %lld",
                             (long long)o->watch_every);
    if (o->best && (n == 0 || strcmp(pal_train_metric(o, pal_train_best(o)), o->best) != 0))
        return pal_error_set(error, PAL_EVALUE, "train: there is no metric \"%.60s\" to be best",
                             o->best);
    if (o->patience < 0 || (o->patience > 0 && (n == 0 || o->evaluate_every < 1)))
        return pal_error_set(error, PAL_EVALUE,
                             "train: patience of %lld steps needs evaluations and evaluate_every",
                             (long long)o->patience);
    return PAL_OK;
}

/* ---- Measuring ---- */

pal_status pal_measure(pal_batches *held_out, pal_tape *tape, pal_measure_fn *measure, void *user,
                       int n, double *values, pal_error *error)
{
    double sum[PAL_METRICS] = {0}, counted = 0;
    if (n < 1 || n > PAL_METRICS)
        return pal_error_set(error, PAL_EVALUE, "measure: %d values; there are 1 to %d", n,
                             PAL_METRICS);
    if (!held_out->opts.validation)
        return pal_error_set(error, PAL_EVALUE,
                             "measure: the batches are those of training, which do not end");
    const bool before = pal_set_grad(tape, false);
    pal_status s = pal_batches_seek(held_out, (pal_position){0}, error);
    while (s == PAL_OK) {
        pal_batch batch;
        double value[PAL_METRICS] = {0};
        pal_tape_reset(tape);
        s = pal_batches_next(held_out, tape, &batch, error);
        if (s != PAL_OK || batch.end) break;
        measure(user, tape, &batch, value);
        s = pal_tape_status(tape);
        if (s != PAL_OK) pal_error_set(error, s, "measure: %s", pal_tape_message(tape));
        for (int i = 0; i < n && batch.counted > 0; i++) sum[i] += value[i] * (double)batch.counted;
        counted += (double)batch.counted;
    }
    pal_set_grad(tape, before);
    pal_tape_reset(tape);
    for (int i = 0; s == PAL_OK && i < n; i++) values[i] = sum[i] / counted;
    return s;
}
