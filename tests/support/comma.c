/*
 * comma.c - see comma.h.
 */
#include "tests/support/comma.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool comma_in_force(void)
{
    char text[16];
    snprintf(text, sizeof text, "%.1f", 0.5);
    return strcmp(text, "0,5") == 0;
}

/* Makes the locale in the build folder, where it stays for the other tests and the next run. It
 * appears whole or not at all, because two tests may make it at once. */
static bool made_in(const char *folder)
{
    char command[5 * 4096];
    snprintf(command, sizeof command,
             "[ -d '%s' ] || { new=$(mktemp -d '%s-XXXXXX') && localedef -i de_DE -f UTF-8 "
             "\"$new/de_DE.UTF-8\" "
             ">/dev/null 2>&1 && { mv -T \"$new\" '%s' 2>/dev/null || [ -d '%s' ]; }; s=$?; rm -rf "
             "\"$new\"; exit $s; }",
             folder, folder, folder, folder);
    return system(command) == 0;
}

bool comma_locale(void)
{
    const char *build = getenv("B");
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/locale", build ? build : "build");
    const bool made = made_in(folder);
    setenv("LOCPATH", folder, 1);
    if (made && setlocale(LC_ALL, "de_DE.UTF-8") && comma_in_force()) return true;
    printf("note: localedef or the locale de_DE is missing: no test with a decimal comma\n");
    return false;
}
