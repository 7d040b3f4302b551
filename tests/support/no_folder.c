/*
 * no_folder.c - where folders of released models are not opened, replay has none.
 */
#include "tests/support/golden.h"

golden_verdict golden_folder_results(golden *g, const char *folder)
{
    (void)g;
    printf("  %s: folders are not read by this build\n", folder);
    return GOLDEN_CANNOT;
}
