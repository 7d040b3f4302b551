/*
 * plugins.c - mixers of one's own in the programs of examples/: each is linked with this object.
 *
 * PAL_MIXERS is a list of shared objects with colons between, which are loaded before main begins.
 * Such a file registers its mixers as it is loaded (PAL_MIXER of layers/own.h), and finds the
 * library in the program. A name without a slash is one of the working folder. As LD_PRELOAD, it
 * runs code of whoever sets the environment.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void load(const char *path)
{
    char text[4096];
    const int n = snprintf(text, sizeof text, "%s%s", strchr(path, '/') ? "" : "./", path);
    if (n >= 0 && (size_t)n < sizeof text && dlopen(text, RTLD_NOW | RTLD_LOCAL)) return;
    const char *why = n >= 0 && (size_t)n < sizeof text ? dlerror() : "its name is too long";
    fprintf(stderr, "%s: PAL_MIXERS: %s\n", program_invocation_short_name, why);
    exit(EXIT_FAILURE);
}

__attribute__((constructor(1000))) static void load_all(void)
{
    const char *list = getenv("PAL_MIXERS");
    char *copy = list ? strdup(list) : NULL, *rest = copy;
    if (list && !copy) {
        fprintf(stderr, "%s: out of memory\n", program_invocation_short_name);
        exit(EXIT_FAILURE);
    }
    for (const char *path; (path = strsep(&rest, ":"));)
        if (*path) load(path);
    free(copy);
}
