/*
 * isa.h - the instruction sets whose kernels a test can take, for tests of what kernels compute.
 */
#ifndef PAL_TESTS_ISA_H
#define PAL_TESTS_ISA_H

#include <stdbool.h>

/* Instruction sets are numbered from the plainest to the widest. */
enum { ISAS = 3 }; /* x86-64 has three; on other machines isa_select(2) is false */
/* Selects the kernels of instruction set i; false: this machine has not got it. */
bool isa_select(int i);
void isa_select_best(void);
/* The name of the one that is selected. */
const char *isa_name(void);

/* PAL_TEST_ALL=1. */
bool test_all(void);
/* Selects instruction set i if it is to be tested: each of the machine's if test_all(), else the
 * one that this text chooses. For loops from 0 to ISAS. */
bool test_isa(int i, const char *text);

#endif
