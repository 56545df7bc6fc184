/* Memory: how much, its errors, and the pages and rows taken out of use. */
#include "driver.h"

#include <string.h>

#define MIB 1048576ull
#define CORRECTED 0
#define DRAM 2
#define SRAM 7

/* By type (corrected, uncorrected) and counter (volatile, aggregate). */
static const enum reading dram_errors[2][2] = {
    {volatile_corrected_dram, aggregate_corrected_dram}, {volatile_uncorrected_dram, aggregate_uncorrected_dram}};
static const enum reading sram_errors[2][2] = {
    {volatile_corrected_sram, aggregate_corrected_sram}, {volatile_uncorrected_sram, aggregate_uncorrected_sram}};

/* An instance has so many eighths of its GPU's memory. */
static const u64 instance_eighths[INSTANCES] = {4, 2};

static u64 share(struct place at, u64 bytes)
{
    return at.instance == WHOLE ? bytes : bytes / 8 * instance_eighths[at.instance];
}

API result nvmlDeviceGetMemoryInfo(device handle, memory_info *out)
{
    ENTER_DEVICE(handle);
    NEED(out);
    out->total = share(at, reading(memory_total, at.gpu));
    out->used = share(at, reading(memory_used, at.gpu) + reading(memory_reserved, at.gpu));
    out->free = out->total - out->used;
    return SUCCESS;
}

API result nvmlDeviceGetMemoryInfo_v2(device handle, memory_info_v2 *out)
{
    ENTER_DEVICE(handle);
    NEED_VERSION(out, VERSION(2, memory_info_v2));
    out->total = share(at, reading(memory_total, at.gpu));
    out->reserved = share(at, reading(memory_reserved, at.gpu));
    out->used = share(at, reading(memory_used, at.gpu));
    out->free = out->total - out->reserved - out->used;
    return SUCCESS;
}

API result nvmlDeviceGetBAR1MemoryInfo(device handle, memory_info *out)
{
    ENTER_DEVICE(handle);
    NEED(out);
    out->total = share(at, reading(bar1_total, at.gpu));
    out->used = share(at, reading(bar1_used, at.gpu));
    out->free = out->total - out->used;
    return SUCCESS;
}

API result nvmlDeviceGetTotalEccErrors(device handle, u32 type, u32 counter, u64 *out)
{
    ENTER_GPU(handle);
    NEED(out && type < 2 && counter < 2);
    *out = reading(dram_errors[type][counter], at.gpu) + reading(sram_errors[type][counter], at.gpu);
    return SUCCESS;
}

API result nvmlDeviceGetMemoryErrorCounter(device handle, u32 type, u32 counter, u32 location, u64 *out)
{
    ENTER_GPU(handle);
    NEED(out && type < 2 && counter < 2);
    if (location != DRAM && location != SRAM) return NOT_SUPPORTED;
    *out = reading(location == DRAM ? dram_errors[type][counter] : sram_errors[type][counter], at.gpu);
    return SUCCESS;
}

API result nvmlDeviceGetSramEccErrorStatus(device handle, sram_ecc_v1 *out)
{
    ENTER_GPU(handle);
    NEED_VERSION(out, VERSION(1, sram_ecc_v1));
    u32 version = out->version;
    memset(out, 0, sizeof *out);
    out->version = version;
    out->volatile_corrected = reading(volatile_corrected_sram, at.gpu);
    out->aggregate_corrected = reading(aggregate_corrected_sram, at.gpu);
    out->volatile_uncorrected_secded = reading(volatile_uncorrected_sram, at.gpu);
    out->aggregate_uncorrected_secded = out->bucket_sm = reading(aggregate_uncorrected_sram, at.gpu);
    out->threshold_exceeded = (u32)reading(sram_threshold_exceeded, at.gpu);
    return SUCCESS;
}

static result retired(int gpu, u32 cause, u32 *count, u64 *pages, u64 *times)
{
    NEED(count && cause < 2);
    u32 found = (u32)reading(cause == CORRECTED ? retired_single_bit : retired_double_bit, gpu);
    u32 room = *count;
    *count = found;
    if (room < found) return INSUFFICIENT_SIZE;
    for (u32 i = 0; i < found; i++) {
        if (pages) pages[i] = 0x10000ull * (i + 1);
        if (times) times[i] = 1700000000ull + i;
    }
    return SUCCESS;
}

API result nvmlDeviceGetRetiredPages(device handle, u32 cause, u32 *count, u64 *pages)
{
    ENTER_GPU(handle);
    return retired(at.gpu, cause, count, pages, NULL);
}

API result nvmlDeviceGetRetiredPages_v2(device handle, u32 cause, u32 *count, u64 *pages, u64 *times)
{
    ENTER_GPU(handle);
    return retired(at.gpu, cause, count, pages, times);
}

API result nvmlDeviceGetRemappedRows(device handle, u32 *corrected, u32 *uncorrected, u32 *pending, u32 *failure)
{
    ENTER_GPU(handle);
    NEED(corrected && uncorrected && pending && failure);
    *corrected = (u32)reading(remapped_corrected, at.gpu);
    *uncorrected = (u32)reading(remapped_uncorrected, at.gpu);
    *pending = (u32)reading(remapped_pending, at.gpu);
    *failure = (u32)reading(remapped_failure, at.gpu);
    return SUCCESS;
}

API result nvmlDeviceGetRowRemapperHistogram(device handle, row_remapper_histogram *out)
{
    ENTER_GPU(handle);
    NEED(out);
    out->max = (u32)reading(remapper_max, at.gpu);
    out->high = (u32)reading(remapper_high, at.gpu);
    out->partial = (u32)reading(remapper_partial, at.gpu);
    out->low = (u32)reading(remapper_low, at.gpu);
    out->none = (u32)reading(remapper_none, at.gpu);
    return SUCCESS;
}

API result nvmlDeviceGetAttributes_v2(device handle, attributes *out)
{
    ENTER_DEVICE(handle);
    NEED(out);
    if (at.instance == WHOLE) return NOT_SUPPORTED;
    *out = (attributes){.multiprocessors = at.instance == 0 ? 60 : 32,
                        .copy_engines = at.instance == 0 ? 3 : 2,
                        .gpu_slices = at.instance == 0 ? 3 : 2,
                        .compute_slices = at.instance == 0 ? 3 : 2,
                        .memory_mib = share(at, reading(memory_total, at.gpu)) / MIB};
    return SUCCESS;
}
