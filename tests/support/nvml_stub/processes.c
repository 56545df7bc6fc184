/* Processes on a GPU. */
#include "driver.h"

#include <time.h>

/* In MIG mode every process is in the first instance. */
static int sees(struct place at, int gpu) { return gpu == at.gpu && at.instance <= 0; }

static result list(struct place at, u32 *count, process_info *out)
{
    NEED(count);
    u32 found = 0, room = *count;
    u32 gi = bit(driver.mig, at.gpu) ? 1 : ANY_INSTANCE, ci = bit(driver.mig, at.gpu) ? 0 : ANY_INSTANCE;
    for (int i = 0; i < driver.process_count; i++) {
        if (!sees(at, driver.processes[i].gpu)) continue;
        if (found < room && out)
            out[found] = (process_info){driver.processes[i].pid, driver.processes[i].memory, gi, ci};
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

API result nvmlDeviceGetComputeRunningProcesses_v3(device handle, u32 *count, process_info *out)
{
    ENTER_DEVICE(handle);
    return list(at, count, out);
}

static result none(u32 *count)
{
    NEED(count);
    *count = 0;
    return SUCCESS;
}

API result nvmlDeviceGetGraphicsRunningProcesses_v3(device handle, u32 *count, process_info *out)
{
    (void)out;
    ENTER_DEVICE(handle);
    return none(count);
}

API result nvmlDeviceGetMPSComputeRunningProcesses_v3(device handle, u32 *count, process_info *out)
{
    (void)out;
    ENTER_DEVICE(handle);
    return none(count);
}

API result nvmlDeviceGetProcessUtilization(device handle, process_utilization *out, u32 *count, u64 since)
{
    (void)since;
    ENTER_GPU(handle);
    NEED(count);
    u32 found = 0, room = out ? *count : 0;
    for (int i = 0; i < driver.process_count; i++) {
        if (driver.processes[i].gpu != at.gpu) continue;
        if (found < room)
            out[found] = (process_utilization){driver.processes[i].pid, (u64)time(NULL) * 1000000,
                                               (u32)reading(utilization, at.gpu),
                                               (u32)reading(memory_utilization, at.gpu), 0, 0};
        found++;
    }
    *count = found;
    if (found == 0) return NOT_FOUND;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}
