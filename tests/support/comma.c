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

bool comma_locale(const char *folder)
{
    char command[512];
    snprintf(command, sizeof command,
             "localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8' >'%s/localedef.txt' 2>&1", folder,
             folder);
    const bool made = system(command) == 0;
    setenv("LOCPATH", folder, 1);
    if (made && setlocale(LC_ALL, "de_DE.UTF-8") && comma_in_force()) return true;
    printf("note: localedef or the locale de_DE is missing: no test with a decimal comma\n");
    return false;
}
