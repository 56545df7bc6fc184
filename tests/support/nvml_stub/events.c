/* Event sets. As with the real driver, an event reaches the sets that are registered when it happens. */
#include "driver.h"

#include <stdlib.h>
#include <time.h>

#define XID_EVENT 0x8ull
#define MIG_EVENT 0x100ull
#define KNOWN 0x11full
#define POLL_MS 50 /* rare enough not to show in what a caller costs */

struct opaque_event_set {
    u64 types[MAX_GPUS];
    struct place places[MAX_GPUS];
    u64 delivered[MAX_GPUS]; /* sequence number of the last event of that GPU */
    u32 mig;                 /* GPUs in MIG mode, as told */
};

static u64 last_event(void)
{
    u64 last = 0;
    for (int i = 0; i < driver.xid_count; i++)
        if (driver.xids[i].sequence > last) last = driver.xids[i].sequence;
    return last;
}

API result nvmlEventSetCreate(event_set *out)
{
    ENTER;
    NEED(out);
    *out = calloc(1, sizeof **out);
    return *out == NULL ? MEMORY : SUCCESS;
}

API result nvmlEventSetFree(event_set set)
{
    ENTER;
    NEED(set);
    free(set);
    return SUCCESS;
}

API result nvmlDeviceGetSupportedEventTypes(device handle, u64 *out)
{
    ENTER_GPU(handle);
    NEED(out);
    *out = KNOWN;
    return SUCCESS;
}

API result nvmlDeviceRegisterEvents(device handle, u64 types, event_set set)
{
    ENTER_GPU(handle);
    NEED(set);
    if (types & ~KNOWN) return NOT_SUPPORTED;
    set->types[at.gpu] = types;
    set->places[at.gpu] = at;
    set->delivered[at.gpu] = last_event();
    set->mig = driver.mig;
    return SUCCESS;
}

static int deliver_mig(event_set set, event_data *out)
{
    for (int gpu = 0; gpu < driver.gpus; gpu++) {
        if (!(set->types[gpu] & MIG_EVENT) || bit(set->mig, gpu) == bit(driver.mig, gpu)) continue;
        set->mig ^= 1u << gpu;
        *out = (event_data){handle_of(set->places[gpu]), MIG_EVENT, 0, ANY_INSTANCE, ANY_INSTANCE};
        return 1;
    }
    return 0;
}

static int deliver_xid(event_set set, event_data *out)
{
    for (int i = 0; i < driver.xid_count; i++) {
        struct xid one = driver.xids[i];
        if (!(set->types[one.gpu] & XID_EVENT) || one.sequence <= set->delivered[one.gpu]) continue;
        set->delivered[one.gpu] = one.sequence;
        int mig = bit(driver.mig, one.gpu);
        *out = (event_data){handle_of(set->places[one.gpu]), XID_EVENT, one.code, mig ? 1 : ANY_INSTANCE,
                            mig ? 0 : ANY_INSTANCE};
        return 1;
    }
    return 0;
}

static int lost_one(event_set set)
{
    for (int gpu = 0; gpu < driver.gpus; gpu++)
        if (set->types[gpu] && (bit(driver.lost, gpu) || !present(gpu))) return 1;
    return 0;
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

API result nvmlEventSetWait_v2(event_set set, event_data *out, u32 timeout_ms)
{
    ENTER;
    NEED(set && out);
    for (double until = now_ms() + timeout_ms;; pause_inside(POLL_MS)) {
        if (!initialized) return UNINITIALIZED;
        if (deliver_xid(set, out) || deliver_mig(set, out)) return SUCCESS;
        if (lost_one(set)) return GPU_IS_LOST;
        if (now_ms() >= until) return TIMEOUT;
    }
}
