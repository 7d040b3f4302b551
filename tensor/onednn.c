/*
 * onednn.c - one product by oneDNN, on the calling thread. Only this file includes oneDNN.
 *
 * The library is large, so it is loaded when the first product asks for it: programs that do not
 * use it do not pay for it. Versions 2 and 3 differ in how things are described (the section
 * Versions); the version is that of the header, and the library is the one of that number.
 *
 * A product of a shape is a primitive, which is code that oneDNN has generated, with the four
 * descriptions of memory that a call needs: together a runner. A runner serves one call at a time
 * and is kept for the next one, so a shape has as many runners as calls of it ran at once, and
 * after the first steps nothing is made. There are at most MOST shapes; a new one then takes the
 * place of the one that was not used for longest.
 *
 * oneDNN gets one thread: it is called inside of our parallel regions, or with OpenMP's own setting
 * of this thread at 1. The order of its sums may depend on the shape of a piece, so products.c
 * makes the pieces depend on nothing else.
 */
#include "tensor/internal.h"
#include "tensor/products.h"

#include <dlfcn.h>
#include <oneapi/dnnl/dnnl.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The library ---- */

#if DNNL_VERSION_MAJOR == 2
#define OF_VERSION(F)                   \
    F(dnnl_memory_desc_init_by_strides) \
    F(dnnl_matmul_desc_init)            \
    F(dnnl_primitive_desc_create)
#elif DNNL_VERSION_MAJOR == 3
#define OF_VERSION(F)                       \
    F(dnnl_memory_desc_create_with_strides) \
    F(dnnl_memory_desc_destroy)             \
    F(dnnl_matmul_primitive_desc_create)
#else
#error "oneDNN of version 2 or 3 is wanted; make DNNL=no builds without it"
#endif

#define ALL(F)                                 \
    OF_VERSION(F)                              \
    F(dnnl_version)                            \
    F(dnnl_get_effective_cpu_isa)              \
    F(dnnl_engine_create)                      \
    F(dnnl_stream_create)                      \
    F(dnnl_primitive_attr_create)              \
    F(dnnl_primitive_attr_destroy)             \
    F(dnnl_primitive_attr_set_scratchpad_mode) \
    F(dnnl_primitive_attr_set_post_ops)        \
    F(dnnl_post_ops_create)                    \
    F(dnnl_post_ops_destroy)                   \
    F(dnnl_post_ops_append_sum)                \
    F(dnnl_primitive_desc_query_md)            \
    F(dnnl_primitive_desc_destroy)             \
    F(dnnl_primitive_create)                   \
    F(dnnl_primitive_destroy)                  \
    F(dnnl_primitive_execute)                  \
    F(dnnl_memory_desc_get_size)               \
    F(dnnl_memory_create)                      \
    F(dnnl_memory_destroy)                     \
    F(dnnl_memory_set_data_handle)

#define MEMBER(name) __typeof__(&name) name;
static struct {
    ALL(MEMBER)
} lib;

static dnnl_engine_t engine;
static dnnl_stream_t stream;
static char name[32];
static bool has_bf16, fast_bf16;

