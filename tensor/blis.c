/*
 * blis.c - one product by BLIS, on the calling thread. Only this file includes BLIS.
 *
 * It does three things that BLIS does not do by itself.
 *
 * The kernel family. BLIS recognises processors by model, and uses AVX2 kernels on a model that it
 * does not know (166 instead of 290 GFLOP/s on two cores of such a Xeon). So the family follows the
 * instruction set in use here (PAL_ISA included): skx for AVX-512, haswell or generic when PAL_ISA
 * asks for less. If the user has set BLIS_ARCH_TYPE to the number of a family that is in
 * this build and runs on this processor, that family is used. (BLIS itself reads a name as 0, which
 * is skx, and aborts on a number that it does not have.) On Zen 4, which divides 512-bit
 * instructions in two halves, skx, haswell, zen and zen3 were measured within noise of each other
 * (100 GFLOP/s a core at 1024^3), so one rule serves both.
 *
 * One thread. BLIS is called with one thread (without an environment variable its count is -1) and
 * without its path for small matrices (sup), whose bits depend on the shape of a piece.
 *
 * Memory. BLIS ends the process if malloc fails. It keeps the blocks that a call packs into for
 * later calls, so it takes memory only when more calls need blocks at once than ever before. For
 * how many calls there are blocks is the number of places. The first place is made by a small
 * product before an operation needs it (pal_blas_ready). A further call runs when the memory for
 * its blocks is there; if it is not, the call waits until another one has ended. The results are
 * the same. Where memory is not plenty, such calls run one at a time, so that none takes what was
 * seen for another. Where it is, none waits: to wake a thread takes as long as a short product. A
 * further call need not make a place: if another call gives its blocks back just before, or
 * takes them just after, no block is new. So the places are counted from what BLIS has.
 */
#include "tensor/blis.h"

#include <blis.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- The kernel family ---- */

/* Whether this build of BLIS has a family that this processor can run. An id of a family that is
 * not in the build makes BLIS abort; a family that the processor cannot run ends in SIGILL. */
static bool family_runs(long id)
{
    switch (id) {
#ifdef BLIS_CONFIG_SKX
    case BLIS_ARCH_SKX:
        return pal_cpu_has(PAL_CPU_AVX512);
#endif
#ifdef BLIS_CONFIG_HASWELL
    case BLIS_ARCH_HASWELL:
        return pal_cpu_has(PAL_CPU_AVX2);
#endif
#ifdef BLIS_CONFIG_ZEN3
    case BLIS_ARCH_ZEN3:
        return pal_cpu_has(PAL_CPU_AVX2);
#endif
#ifdef BLIS_CONFIG_ZEN2
    case BLIS_ARCH_ZEN2:
        return pal_cpu_has(PAL_CPU_AVX2);
#endif
#ifdef BLIS_CONFIG_ZEN
    case BLIS_ARCH_ZEN:
        return pal_cpu_has(PAL_CPU_AVX2);
#endif
#ifdef BLIS_CONFIG_SANDYBRIDGE
    case BLIS_ARCH_SANDYBRIDGE:
        return pal_cpu_has(PAL_CPU_AVX);
#endif
#ifdef BLIS_CONFIG_PENRYN
    case BLIS_ARCH_PENRYN:
        return pal_cpu_has(PAL_CPU_SSSE3);
#endif
/* These need nothing that a 64-bit ARM may lack. */
#ifdef BLIS_CONFIG_THUNDERX2
    case BLIS_ARCH_THUNDERX2:
        return true;
#endif
#ifdef BLIS_CONFIG_CORTEXA57
    case BLIS_ARCH_CORTEXA57:
        return true;
#endif
#ifdef BLIS_CONFIG_CORTEXA53
    case BLIS_ARCH_CORTEXA53:
        return true;
#endif
#ifdef BLIS_CONFIG_GENERIC
    case BLIS_ARCH_GENERIC:
        return true;
#endif
    default:
        return false;
    }
}

static bool user_family(const char *text, long *id)
{
    char *end;
    errno = 0;
    *id = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && family_runs(*id);
}

