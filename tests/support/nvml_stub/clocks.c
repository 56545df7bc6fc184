/* Clocks, temperatures, and how long each policy has held clocks down. */
#include "driver.h"

/* The reading that a selector of NVML's stands for; not supported beyond the table. */
static result pick(const enum reading *table, u32 size, u32 selector, int gpu, u32 *out)
{
    NEED(out);
    if (selector >= size) return NOT_SUPPORTED;
    *out = (u32)reading(table[selector], gpu);
    return SUCCESS;
}

#define SIZE(table) (sizeof(table) / sizeof *(table))

static const enum reading current_clocks[] = {graphics_clock, sm_clock, memory_clock, video_clock};
static const enum reading max_clocks[] = {max_graphics_clock, max_sm_clock, max_memory_clock, max_video_clock};
static const enum reading thresholds[] = {
    shutdown_temperature, slowdown_temperature, memory_max_temperature, gpu_max_temperature};
static const enum reading violations[] = {
    violation_power,           violation_thermal,     violation_sync_boost, violation_board_limit,
    violation_low_utilization, violation_reliability,
};

API result nvmlDeviceGetClockInfo(device handle, u32 type, u32 *out)
{
    ENTER_GPU(handle);
    return pick(current_clocks, SIZE(current_clocks), type, at.gpu, out);
}

API result nvmlDeviceGetMaxClockInfo(device handle, u32 type, u32 *out)
{
    ENTER_GPU(handle);
    return pick(max_clocks, SIZE(max_clocks), type, at.gpu, out);
}

/* The clock now, or the highest that a customer may set. */
API result nvmlDeviceGetClock(device handle, u32 type, u32 id, u32 *out)
{
    ENTER_GPU(handle);
    if (id != 0 && id != 3) return NOT_SUPPORTED;
    return pick(id == 0 ? current_clocks : max_clocks, SIZE(current_clocks), type, at.gpu, out);
}

API result nvmlDeviceGetTemperature(device handle, u32 sensor, u32 *out)
{
    ENTER_GPU(handle);
    NEED(out && sensor == 0);
    *out = (u32)reading(temperature, at.gpu);
    return SUCCESS;
}

API result nvmlDeviceGetTemperatureV(device handle, temperature_v1 *out)
{
    ENTER_GPU(handle);
    NEED_VERSION(out, VERSION(1, temperature_v1));
    NEED(out->sensor == 0);
    out->temperature = (int)reading(temperature, at.gpu);
    return SUCCESS;
}

API result nvmlDeviceGetMarginTemperature(device handle, margin_temperature_v1 *out)
{
    ENTER_GPU(handle);
    NEED_VERSION(out, VERSION(1, margin_temperature_v1));
    out->margin = (int)reading(margin_temperature, at.gpu);
    return SUCCESS;
}

API result nvmlDeviceGetTemperatureThreshold(device handle, u32 which, u32 *out)
{
    ENTER_GPU(handle);
    return pick(thresholds, SIZE(thresholds), which, at.gpu, out);
}

API result nvmlDeviceGetViolationStatus(device handle, u32 policy, violation_time *out)
{
    ENTER_GPU(handle);
    NEED(out);
    if (policy == 10 || policy == 11)
        out->violation_time = reading(policy == 10 ? violation_app_clocks : violation_base_clocks, at.gpu);
    else if (policy < SIZE(violations))
        out->violation_time = reading(violations[policy], at.gpu);
    else
        return INVALID_ARGUMENT;
    out->reference_time = (u64)(seconds() * 1e6);
    return SUCCESS;
}