static bool bind(void *handle)
{
#define BIND(function)                                   \
    {                                                    \
        void *at = dlsym(handle, #function);             \
        if (!at) return false;                           \
        memcpy(&lib.function, &at, sizeof lib.function); \
    }
    ALL(BIND)
    return true;
}

/* AMD's AVX512-BF16 is twice as fast as its f32, Intel's is half as fast: see products.c. */
static void know_processor(void)
{
#if defined(__x86_64__)
    const unsigned isa = (unsigned)lib.dnnl_get_effective_cpu_isa();
    const unsigned bf16 = dnnl_cpu_isa_avx512_core_bf16, amx = dnnl_cpu_isa_avx512_core_amx;
    has_bf16 = (isa & bf16) == bf16;
    fast_bf16 = has_bf16 && ((isa & amx) == amx || pal_cpu_has(PAL_CPU_AMD));
#endif
}

/* The name that the linker would have noted (config.mk), or else that of the project. */
static void *open_library(void)
{
    enum { SLACK = 64 << 20 }; /* bytes: what the library takes when it is loaded */
    char file[32];
    void *handle = NULL;
    if (!pal_memory_left(SLACK)) return NULL;
#ifdef PAL_DNNL_SONAME
    handle = dlopen(PAL_DNNL_SONAME, RTLD_NOW | RTLD_LOCAL);
#endif
    snprintf(file, sizeof file, "libdnnl.so.%d", DNNL_VERSION_MAJOR);
    return handle ? handle : dlopen(file, RTLD_NOW | RTLD_LOCAL);
}

static void load(void)
{
    void *handle = open_library();
    if (!handle || !bind(handle) || lib.dnnl_version()->major != DNNL_VERSION_MAJOR) return;
    if (lib.dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success ||
        lib.dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) != dnnl_success)
        return;
    const dnnl_version_t *v = lib.dnnl_version();
    know_processor();
    snprintf(name, sizeof name, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
}

const char *pal_onednn_name(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return name[0] ? name : NULL;
}

bool pal_onednn_has_bf16(void) { return pal_onednn_name() && has_bf16; }
bool pal_onednn_fast_bf16(void) { return pal_onednn_name() && fast_bf16; }

/* ---- Versions ---- */

typedef struct description {
    dnnl_dims_t dims, strides;
    dnnl_data_type_t type;
} description;

static dnnl_status_t make_desc(const description *d, dnnl_memory_desc_t *md)
{
#if DNNL_VERSION_MAJOR == 2
    return lib.dnnl_memory_desc_init_by_strides(md, 2, d->dims, d->type, d->strides);
#else
    return lib.dnnl_memory_desc_create_with_strides(md, 2, d->dims, d->type, d->strides);
#endif
}

static void drop_desc(dnnl_memory_desc_t *md)
{
#if DNNL_VERSION_MAJOR == 2
    (void)md;
#else
    if (*md) lib.dnnl_memory_desc_destroy(*md);
#endif
}

static dnnl_status_t make_primitive_desc(dnnl_primitive_desc_t *pd, dnnl_memory_desc_t *md,
                                         dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR == 2
    dnnl_matmul_desc_t d;
    const dnnl_status_t s = lib.dnnl_matmul_desc_init(&d, &md[0], &md[1], NULL, &md[2]);
    return s == dnnl_success ? lib.dnnl_primitive_desc_create(pd, &d, attr, engine, NULL) : s;
#else
    return lib.dnnl_matmul_primitive_desc_create(pd, engine, md[0], md[1], NULL, md[2], attr);
#endif
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops, float scale)
{
#if DNNL_VERSION_MAJOR == 2
    return lib.dnnl_post_ops_append_sum(ops, scale);
#else
    return lib.dnnl_post_ops_append_sum(ops, scale, 0, dnnl_data_type_undef);
#endif
}

static dnnl_status_t make_memory(dnnl_memory_t *m, const dnnl_memory_desc_t *md, void *handle)
{
#if DNNL_VERSION_MAJOR == 2
    return lib.dnnl_memory_create(m, md, engine, handle);
#else
    return lib.dnnl_memory_create(m, *md, engine, handle);
#endif
}

/* The memory that a primitive works in, with its own description; 0 bytes: none. */
static size_t scratch_of(dnnl_primitive_desc_t pd, dnnl_memory_t *m, void **scratch)
{
    size_t size = 0;
#if DNNL_VERSION_MAJOR == 2
    const dnnl_memory_desc_t *md =
        lib.dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    if (md) size = lib.dnnl_memory_desc_get_size(md);
#else
    const_dnnl_memory_desc_t md = lib.dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    if (md) size = lib.dnnl_memory_desc_get_size(md);
#endif
    if (size == 0) return 0;
    *scratch = aligned_alloc(PAL_ALIGN, pal_round_up(size, PAL_ALIGN));
    if (*scratch == NULL || lib.dnnl_memory_create(m, md, engine, *scratch) != dnnl_success)
        *m = NULL;
    return size;
}

/* ---- Runners ---- */

enum { A, B, C, SCRATCH, PLACES };

typedef struct runner {
    struct runner *next;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[PLACES]; /* without scratch the last is NULL */
    void *scratch;
} runner;

/* What a primitive depends on. */
typedef struct key {
    int64_t m, n, k, rsa, csa, rsb, csb, rsc, dtype;
    double beta;
} key;

typedef struct shape {
    key key;
    uint64_t used; /* when it was last asked for; 0: never */
    int running;
    runner *idle;
} shape;

enum { MOST = 1024 };
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static shape shapes[MOST];
static uint64_t now;
static _Atomic int64_t made;

int64_t pal_onednn_made(void) { return made; }

static void drop(runner *r)
{
    if (r == NULL) return;
    for (int i = 0; i < PLACES; i++)
        if (r->memory[i]) lib.dnnl_memory_destroy(r->memory[i]);
    if (r->primitive) lib.dnnl_primitive_destroy(r->primitive);
    free(r->scratch);
    free(r);
}

static key key_of(pal_dtype dtype, const pal_product *p)
{
    key k;
    memset(&k, 0, sizeof k);
    k.m = p->m, k.n = p->n, k.k = p->k, k.dtype = dtype, k.beta = p->beta;
    k.rsa = p->rsa, k.csa = p->csa, k.rsb = p->rsb, k.csb = p->csb, k.rsc = p->rsc;
    return k;
}

static uint64_t hash(const key *k)
{
    const int64_t part[] = {k->m,   k->n,   k->k,   k->rsa,   k->csa,
                            k->rsb, k->csb, k->rsc, k->dtype, k->beta != 0};
    uint64_t h = 0;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        h = (h ^ (uint64_t)part[i]) * UINT64_C(0x9e3779b97f4a7c15), h ^= h >> 29;
    return h;
}

/* The place of a shape, among the few after its hash; NULL: others are running in all of them.
 * Called with the gate closed. */
static shape *find(const key *k, runner **old)
{
    enum { NEAR = 16 };
    const uint64_t first = hash(k);
    shape *oldest = NULL;
    for (int i = 0; i < NEAR; i++) {
        shape *s = &shapes[(first + (uint64_t)i) % MOST];
        if (s->used && memcmp(&s->key, k, sizeof *k) == 0) return s;
        if (s->running == 0 && (!oldest || s->used < oldest->used)) oldest = s;
    }
    if (!oldest) return NULL;
    *old = oldest->idle;
    *oldest = (shape){.key = *k};
    return oldest;
}

static dnnl_data_type_t type_of(pal_dtype dtype)
{
    switch (dtype) {
    case PAL_F32:
        return dnnl_f32;
    case PAL_BF16:
        return dnnl_bf16;
    case PAL_F64:
    case PAL_I64:
        break;
    }
    pal_dtype_unknown(dtype, __func__);
}

static bool describe(const key *k, dnnl_memory_desc_t *md)
{
    const dnnl_data_type_t type = type_of((pal_dtype)k->dtype);
    const description d[] = {{{k->m, k->k}, {k->rsa, k->csa}, type},
                             {{k->k, k->n}, {k->rsb, k->csb}, type},
                             {{k->m, k->n}, {k->rsc, 1}, dnnl_f32}};
    for (int i = 0; i < 3; i++)
        if (make_desc(&d[i], &md[i]) != dnnl_success) return false;
    return true;
}

static dnnl_primitive_attr_t make_attr(double beta)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    bool good = lib.dnnl_primitive_attr_create(&attr) == dnnl_success &&
                lib.dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) ==
                    dnnl_success;
    if (good && beta != 0) {
        good = lib.dnnl_post_ops_create(&ops) == dnnl_success &&
               append_sum(ops, (float)beta) == dnnl_success &&
               lib.dnnl_primitive_attr_set_post_ops(attr, ops) == dnnl_success;
        if (ops) lib.dnnl_post_ops_destroy(ops);
    }
    if (good) return attr;
    if (attr) lib.dnnl_primitive_attr_destroy(attr);
    return NULL;
}

