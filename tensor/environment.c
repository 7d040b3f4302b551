/* environment.c - lists in environment variables, such as PAL_CHECK=numerics,ranks:10. */
#include "tensor/internal.h"

#include <stdlib.h>
#include <string.h>

bool pal_environment_has(const char *variable, const char *word, int64_t *number)
{
    const size_t length = strlen(word);
    for (const char *at = getenv(variable); at && *at;) {
        const size_t n = strcspn(at, ",");
        if (n >= length && strncmp(at, word, length) == 0) {
            const bool alone = n == length;
            if (alone) return true;
            if (number && at[length] == ':') {
                char *end;
                const long long value = strtoll(at + length + 1, &end, 10);
                if (end == at + n && end > at + length + 1) {
                    *number = value;
                    return true;
                }
            }
        }
        at += n + (at[n] == ',');
    }
    return false;
}
