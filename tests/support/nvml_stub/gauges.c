/* Functions that give one number of a GPU, or two. */
#include "driver.h"

#define GAUGE(function, type, which)                                                                           \
    API result function(device handle, type *out)                                                              \
    {                                                                                                          \
        ENTER_GPU(handle);                                                                                     \
        NEED(out);                                                                                             \
        *out = (type)reading(which, at.gpu);                                                                   \
        return SUCCESS;                                                                                        \
    }

GAUGE(nvmlDeviceGetPowerUsage, u32, power)
GAUGE(nvmlDeviceGetEnforcedPowerLimit, u32, power_enforced_limit)
GAUGE(nvmlDeviceGetPowerManagementLimit, u32, power_limit)
GAUGE(nvmlDeviceGetPowerManagementDefaultLimit, u32, power_default_limit)
GAUGE(nvmlDeviceGetTotalEnergyConsumption, u64, energy)
GAUGE(nvmlDeviceGetPerformanceState, u32, performance_state)
GAUGE(nvmlDeviceGetPowerState, u32, performance_state)
GAUGE(nvmlDeviceGetCurrentClocksEventReasons, u64, clocks_event_reasons)
GAUGE(nvmlDeviceGetCurrentClocksThrottleReasons, u64, clocks_event_reasons)
GAUGE(nvmlDeviceGetSupportedClocksEventReasons, u64, supported_clocks_event_reasons)
GAUGE(nvmlDeviceGetSupportedClocksThrottleReasons, u64, supported_clocks_event_reasons)
GAUGE(nvmlDeviceGetCurrPcieLinkGeneration, u32, pcie_generation)
GAUGE(nvmlDeviceGetCurrPcieLinkWidth, u32, pcie_width)
GAUGE(nvmlDeviceGetMaxPcieLinkGeneration, u32, pcie_max_generation)
GAUGE(nvmlDeviceGetGpuMaxPcieLinkGeneration, u32, pcie_max_generation)
GAUGE(nvmlDeviceGetMaxPcieLinkWidth, u32, pcie_max_width)
GAUGE(nvmlDeviceGetPcieReplayCounter, u32, pcie_replay)
GAUGE(nvmlDeviceGetNumFans, u32, fans)
GAUGE(nvmlDeviceGetArchitecture, u32, architecture)
GAUGE(nvmlDeviceGetNumaNodeId, u32, numa_node)
GAUGE(nvmlDeviceGetPersistenceMode, u32, persistence_mode)
GAUGE(nvmlDeviceGetComputeMode, u32, compute_mode)
GAUGE(nvmlDeviceGetAccountingMode, u32, accounting_mode)
GAUGE(nvmlDeviceGetNumGpuCores, u32, cores)
GAUGE(nvmlDeviceGetRetiredPagesPendingStatus, u32, retired_pending)

#define PAIR(function, type, first, second)                                                                    \
    API result function(device handle, type *one, type *other)                                                 \
    {                                                                                                          \
        ENTER_GPU(handle);                                                                                     \
        NEED(one && other);                                                                                    \
        *one = (type)reading(first, at.gpu);                                                                   \
        *other = (type)reading(second, at.gpu);                                                                \
        return SUCCESS;                                                                                        \
    }

PAIR(nvmlDeviceGetPowerManagementLimitConstraints, u32, power_min_limit, power_max_limit)
PAIR(nvmlDeviceGetCudaComputeCapability, int, compute_major, compute_minor)
PAIR(nvmlDeviceGetEccMode, u32, ecc_mode, ecc_pending_mode)

/* With the period over which it was measured, in microseconds. */
#define ENGINE(function, which)                                                                                \
    API result function(device handle, u32 *percent, u32 *period)                                              \
    {                                                                                                          \
        ENTER_GPU(handle);                                                                                     \
        NEED(percent && period);                                                                               \
        if (bit(driver.mig, at.gpu)) return NOT_SUPPORTED;                                                     \
        *percent = (u32)reading(which, at.gpu);                                                                \
        *period = 166666;                                                                                      \
        return SUCCESS;                                                                                        \
    }

ENGINE(nvmlDeviceGetEncoderUtilization, encoder_utilization)
ENGINE(nvmlDeviceGetDecoderUtilization, decoder_utilization)
ENGINE(nvmlDeviceGetJpgUtilization, jpeg_utilization)
ENGINE(nvmlDeviceGetOfaUtilization, ofa_utilization)

API result nvmlDeviceGetUtilizationRates(device handle, utilization_rates *out)
{
    ENTER_GPU(handle);
    NEED(out);
    if (bit(driver.mig, at.gpu)) return NOT_SUPPORTED;
    out->gpu = (u32)reading(utilization, at.gpu);
    out->memory = (u32)reading(memory_utilization, at.gpu);
    return SUCCESS;
}

API result nvmlDeviceGetFanSpeed_v2(device handle, u32 fan, u32 *out)
{
    ENTER_GPU(handle);
    NEED(out);
    u64 count = reading(fans, at.gpu);
    if (count == 0) return NOT_SUPPORTED; /* as on a board that is cooled from outside */
    NEED(fan < count);
    *out = (u32)reading(fan_speed, at.gpu);
    return SUCCESS;
}