static runner *make(const key *k)
{
    runner *r = calloc(1, sizeof *r);
    dnnl_memory_desc_t md[3];
    memset(md, 0, sizeof md);
    dnnl_primitive_attr_t attr = r ? make_attr(k->beta) : NULL;
    dnnl_primitive_desc_t pd = NULL;
    bool good = attr && describe(k, md) && make_primitive_desc(&pd, md, attr) == dnnl_success &&
                lib.dnnl_primitive_create(&r->primitive, pd) == dnnl_success;
    for (int i = 0; i < 3 && good; i++)
        good = make_memory(&r->memory[i], &md[i], NULL) == dnnl_success;
    if (good && scratch_of(pd, &r->memory[SCRATCH], &r->scratch) > 0)
        good = r->memory[SCRATCH] != NULL;
    for (int i = 0; i < 3; i++) drop_desc(&md[i]);
    if (pd) lib.dnnl_primitive_desc_destroy(pd);
    if (attr) lib.dnnl_primitive_attr_destroy(attr);
    made++;
    if (good) return r;
    drop(r);
    return NULL;
}

static bool run(const runner *r, const void *a, const void *b, void *c)
{
    static const int which[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};
    void *const data[] = {(void *)(uintptr_t)a, (void *)(uintptr_t)b, c};
    dnnl_exec_arg_t args[PLACES];
    const int n = r->memory[SCRATCH] ? PLACES : PLACES - 1;
    for (int i = 0; i < n; i++) args[i] = (dnnl_exec_arg_t){which[i], r->memory[i]};
    for (int i = 0; i < 3; i++)
        if (lib.dnnl_memory_set_data_handle(r->memory[i], data[i]) != dnnl_success) return false;
    return lib.dnnl_primitive_execute(r->primitive, stream, n, args) == dnnl_success;
}

/* ---- Products ---- */

static bool even(int64_t rs, int64_t cs) { return rs == 1 || cs == 1; }

bool pal_onednn_takes(const pal_product *p)
{
    return p->alpha == 1 && p->csc == 1 && even(p->rsa, p->csa) && even(p->rsb, p->csb) &&
           p->m > 1 && p->n > 1 && p->k > 1;
}

bool pal_onednn_product(pal_dtype dtype, const pal_product *p, const void *a, const void *b,
                        void *c)
{
    if (!pal_onednn_name()) return false;
    const key k = key_of(dtype, p);
    runner *old = NULL, *r = NULL;
    pthread_mutex_lock(&gate);
    shape *s = find(&k, &old);
    if (s) {
        r = s->idle;
        if (r) s->idle = r->next;
        s->running++;
        s->used = ++now;
    }
    pthread_mutex_unlock(&gate);
    while (old) {
        runner *next = old->next;
        drop(old);
        old = next;
    }
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    if (!r) r = make(&k);
    const bool good = r && run(r, a, b, c);
    omp_set_num_threads(threads);
    pthread_mutex_lock(&gate);
    if (s && r) {
        r->next = s->idle;
        s->idle = r;
        r = NULL;
    }
    if (s) s->running--;
    pthread_mutex_unlock(&gate);
    drop(r);
    return good;
}
