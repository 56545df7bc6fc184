/* MIG: a GPU in two instances, of three and two slices, which leave room for more. */
#include "driver.h"

#define MAX_INSTANCES 7
#define PROFILE_3_SLICE 2
#define PROFILE_2_SLICE 1

static const u32 profiles[INSTANCES] = {PROFILE_3_SLICE, PROFILE_2_SLICE};
static const u32 slices[INSTANCES] = {4, 2};
static const u32 starts[INSTANCES] = {0, 4};

API result nvmlDeviceGetMigMode(device handle, u32 *current, u32 *pending)
{
    ENTER_GPU(handle);
    NEED(current && pending);
    *current = *pending = (u32)bit(driver.mig, at.gpu);
    return SUCCESS;
}

API result nvmlDeviceGetMaxMigDeviceCount(device handle, u32 *out)
{
    ENTER_GPU(handle);
    NEED(out);
    *out = bit(driver.mig, at.gpu) ? MAX_INSTANCES : 0;
    return SUCCESS;
}

API result nvmlDeviceGetMigDeviceHandleByIndex(device handle, u32 index, device *out)
{
    ENTER_GPU(handle);
    NEED(out && index < MAX_INSTANCES);
    if (!bit(driver.mig, at.gpu) || index >= INSTANCES) return NOT_FOUND;
    *out = handle_of((struct place){at.gpu, (int)index});
    return SUCCESS;
}

API result nvmlDeviceIsMigDeviceHandle(device handle, u32 *out)
{
    ENTER_DEVICE(handle);
    NEED(out);
    *out = at.instance != WHOLE;
    return SUCCESS;
}

API result nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device handle, device *out)
{
    ENTER_DEVICE(handle);
    NEED(out && at.instance != WHOLE);
    *out = handle_of((struct place){at.gpu, WHOLE});
    return SUCCESS;
}

API result nvmlDeviceGetGpuInstanceId(device handle, u32 *out)
{
    ENTER_DEVICE(handle);
    NEED(out && at.instance != WHOLE);
    *out = (u32)at.instance + 1;
    return SUCCESS;
}

API result nvmlDeviceGetComputeInstanceId(device handle, u32 *out)
{
    ENTER_DEVICE(handle);
    NEED(out && at.instance != WHOLE);
    *out = 0;
    return SUCCESS;
}

/* A handle of a GPU instance is that of its MIG device. */
API result nvmlDeviceGetGpuInstances(device handle, u32 profile, gpu_instance *out, u32 *count)
{
    ENTER_GPU(handle);
    NEED(out && count);
    *count = 0;
    for (int i = 0; i < INSTANCES && bit(driver.mig, at.gpu); i++)
        if (profiles[i] == profile) out[(*count)++] = (gpu_instance)handle_of((struct place){at.gpu, i});
    return SUCCESS;
}

API result nvmlGpuInstanceGetInfo(gpu_instance handle, gpu_instance_info *out)
{
    ENTER_DEVICE((device)handle);
    NEED(out && at.instance != WHOLE);
    *out = (gpu_instance_info){handle_of((struct place){at.gpu, WHOLE}), (u32)at.instance + 1,
                               profiles[at.instance], starts[at.instance], slices[at.instance]};
    return SUCCESS;
}
