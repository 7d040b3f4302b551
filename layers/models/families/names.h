/*
 * names.h - which tensors of a folder hold the numbers of which parameters.
 */
#ifndef PAL_MODELS_NAMES_H
#define PAL_MODELS_NAMES_H

#include "layers/models/families/family.h"
#include "tensor/files/weights.h"

typedef struct pal_names pal_names;

/*
 * Finds the tensors of every parameter by the spellings of the family, and compares their shapes.
 * PAL_EFORMAT names a tensor that is missing, that the model does not have, or of another shape or
 * type; a head that repeats the embeddings of a tied model has to have the same bits. PAL_ENOMEM.
 * Nothing is read into the parameters.
 */
PAL_CHECKED pal_status pal_names_match(pal_names **names, const pal_params *params,
                                       const pal_family *family, const pal_described *d,
                                       const pal_weights *weights, pal_error *error);
/* NULL is allowed. */
void pal_names_free(pal_names *names);

/* What tensor i of the weights is. */
typedef enum pal_role {
    PAL_ROLE_OTHER,  /* no part of the model (vision, prediction of several tokens) */
    PAL_ROLE_MODEL,  /* numbers of parameters */
    PAL_ROLE_REPEATS /* the head of a tied model, which has the numbers of the embeddings */
} pal_role;
pal_role pal_names_role(const pal_names *names, int64_t tensor);

/* `count` numbers of a parameter from `at` on are those of the tensor from `of_tensor` on. */
typedef void pal_piece_fn(void *user, int param, int64_t at, int64_t of_tensor, int64_t count);
/* Calls fn for the pieces of a tensor that is not PAL_ROLE_OTHER, in the order of its numbers. */
void pal_names_pieces(const pal_names *names, int64_t tensor, pal_piece_fn *fn, void *user);

#endif
