/*
 * list.c - lists of mixers with repeats, and what an entry says of its block.
 *
 *     list  = item {"," item}
 *     item  = [N "*"] (entry | "(" list ")")
 *     entry = mixer text without , ( ) in it
 *
 * Nothing is expanded: an entry is found by counting, and is a piece of the text.
 */
#include "layers/mixers/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 8, MOST = 1 << 16 };

/* One item: how often it is repeated, and what is repeated. */
typedef struct item {
    int64_t times, entries; /* entries of one repeat */
    const char *begin;      /* the entry, or the list within the parentheses */
    size_t length;          /* of the entry */
    bool group;
} item;

static int64_t count_list(const char **at, int depth);

/* Reads an item and moves on behind it; false: it is not well formed. */
static bool read_item(const char **at, int depth, item *it)
{
    const size_t digits = strspn(*at, "0123456789");
    *it = (item){.times = 1, .entries = 1};
    if (digits && (*at)[digits] == '*') {
        it->times = digits > 5 ? 0 : strtoll(*at, NULL, 10);
        if (it->times < 1 || it->times > MOST) return false;
        *at += digits + 1;
    }
    it->group = **at == '(';
    it->begin = *at + it->group;
    if (!it->group) {
        it->length = strcspn(*at, ",()");
        *at += it->length;
        return **at != '(';
    }
    ++*at;
    it->entries = depth < DEEPEST ? count_list(at, depth + 1) : 0;
    if (it->entries == 0 || **at != ')') return false; /* at the end of the text, stay there */
    ++*at;
    return true;
}

/* The number of entries of a list; *at moves to its end. 0: it is not well formed. */
static int64_t count_list(const char **at, int depth)
{
    int64_t n = 0;
    for (;; ++*at) {
        item it;
        if (!read_item(at, depth, &it)) return 0;
        n += it.times * it.entries;
        if (n > MOST) return 0;
        if (**at != ',') return n;
    }
}

int64_t pal_mixers_count(const char *list)
{
    const char *end = list;
    const int64_t n = count_list(&end, 0);
    return *end == '\0' ? n : 0;
}

const char *pal_mixers_at(const char *list, int64_t i, size_t *length)
{
    const int64_t n = pal_mixers_count(list);
    const char *at = list;
    *length = 0;
    if (n == 0 || i < 0) return NULL;
    for (i %= n;; at += *at == ',') {
        item it;
        if (!read_item(&at, 0, &it)) return NULL;
        if (i >= it.times * it.entries) {
            i -= it.times * it.entries;
        } else if (it.group) {
            i %= it.entries;
            at = it.begin;
        } else {
            *length = it.length;
            return it.begin;
        }
    }
}

/* ---- Entries ---- */

static const char BLOCK[] = "block.";

static const pal_key rows[] = {
    {"block.mlp_width", PAL_KEY_WHOLE, PAL_AT(pal_block_opts, mlp_width), .low = 1,
     .high = 1 << 24},
    {"block.no_mlp", PAL_KEY_FLAG, PAL_AT(pal_block_opts, no_mlp)},
    {"block.norm_eps", PAL_KEY_REAL, PAL_AT(pal_block_opts, norm_eps), .high = HUGE_VAL,
     .open = PAL_OPEN_LOW},
    {"block.norm", PAL_KEY_CHOICE, PAL_AT(pal_block_opts, norm), .words = "before|after"},
    {"block.norm_plus_one", PAL_KEY_FLAG, PAL_AT(pal_block_opts, norm_plus_one)},
    {"block.mlp", PAL_KEY_CHOICE, PAL_AT(pal_block_opts, mlp), .words = "swiglu|geglu|gelu|relu2"},
    {"block.mlp_bias", PAL_KEY_FLAG, PAL_AT(pal_block_opts, mlp_bias)},
    {"block.mlp_gate_scale", PAL_KEY_REAL, PAL_AT(pal_block_opts, mlp_gate_scale), .high = HUGE_VAL,
     .open = PAL_OPEN_LOW},
    {"block.mlp_down_scale", PAL_KEY_REAL, PAL_AT(pal_block_opts, mlp_down_scale), .high = HUGE_VAL,
     .open = PAL_OPEN_LOW},
    {"block.residual_scale", PAL_KEY_REAL, PAL_AT(pal_block_opts, residual_scale), .high = HUGE_VAL,
     .open = PAL_OPEN_LOW},
    {"block.dropout", PAL_KEY_REAL, PAL_AT(pal_block_opts, dropout), .high = 1,
     .open = PAL_OPEN_HIGH},
    {"block.out_zero", PAL_KEY_FLAG, PAL_AT(pal_block_opts, out_zero)},
};
static const pal_keys block_keys = PAL_KEYS(rows);

