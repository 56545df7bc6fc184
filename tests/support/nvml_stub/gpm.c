/* GPM: two samples of a GPU, and what it did between them. */
#include "driver.h"

#include <stdlib.h>

struct opaque_gpm_sample {
    struct place at;
    double taken; /* seconds; negative: never */
};

static const struct {
    u32 id;
    enum reading reading;
} metrics[] = {
    {1, gpm_graphics}, {2, gpm_sm},    {3, gpm_occupancy}, {4, gpm_integer},  {5, gpm_tensor},
    {6, gpm_other},    {7, gpm_tensor}, {8, gpm_other},     {9, gpm_other},    {10, gpm_dram},
    {11, gpm_fp64},    {12, gpm_fp32}, {13, gpm_fp16},     {20, gpm_pcie_tx}, {21, gpm_pcie_rx},
    {30, gpm_other},   {40, gpm_other}, {50, gpm_other},    {60, gpm_nvlink_rx}, {61, gpm_nvlink_tx},
};

API result nvmlGpmQueryDeviceSupport(device handle, gpm_support *out)
{
    ENTER_DEVICE(handle);
    NEED_VERSION(out, 1);
    out->supported = (u32)reading(gpm_supported, at.gpu);
    return SUCCESS;
}

API result nvmlGpmSampleAlloc(gpm_sample *out)
{
    ENTER;
    NEED(out);
    *out = malloc(sizeof **out);
    if (*out == NULL) return MEMORY;
    (*out)->taken = -1;
    return SUCCESS;
}

API result nvmlGpmSampleFree(gpm_sample sample)
{
    ENTER;
    NEED(sample);
    free(sample);
    return SUCCESS;
}

static result take(struct place at, gpm_sample sample)
{
    NEED(sample);
    if (!reading(gpm_supported, at.gpu)) return NOT_SUPPORTED;
    *sample = (struct opaque_gpm_sample){at, seconds()};
    return SUCCESS;
}

API result nvmlGpmSampleGet(device handle, gpm_sample sample)
{
    ENTER_GPU(handle);
    return take(at, sample);
}

API result nvmlGpmMigSampleGet(device handle, u32 gpu_instance_id, gpm_sample sample)
{
    ENTER_GPU(handle);
    NEED(bit(driver.mig, at.gpu) && gpu_instance_id >= 1 && gpu_instance_id <= INSTANCES);
    at.instance = (int)gpu_instance_id - 1;
    return take(at, sample);
}

static result measure(gpm_metric *metric, struct place at)
{
    metric->short_name = metric->long_name = metric->unit = "";
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        if (metrics[i].id == metric->metric_id) {
            metric->value = (double)reading(metrics[i].reading, at.gpu);
            return SUCCESS;
        }
    return NOT_SUPPORTED;
}

API result nvmlGpmMetricsGet(gpm_request *request)
{
    ENTER;
    NEED_VERSION(request, 1);
    gpm_sample first = request->first, second = request->second;
    NEED(first && second && first->taken >= 0 && second->taken > first->taken);
    NEED(first->at.gpu == second->at.gpu && first->at.instance == second->at.instance);
    for (u32 i = 0; i < request->count; i++)
        request->metrics[i].outcome = measure(&request->metrics[i], first->at);
    return SUCCESS;
}
