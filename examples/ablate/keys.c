/*
 * keys.c - the tables of a study's keys: those of the study, and those that a variant may have of
 * its own.
 */
#include "examples/ablate/ablate.h"

#include <math.h>
#include <string.h>

enum { MOST = INT32_MAX };

#define OWN(name) PAL_AT(settings, name)
static const pal_key own_rows[] = {
    {"layers", PAL_KEY_WHOLE, OWN(layers), .low = 1, .high = 1 << 10},
    {"width", PAL_KEY_WHOLE, OWN(width), .low = 1, .high = 1 << 16},
    {"mlp", PAL_KEY_WHOLE, OWN(mlp), .low = 1, .high = 1 << 20, .words = "none|match"},
    {"steps", PAL_KEY_WHOLE, OWN(steps), .low = 1, .high = MOST},
    {"batch", PAL_KEY_WHOLE, OWN(batch), .low = 1, .high = 1 << 20},
    {"optimizer", PAL_KEY_TEXT, OWN(optimizer), .required = true, .check = pal_optims_check},
    {"lr", PAL_KEY_REAL, OWN(lr), .high = 10, .open = PAL_OPEN_LOW},
    {"weight-decay", PAL_KEY_REAL, OWN(weight_decay), .high = 10},
    {"warmup", PAL_KEY_WHOLE, OWN(warmup), .low = 1, .high = MOST},
    {"clip", PAL_KEY_REAL, OWN(clip), .high = 1e6, .open = PAL_OPEN_LOW},
    {"every", PAL_KEY_WHOLE, OWN(every), .low = 1, .high = MOST},
    {"rows", PAL_KEY_WHOLE, OWN(rows), .low = 1, .high = MOST},
    {"enough", PAL_KEY_REAL, OWN(enough), .high = 1},
    {"init", PAL_KEY_TEXT, OWN(init), .required = true},
};
const pal_keys settings_keys = PAL_KEYS(own_rows);

#define ALL(name) PAL_AT(said, name)
static const pal_key study_rows[] = {
    {"title", PAL_KEY_TEXT, ALL(title), .required = true},
    {"seeds", PAL_KEY_WHOLES, ALL(seeds), .low = 1, .high = 1e9, .required = true},
    {"state", PAL_KEY_WHOLE, ALL(state), .low = 1, .high = MOST, .words = "any|same"},
    {"parameters", PAL_KEY_WHOLE, ALL(parameters), .low = 1, .high = INT64_C(1) << 40},
    {"models", PAL_KEY_FLAG, ALL(models)},
    {"same", PAL_KEY_TEXT, ALL(same), .required = true},
    {"differ", PAL_KEY_TEXT, ALL(differ), .required = true},
    {"compare", PAL_KEY_TEXT, ALL(compare), .required = true},
    {"rates", PAL_KEY_REALS, ALL(rates), .high = 10, .open = PAL_OPEN_LOW, .required = true},
    {"rate-seeds", PAL_KEY_WHOLES, ALL(rate_seeds), .low = 1, .high = 1e9, .required = true},
    {"rate-steps", PAL_KEY_WHOLE, ALL(rate_steps), .low = 1, .high = MOST},
};
const pal_keys study_keys = PAL_KEYS(study_rows);

bool settings_same(const settings *a, const settings *b)
{
    for (int i = 0; i < settings_keys.count; i++)
        if (!pal_key_same(&settings_keys.key[i], a, b)) return false;
    return true;
}

void settings_print(FILE *to, const settings *s, const settings *common)
{
    for (int i = 0; i < settings_keys.count; i++) {
        char value[TASK_OPTIMIZER];
        const pal_key *key = &settings_keys.key[i];
        if (pal_key_same(key, s, common)) continue;
        pal_key_print(key, s, value, sizeof value);
        fprintf(to, ", %s = %s", key->name, value);
    }
}
