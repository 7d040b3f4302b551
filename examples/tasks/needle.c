/*
 * needle.c - a needle in a haystack, in bytes: one sentence hidden in filler, and a question about
 * it at the end.
 *
 *     ... One of the special magic numbers for quiet-river is: 4071. ... What is the special magic
 *     number for quiet-river? It is: [4071]
 *
 * A memory has to recognise what will be asked for among much that will not, keep it to the end,
 * and, with several keys, tell them apart. The answer's bytes are asked for one after another, each
 * after the right ones before it, so the row is right as a whole if and only if greedy decoding
 * would write the value. Source: Hsieh et al. 2024, RULER (arXiv 2404.06654), whose sentence this
 * is: S-NIAH-1 is kind=single-noise-number, S-NIAH-2 single-essay-number, S-NIAH-3
 * single-essay-uuid, MK-NIAH-1 multi-key. RULER's numbers have 7 digits.
 */
#include "examples/tasks/internal.h"

#include <string.h>
#include <unistd.h>

enum { NOISE, ESSAY, UUID, MULTI };
enum { KEY_ROOM = 16, VALUE_ROOM = 37, NEEDLE_ROOM = 128, MOST_KEYS = 8 };

static const pal_key keys[] = {
    {"kind", PAL_KEY_CHOICE, TASK_FIELD(is.needle.kind),
     .words = "single-noise-number|single-essay-number|single-essay-uuid|multi-key"},
    {"len", PAL_KEY_WHOLES, TASK_FIELD(len), .low = 1, .high = TASK_LONGEST, .required = true},
    {"test_len", PAL_KEY_WHOLES, TASK_FIELD(test_len), .low = 1, .high = TASK_LONGEST},
    {"digits", PAL_KEY_WHOLE, TASK_FIELD(is.needle.digits), .low = 1, .high = 9},
    {"keys", PAL_KEY_WHOLE, TASK_FIELD(is.needle.keys), .low = 2, .high = MOST_KEYS},
    {"store", PAL_KEY_TEXT, TASK_FIELD(is.needle.path), .sparse = true},
    {"checksum", PAL_KEY_TEXT, TASK_FIELD(is.needle.checksum), .sparse = true},
};

/* RULER's noise, and an essay of this project's own. Sentences end in a full stop. */
static const char noise[] = "The grass is green. The sky is blue. The sun is yellow. Here we go. "
                            "There and back again. ";
static const char essay[] =
    "A palimpsest is a page that was written on more than once. Parchment was dear, and so a "
    "scribe "
    "took a page that nobody read any more, scraped the old ink off and wrote something new. What "
    "had been there before was never quite gone. A memory of fixed size is such a page. It has "
    "room "
    "for so many words and no more, and every word that comes has to go somewhere. If nothing is "
    "ever erased, the new lies on top of the old until neither can be read. If everything fades at "
    "the same rate, the page stays legible, but what was written this morning is gone by the "
    "evening "
    "whether it mattered or not. The better scribe looks first. He asks the page what it holds "
    "under the heading that he is about to write, takes that away, and puts the new line in its "
    "place. All other lines stay as they were. That is the delta rule: read, compare, correct. It "
    "is "
    "an old idea of adaptive filters, and it is one step of descent on the error of the line that "
    "is being written. How much to take away and how much to put down are two questions, and a "
    "scribe may answer them apart. He may also let some columns of the page fade quickly and keep "
    "others for years. None of this costs more than a look at the page, however long the book from "
    "which he copies. The reader who keeps the whole book needs no such art, for he can turn back "
    "to any leaf; but his shelf grows with every leaf, and so does the time that it takes to look "
    "something up. Between the two there is a choice, and it is not made once for all. A few "
    "leaves "
    "kept as they are, the last ones above all, help the page a great deal. It is worth knowing "
    "what a page can hold before one trusts it. So one hides a sentence in a long text, goes on "
    "reading, and asks for it at the end. A page that answers has recognised the sentence when it "
    "passed, and has kept it through everything that came after. A page that does not may have "
    "failed at either, and only by moving the sentence nearer can the two be told apart. With one "
    "sentence to keep the task is almost kind. With four of the same shape, of which one will be "
    "asked for and nobody says which, the page has to hold all of them without mixing them up. ";

static const char *const first_word[] = {"amber",  "brave", "calm",  "dusty", "early", "fancy",
                                         "gentle", "happy", "icy",   "jolly", "keen",  "lucid",
                                         "merry",  "noble", "olive", "quiet"};
