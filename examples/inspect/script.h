/*
 * script.h - a sequence made by hand, after its text has been read and before a rule runs it.
 */
#ifndef INSPECT_SCRIPT_H
#define INSPECT_SCRIPT_H

#include "examples/inspect/observation.h"

typedef enum verb { WRITE, ERASE, DECAY, READ, VERBS } verb;

/* A gate: one number, or one for each channel. */
typedef struct gate {
    int64_t count;
    double x[OB_AXIS];
} gate;

typedef struct line {
    verb verb;
    int key, value; /* indices of names; -1: none */
    gate erase, write, decay;
    gate dt, lam, angle; /* count 0: not given */
    int number;          /* in the text, for messages */
    char text[64];       /* cut where it does not fit */
} line;

typedef struct name {
    char word[OB_WORD];
    int64_t count; /* of x; 0: a unit vector, by the order in which names come */
    double x[OB_AXIS];
} name;

typedef struct names {
    name of[OB_AXIS];
    int count;
    int64_t width; /* of all vectors */
} names;

typedef struct script {
    names keys, values;
    line line[OB_TOKENS];
    int lines;
} script;

/* The step of a line, the dt of Mamba-2 and Mamba-3: what it says, else its write gate, else 1. */
double script_step(const line *l);

/* PAL_EFORMAT by file and line. *s is large: not for a stack. */
PAL_CHECKED pal_status script_parse(script *s, const char *text, const char *file,
                                    pal_error *error);

#endif
