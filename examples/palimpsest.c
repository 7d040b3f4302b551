/*
 * palimpsest.c - the installed command: `palimpsest train ...` is train_lm, and so on.
 *
 * The programs lie beside this one (in the tree) or in ../libexec/palimpsest (where `make install`
 * puts them). A program takes the name "palimpsest train" for its messages.
 */
#include "tensor/tensor.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command {
    const char *name, *program, *does;
} commands[] = {
    {"train", "train_lm", "trains a language model on text"},
    {"generate", "generate", "goes on with a text, by a checkpoint or a released model's folder"},
    {"tokenize", "tokenize", "makes a store of tokens from text files"},
    {"inspect", "inspect", "shows the memory of a model token by token"},
    {"ablate", "ablate", "runs a study, or takes a model apart layer by layer"},
    {"convert", "convert.py", "parameters from and to PyTorch's and NumPy's files"},
    {"check", "check", "tells whether an HDF5 file can be read"},
};
enum { COMMANDS = sizeof commands / sizeof *commands, PATH = 4096 };

static void help(FILE *to)
{
    fputs("Usage: palimpsest COMMAND [OPTION...]\n"
          "Trains language models with linear attention, takes them apart and shows their "
          "memory.\n\n",
          to);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].does);
    fputs("\n`palimpsest COMMAND --help` tells the options of a command, --version the version.\n",
          to);
}

/* The program of this name in `folder`, seen from the folder of this program; false: there is none.
 */
static bool find(const char *folder, const char *program, char path[PATH])
{
    const ssize_t n = readlink("/proc/self/exe", path, PATH - 1);
    if (n < 0) return false;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    if (!slash) return false;
    const size_t room = (size_t)(path + PATH - (slash + 1));
    if ((size_t)snprintf(slash + 1, room, "%s%s", folder, program) >= room) return false;
    return access(path, X_OK) == 0;
}

static int run(const struct command *c, char **argv)
{
    char path[PATH], name[64];
    if (!find("", c->program, path) && !find("../libexec/palimpsest/", c->program, path)) {
        fprintf(stderr,
                "palimpsest: the program %s is neither beside this one nor in "
                "../libexec/palimpsest\n",
                c->program);
        return EXIT_FAILURE;
    }
    snprintf(name, sizeof name, "palimpsest %s", c->name);
    argv[1] = name;
    execv(path, argv + 1);
    fprintf(stderr, "palimpsest: %s: %s\n", path, strerror(errno));
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(word, commands[i].name) == 0) return run(&commands[i], argv);
    if (strcmp(word, "--help") == 0 || strcmp(word, "help") == 0) return help(stdout), EXIT_SUCCESS;
    if (strcmp(word, "--version") == 0) return puts("palimpsest " PAL_VERSION), EXIT_SUCCESS;
    if (*word) fprintf(stderr, "palimpsest: there is no command '%.100s'\n", word);
    help(stderr);
    return EXIT_FAILURE;
}