static const char *const second_word[] = {"anchor", "bridge", "candle", "desk",   "ember", "forest",
                                          "garden", "harbor", "island", "kettle", "lamp",  "meadow",
                                          "needle", "orchid", "pebble", "river"};
enum { WORDS = 16 };

/* ---- Needles ---- */

typedef struct needle {
    char key[KEY_ROOM], value[VALUE_ROOM], sentence[NEEDLE_ROOM];
} needle;

static const char *noun(const task *t) { return t->is.needle.kind == UUID ? "uuid" : "number"; }

static int count_of(const task *t)
{
    return t->is.needle.kind == MULTI ? (int)t->is.needle.keys : 1;
}

/* A number without a leading zero, as RULER's are, or a UUID of random digits. */
static void draw_value(const task *t, pal_rng *rng, char value[VALUE_ROOM])
{
    const int64_t digits = t->is.needle.digits;
    if (t->is.needle.kind != UUID) {
        for (int64_t i = 0; i < digits; i++)
            value[i] = (char)((i ? '0' : '1') + pal_rng_below(rng, i ? 10 : 9));
        value[digits] = '\0';
        return;
    }
    for (int i = 0; i < 36; i++)
        value[i] = i == 8 || i == 13 || i == 18 || i == 23
                       ? '-'
                       : "0123456789abcdef"[pal_rng_below(rng, 16)];
    value[36] = '\0';
}

/* Of who knows only the form of a value: the first digit is no 0; of the 36 characters of a UUID
 * four are dashes, and 32 are one of sixteen. */
static double chance(const task *t)
{
    const double digits = (double)t->is.needle.digits;
    if (t->is.needle.kind == UUID) return (4 + 32 / 16.0) / 36;
    return (1 / 9.0 + (digits - 1) / 10) / digits;
}

static void draw_needles(const task *t, pal_rng *rng, needle *n, int count)
{
    int64_t key[MOST_KEYS];
    task_distinct(rng, 0, WORDS * WORDS, count, key);
    for (int i = 0; i < count; i++) {
        snprintf(n[i].key, KEY_ROOM, "%s-%s", first_word[key[i] / WORDS],
                 second_word[key[i] % WORDS]);
        draw_value(t, rng, n[i].value);
        snprintf(n[i].sentence, NEEDLE_ROOM, "One of the special magic %ss for %.15s is: %.36s. ",
                 noun(t), n[i].key, n[i].value);
    }
}

static int write_question(const task *t, const needle *n, char text[NEEDLE_ROOM])
{
    return snprintf(text, NEEDLE_ROOM, "What is the special magic %s for %.15s? It is: %.36s",
                    noun(t), n->key, n->value);
}

/* ---- Points ---- */

/* The longest needles and question, and a sentence of filler. */
static int64_t least_length(const task *t)
{
    const int64_t value = t->is.needle.kind == UUID ? 36 : t->is.needle.digits;
    const int64_t key = (int64_t)strlen("gentle-anchor"), name = (int64_t)strlen(noun(t));
    const int64_t sentence = (int64_t)strlen("One of the special magic s for  is: . ");
    const int64_t question = (int64_t)strlen("What is the special magic  for ? It is: ");
    return count_of(t) * (sentence + name + key + value) + question + name + key + value + 16;
}

/* The bytes that the filler is from: the first nine tenths for training, the rest for tests. */
static pal_status open_store(task *t, pal_error *error)
{
    const char *path = t->is.needle.path;
    char now[sizeof t->is.needle.checksum];
    if (t->is.needle.kind == NOISE)
        return task_wrong(error, t,
                          "kind=single-noise-number has a filler of its own, and no store");
    /* Who only reads what came out needs no text. */
    if (*t->is.needle.checksum && access(path, F_OK)) return PAL_OK;
    if (pal_tokens_open(&t->store, path, error) != PAL_OK) return error->status;
    if (pal_tokens_vocab_size(t->store) != 256 || pal_tokens_count(t->store) < 16 * TASK_LONGEST)
        return task_wrong(error, t, "%.200s should be a store of at least %d bytes", path,
                          16 * TASK_LONGEST);
    snprintf(now, sizeof now, "%08x", (unsigned)pal_tokens_checksum(t->store));
    if (*t->is.needle.checksum && strcmp(now, t->is.needle.checksum))
        return task_wrong(error, t, "%.200s has the checksum %s, and %s is asked for", path, now,
                          t->is.needle.checksum);
    memcpy(t->is.needle.checksum, now, sizeof now);
    return PAL_OK;
}

static void end(task *t) { pal_tokens_close(t->store); }