/* The family for the instruction set in use, or -1 to leave the choice to BLIS. */
static long family_for(pal_isa isa)
{
    long id = isa == PAL_ISA_BASE ? BLIS_ARCH_GENERIC : -1;
#if defined(__x86_64__)
    if (isa == PAL_ISA_AVX512)
        id = BLIS_ARCH_SKX;
    else if (isa == PAL_ISA_AVX2 && (getenv("PAL_ISA") != NULL || pal_cpu_has(PAL_CPU_AVX512)))
        id = BLIS_ARCH_HASWELL; /* asked for; elsewhere BLIS tells zen from haswell by itself */
#endif
    return family_runs(id) ? id : -1;
}

static char family_text[96];

/* BLIS reads its variable in bli_init and never again, so the environment is put back as it was:
 * child processes choose for themselves. False: there is no memory to set it, and BLIS alone might
 * choose another family, with other bits. */
static bool choose_family(void)
{
    static const char variable[] = "BLIS_ARCH_TYPE";
    const char *set = getenv(variable);
    char *before = set == NULL ? NULL : strdup(set);
    long id;
    bool ignored = set != NULL && !user_family(set, &id);
    if (set != NULL && before == NULL) return false;
    if (set == NULL || ignored) {
        char text[24];
        id = family_for(pal_isa_best());
        snprintf(text, sizeof text, "%ld", id);
        if (id < 0)
            unsetenv(variable);
        else if (setenv(variable, text, 1) != 0) {
            free(before);
            return false;
        }
    }
    bli_init();
    const char *name = bli_arch_string(bli_arch_query_id());
    if (ignored)
        snprintf(family_text, sizeof family_text, "%s (%s=%.40s is not usable)", name, variable,
                 before != NULL ? before : "");
    else
        snprintf(family_text, sizeof family_text, "%s", name);
    if (before != NULL)
        setenv(variable, before, 1);
    else
        unsetenv(variable);
    free(before);
    return true;
}

typedef pal_product product;

/* ---- Memory ---- */

enum { SLACK = 1 << 20 }; /* bytes: more than BLIS takes for everything but the blocks */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static int places, calls; /* calls that BLIS has blocks for, and that run now */
static bool growing;      /* one call more than places runs, so BLIS may be taking memory */
static bool started;

/* What a call may take from the system: packed blocks of A and B, for the widest type, and a
 * quarter more for the edges that BLIS adds. (0.9 with AVX2 kernels takes 17.2 MB, and this is 21.9
 * MB.) */
static size_t place_size(void)
{
    enum { WIDEST = 16 };
    size_t most = 0;
    for (num_t type = BLIS_FLOAT; type <= BLIS_DCOMPLEX; type++) {
        /* No variable holds the context: its pointer is const in BLIS 1 and was not before. */
        const size_t mc = (size_t)bli_cntx_get_blksz_max_dt(type, BLIS_MC, bli_gks_query_cntx());
        const size_t kc = (size_t)bli_cntx_get_blksz_max_dt(type, BLIS_KC, bli_gks_query_cntx());
        const size_t nc = (size_t)bli_cntx_get_blksz_max_dt(type, BLIS_NC, bli_gks_query_cntx());
        const size_t size = (mc + nc) * kc * WIDEST;
        if (size > most) most = size;
    }
    return SLACK + most + most / 4;
}

static bool start(void)
{
    if (started) return true;
    if (!pal_memory_left(SLACK)) return false;
    if (!choose_family()) return false;
    started = true;
    return true;
}

/* For how many calls BLIS has packed blocks, of A and of B. Its lock is held while it makes one. */
static int count_places(void)
{
#ifdef BLIS_ENABLE_PBA_POOLS
    const dim_t a = (dim_t)bli_packbuf_index(BLIS_BUFFER_FOR_A_BLOCK);
    const dim_t b = (dim_t)bli_packbuf_index(BLIS_BUFFER_FOR_B_PANEL);
    pba_t *blocks = bli_pba_query();
    bli_pba_lock(blocks);
    const siz_t of_a = bli_pool_num_blocks(bli_pba_pool(a, blocks));
    const siz_t of_b = bli_pool_num_blocks(bli_pba_pool(b, blocks));
    bli_pba_unlock(blocks);
    return (int)(of_a < of_b ? of_a : of_b);
#else
    return calls + 1; /* this build of BLIS keeps no blocks */
#endif
}

/* Whether n calls beyond the places may take their memory at the same time. */
static bool plenty_for(int n)
{
    enum { MORE = 1 << 30 };
    return pal_memory_left((size_t)n * place_size() + MORE);
}