/* Sets the block's option of a piece "block.name=value", which is cut in place. */
static pal_status set_block(pal_block_opts *block, char *piece, pal_error *error)
{
    char *value = strchr(piece, '=');
    if (value) *value++ = '\0';
    return pal_keys_set(&block_keys, block, "a block: ", piece, value ? value : "", error);
}

/* Takes the pieces of the block out of an entry, which is cut in place. A piece ends at a colon or
 * before the next mixer of a sum. */
static pal_status split(char *entry, pal_block_opts *block, pal_error *error)
{
    char *to = entry, before = '\0';
    for (char *piece = entry;; piece++) {
        const size_t colon = strcspn(piece, ":"), sum = pal_mixer_sum_length(piece);
        const size_t n = colon < sum ? colon : sum;
        const char next = piece[n];
        piece[n] = '\0';
        if (before == ':' && strncmp(piece, BLOCK, strlen(BLOCK)) == 0) {
            const pal_status s = set_block(block, piece, error);
            if (s != PAL_OK) return s;
        } else {
            if (before) *to++ = before;
            memmove(to, piece, n);
            to += n;
        }
        before = next;
        piece += n;
        if (!next) break;
    }
    *to = '\0';
    return PAL_OK;
}

static pal_status take_entry(const char *text, size_t length, char **mixer, pal_block_opts *block,
                             pal_error *error)
{
    *mixer = strndup(text, length);
    if (!*mixer) return pal_error_set(error, PAL_ENOMEM, "out of memory for a list of mixers");
    const pal_status s = split(*mixer, block, error);
    if (s == PAL_OK) return s;
    free(*mixer);
    *mixer = NULL;
    return s;
}

static pal_status malformed(const char *list, pal_error *error)
{
    return pal_error_set(error, PAL_EVALUE,
                         "\"%.300s\" is no list of mixers: entries and N*(LIST) with commas "
                         "between them are wanted, of at most 65536 entries",
                         list);
}

pal_status pal_mixers_entry(const char *list, int64_t i, char **mixer, pal_block_opts *block,
                            pal_error *error)
{
    size_t length;
    const char *at = pal_mixers_at(list, i, &length);
    *mixer = NULL;
    return at ? take_entry(at, length, mixer, block, error) : malformed(list, error);
}

pal_status pal_mixers_check(const char *list, pal_error *error)
{
    if (pal_mixers_count(list) == 0) return malformed(list, error);
    for (const char *at = list;; at++) { /* every entry stands somewhere in the text, once */
        const size_t digits = strspn(at, "0123456789");
        if (digits && at[digits] == '*') at += digits + 1;
        if (*at != '(') {
            const size_t length = strcspn(at, ",()");
            pal_block_opts block = {0};
            char *mixer;
            pal_status s = take_entry(at, length, &mixer, &block, error);
            if (s == PAL_OK) s = pal_mixer_check(mixer, error);
            free(mixer);
            if (s != PAL_OK) return s;
            at += length + strspn(at + length, ")");
        }
        if (*at == '\0') return PAL_OK;
    }
}