static pal_status begin(task *t, pal_error *error)
{
    t->vocab = 256;
    if (*t->is.needle.path && open_store(t, error) != PAL_OK) return error->status;
    return task_points_by_len(t, least_length(t), 1, error);
}

/* ---- Rows ---- */

/* A place at random where a sentence begins. */
static int64_t some_start(const char *filler, int64_t n, pal_rng *rng)
{
    int64_t at = pal_rng_below(rng, n);
    while (at > 0 && !(filler[at - 1] == ' ' && filler[at - 2] == '.')) at--;
    return at;
}

/* Depth is where the filler is cut, in bytes from 0 to all of it, uniform; the sentence goes to
 * the next place where one may begin. */
static int64_t cut(const char *text, int64_t n, int64_t depth)
{
    for (int64_t i = depth; i < n; i++)
        if (i == 0 || (i > 1 && text[i - 1] == ' ' && text[i - 2] == '.')) return i;
    return n;
}

/* n bytes of the store, from a place at random in the part of the split. */
static void take_filler(const task *t, task_split split, pal_rng *rng, int64_t n, char *text)
{
    int64_t byte[TASK_LONGEST];
    const int64_t all = pal_tokens_count(t->store), cut_at = all / 10 * 9;
    const int64_t low = split == TASK_TRAIN ? 0 : cut_at, high = split == TASK_TRAIN ? cut_at : all;
    pal_error error;
    if (!t->store) {
        pal_error_set(&error, PAL_EIO, "task needle: there is no file %.400s", t->is.needle.path);
        pal_raise(&error);
        return;
    }
    if (pal_tokens_read(t->store, low + pal_rng_below(rng, high - low - n), n, byte, &error) !=
        PAL_OK) {
        pal_raise(&error);
        return;
    }
    for (int64_t i = 0; i < n; i++) text[i] = (char)byte[i];
}

/*
 * Filler from a random sentence of its text on, as much as there is room for (its last sentence may
 * break off), with the needles between its sentences. The text is one byte longer than the row:
 * the last byte is a target alone.
 */
static void row(const task *t, task_split split, const task_point *p, pal_rng *rng, int64_t *tokens,
                int64_t *targets)
{
    char text[TASK_LONGEST + 2], question[NEEDLE_ROOM];
    needle n[MOST_KEYS];
    const int count = count_of(t);
    const bool noisy = t->is.needle.kind == NOISE;
    const char *filler = noisy ? noise : essay;
    const int64_t period = noisy ? (int64_t)sizeof noise - 1 : (int64_t)sizeof essay - 1;
    draw_needles(t, rng, n, count);
    const int64_t asks = write_question(t, &n[pal_rng_below(rng, count)], question);
    int64_t used = p->len + 1 - asks, at = some_start(filler, period, rng);
    for (int i = 0; i < count; i++) used -= (int64_t)strlen(n[i].sentence);
    for (int64_t i = 0; i + 1 < used; i++) text[i] = filler[(at + i) % period];
    if (*t->is.needle.path && used > 1) take_filler(t, split, rng, used - 1, text);
    text[used - 1] = ' ';
    const int64_t haystack = used;
    for (int i = 0; i < count; i++) {
        const int64_t size = (int64_t)strlen(n[i].sentence);
        at = cut(text, used, pal_rng_below(rng, haystack + 1) * used / haystack);
        memmove(text + at + size, text + at, (size_t)(used - at));
        memcpy(text + at, n[i].sentence, (size_t)size);
        used += size;
    }
    memcpy(text + used, question, (size_t)asks);
    const int64_t answer = p->len + 1 - (int64_t)strlen(n[0].value);
    for (int64_t i = 0; i < p->len; i++) {
        tokens[i] = (unsigned char)text[i];
        if (i + 1 >= answer) targets[i] = (unsigned char)text[i + 1];
    }
}

const task_kind task_needle = {
    .name = "needle",
    .level = "length",
    .help =
        "bytes: a sentence in a long text gives the magic number of a key, and the end asks for "
        "it. Keys: kind=single-noise-number (single-noise-number|single-essay-number|"
        "single-essay-uuid|multi-key), len=256, test_len (that of the training), digits=4, "
        "keys=4 (of multi-key), store= (of bytes, whose text is the filler in place of the essay), "
        "checksum= (that of the store)",
    .keys = PAL_KEYS(keys),
    .standard = ":kind=single-noise-number:len=256:digits=4:keys=4",
    .begin = begin,
    .row = row,
    .end = end,
    .chance = chance,
};