/* Begins a call. Where memory is not plenty, at most one more than places runs, so that no other
 * call takes the memory that was seen for it. */
static void enter(void)
{
    pthread_mutex_lock(&gate);
    while (places > 0 && calls >= places && !plenty_for(calls + 1 - places) &&
           (growing || !pal_memory_left(place_size())))
        pthread_cond_wait(&ended, &gate);
    if (calls++ >= places) growing = true;
    pthread_mutex_unlock(&gate);
}

/* Ends a call. No more calls are left than places, so the others find their blocks. */
static void leave(void)
{
    pthread_mutex_lock(&gate);
    calls--;
    if (growing) {
        const int counted = count_places();
        if (counted > places) places = counted;
        growing = false;
        pthread_cond_broadcast(&ended);
    } else {
        pthread_cond_signal(&ended);
    }
    pthread_mutex_unlock(&gate);
}

static void run(pal_dtype dtype, const product *p, const void *a, const void *b, void *c);

bool pal_blas_ready(void)
{
    static _Atomic bool ready;
    if (ready) return true;
    pthread_mutex_lock(&gate);
    const bool good = places > 0 || (start() && pal_memory_left(place_size()));
    if (good && places == 0) {
        const product p = {4, 4, 4, 1, 0, 4, 1, 4, 1, 4, 1};
        const float a[16] = {0};
        float c[16];
        run(PAL_F32, &p, a, a, c);
        places = 1;
    }
    pthread_mutex_unlock(&gate);
    ready = good;
    return good;
}

const char *pal_blas_family(void)
{
    pthread_mutex_lock(&gate);
    const bool good = start();
    pthread_mutex_unlock(&gate);
    return good ? family_text : "unknown for want of memory";
}

/* ---- One product ---- */

static void run(pal_dtype dtype, const product *p, const void *a, const void *b, void *c)
{
    rntm_t rntm = BLIS_RNTM_INITIALIZER;
    bli_rntm_set_num_threads(1, &rntm);
    bli_rntm_disable_l3_sup(&rntm);
    /* The interface takes operands without const, and writes none but c. */
    void *x = (void *)(uintptr_t)a, *y = (void *)(uintptr_t)b;
    float alpha32 = (float)p->alpha, beta32 = (float)p->beta;
    double alpha64 = p->alpha, beta64 = p->beta;
    switch (dtype) {
    case PAL_F32:
        bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, p->m, p->n, p->k, &alpha32, x, p->rsa,
                     p->csa, y, p->rsb, p->csb, &beta32, c, p->rsc, p->csc, NULL, &rntm);
        return;
    case PAL_F64:
        bli_dgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, p->m, p->n, p->k, &alpha64, x, p->rsa,
                     p->csa, y, p->rsb, p->csb, &beta64, c, p->rsc, p->csc, NULL, &rntm);
        return;
    case PAL_I64:
    case PAL_BF16:
        break;
    }
    pal_dtype_unknown(dtype, __func__);
}

void pal_blis_product(pal_dtype dtype, const pal_product *p, const void *a, const void *b, void *c)
{
    enter();
    run(dtype, p, a, b, c);
    leave();
}

static num_t blis_type(pal_dtype dtype)
{
    switch (dtype) {
    case PAL_F32:
        return BLIS_FLOAT;
    case PAL_F64:
        return BLIS_DOUBLE;
    case PAL_I64:
    case PAL_BF16:
        break;
    }
    pal_dtype_unknown(dtype, __func__);
}

/*
 * Rows and columns of C are cut between tiles of BLIS's kernel. A cut elsewhere would split a tile
 * in two. BLIS computes such a tile in a buffer and adds it to C, which costs time and rounds
 * beta C once more than in a whole tile. So tiles stay whole, in both orientations. If beta is 0
 * or 1, there is nothing to round, and a cut may be anywhere.
 */
int64_t pal_blis_unit(pal_dtype dtype, double beta)
{
    num_t type = blis_type(dtype);
    int64_t mr = bli_cntx_get_blksz_def_dt(type, BLIS_MR, bli_gks_query_cntx());
    int64_t nr = bli_cntx_get_blksz_def_dt(type, BLIS_NR, bli_gks_query_cntx());
    int64_t unit = mr > nr ? mr : nr;
    if (beta == 0.0 || beta == 1.0) return unit;
    while (unit % mr != 0 || unit % nr != 0) unit++;
    return unit;
}
