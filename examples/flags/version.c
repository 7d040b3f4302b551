/*
 * version.c - what every program in examples/ prints for --version. They are linked with this
 * object; argp, which is in the C library, looks at the hook and so has to see it.
 */
#include "tensor/tensor.h"

#include <argp.h>
#include <stdio.h>

static void print_version(FILE *to, struct argp_state *state)
{
    (void)state;
    fputs("palimpsest " PAL_VERSION "\n", to);
}

__attribute__((visibility("default"))) void (*argp_program_version_hook)(
    FILE *to, struct argp_state *state) = print_version;
