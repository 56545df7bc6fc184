/* nvmlDeviceGetFieldValues: readings by number, each with its own outcome. */
#include "driver.h"

#include <stdio.h>
#include <time.h>

enum type { REAL = 0, U32 = 1, U64 = 3 };

/* What the scope says. */
enum scope {
    GPU,    /* nothing */
    LINK,   /* which link; each has this value */
    SHARED, /* which link has its share, or all of them (all ones) */
    STATE,  /* which link's bit */
    ALL,    /* nothing; the value of one link times the links */
    COUNT,  /* nothing; how many links there are */
    POWER,  /* the GPU, its module or its memory */
};

static const struct {
    u32 id;
    enum type type;
    enum scope scope;
    enum reading reading, second; /* summed where the second is not the first */
} fields[] = {
#define FIELD(id, type, scope, reading) {id, type, scope, reading, reading},
#define SUM(id, type, first, second) {id, type, GPU, first, second},
    FIELD(1, U32, GPU, ecc_mode)
    FIELD(2, U32, GPU, ecc_pending_mode)
    SUM(3, U64, volatile_corrected_dram, volatile_corrected_sram)
    SUM(4, U64, volatile_uncorrected_dram, volatile_uncorrected_sram)
    SUM(5, U64, aggregate_corrected_dram, aggregate_corrected_sram)
    SUM(6, U64, aggregate_uncorrected_dram, aggregate_uncorrected_sram)
    FIELD(11, U64, GPU, volatile_corrected_dram)
    FIELD(12, U64, GPU, volatile_uncorrected_dram)
    FIELD(22, U64, GPU, aggregate_corrected_dram)
    FIELD(23, U64, GPU, aggregate_uncorrected_dram)
    FIELD(29, U32, GPU, retired_single_bit)
    FIELD(30, U32, GPU, retired_double_bit)
    FIELD(31, U32, GPU, retired_pending)
    FIELD(38, U64, ALL, nvlink_crc_flit_errors)
    FIELD(45, U64, ALL, nvlink_crc_data_errors)
    FIELD(52, U64, ALL, nvlink_replay_errors)
    FIELD(59, U64, ALL, nvlink_recovery_errors)
    FIELD(74, U64, GPU, violation_power)
    FIELD(75, U64, GPU, violation_thermal)
    FIELD(76, U64, GPU, violation_sync_boost)
    FIELD(77, U64, GPU, violation_board_limit)
    FIELD(78, U64, GPU, violation_low_utilization)
    FIELD(79, U64, GPU, violation_reliability)
    FIELD(80, U64, GPU, violation_app_clocks)
    FIELD(81, U64, GPU, violation_base_clocks)
    FIELD(82, U32, GPU, memory_temperature)
    FIELD(83, U64, GPU, energy)
    FIELD(90, U32, GPU, nvlink_speed_mbs)
    FIELD(91, U32, COUNT, nvlink_active)
    FIELD(92, U32, GPU, retired_pending)
    FIELD(93, U32, GPU, retired_pending)
    FIELD(94, U32, GPU, pcie_replay)
    FIELD(95, U32, GPU, pcie_replay_rollover)
    FIELD(138, U64, SHARED, nvlink_tx_kib)
    FIELD(139, U64, SHARED, nvlink_rx_kib)
    FIELD(140, U64, SHARED, nvlink_raw_tx_kib)
    FIELD(141, U64, SHARED, nvlink_raw_rx_kib)
    FIELD(142, U32, GPU, remapped_corrected)
    FIELD(143, U32, GPU, remapped_uncorrected)
    FIELD(144, U32, GPU, remapped_pending)
    FIELD(145, U32, GPU, remapped_failure)
    FIELD(147, U32, COUNT, nvlink_active)
    FIELD(161, U64, LINK, nvlink_replay_errors)
    FIELD(162, U64, LINK, nvlink_recovery_errors)
    FIELD(163, U64, LINK, nvlink_crc_flit_errors)
    FIELD(164, U32, LINK, nvlink_speed_mbs)
    FIELD(165, U32, STATE, nvlink_active)
    FIELD(166, U32, LINK, nvlink_version)
    FIELD(169, U32, GPU, pcie_l0_to_recovery)
    FIELD(173, U32, GPU, pcie_correctable_errors)
    FIELD(179, U32, GPU, pcie_nonfatal_errors)
    FIELD(180, U32, GPU, pcie_fatal_errors)
    FIELD(185, U32, POWER, power_average)
    FIELD(186, U32, POWER, power)
    FIELD(187, U32, GPU, power_min_limit)
    FIELD(188, U32, GPU, power_max_limit)
    FIELD(189, U32, GPU, power_default_limit)
    FIELD(190, U32, GPU, power_enforced_limit)
    FIELD(191, U64, GPU, energy)
    FIELD(192, U32, GPU, power_limit)
    FIELD(197, U64, GPU, pcie_tx_bytes)
    FIELD(198, U64, GPU, pcie_rx_bytes)
    FIELD(201, U64, LINK, nvlink_packets)
    FIELD(203, U64, LINK, nvlink_packets)
    FIELD(206, U64, LINK, nvlink_malformed_packets)
    FIELD(207, U64, LINK, nvlink_buffer_overruns)
    FIELD(208, U64, LINK, nvlink_receive_errors)
    FIELD(209, U64, LINK, nvlink_remote_errors)
    FIELD(210, U64, LINK, nvlink_general_errors)
    FIELD(211, U64, LINK, nvlink_integrity_errors)
    FIELD(212, U64, LINK, nvlink_discards)
    FIELD(213, U64, LINK, nvlink_recoveries_done)
    FIELD(214, U64, LINK, nvlink_recoveries_failed)
    FIELD(215, U64, LINK, nvlink_recoveries)
    FIELD(219, U64, LINK, nvlink_effective_errors)
    FIELD(221, U64, LINK, nvlink_symbol_errors)
    FIELD(230, U32, GPU, recovery_action)
    FIELD(269, U64, GPU, slowdown_sw_thermal)
    FIELD(270, U64, GPU, slowdown_hw_thermal)
    FIELD(271, U64, GPU, slowdown_power_brake)
};

static int per_link(enum scope scope) { return scope == LINK || scope == STATE; }

static u64 scoped(size_t field, int gpu, u32 scope)
{
    u64 found = reading(fields[field].reading, gpu);
    switch (fields[field].scope) {
    case STATE: return found >> scope & 1;
    case SHARED: return scope < LINKS ? found / LINKS : found;
    case ALL: return found * LINKS;
    case COUNT: return LINKS;
    case POWER: return scope == 1 ? reading(module_power, gpu) : scope == 2 ? reading(memory_power, gpu) : found;
    default: return found;
    }
}

static result answer(field_value *out, int gpu)
{
    char name[WORD], scoped_name[WORD];
    snprintf(name, sizeof name, "field:%u", out->field_id);
    snprintf(scoped_name, sizeof scoped_name, "field:%u:%u", out->field_id, out->scope_id);
    result stop = outcome(name) ? outcome(name) : outcome(scoped_name);
    if (stop) return stop;
    for (size_t field = 0; field < sizeof fields / sizeof *fields; field++) {
        if (fields[field].id != out->field_id) continue;
        if (per_link(fields[field].scope) && out->scope_id >= LINKS) return INVALID_ARGUMENT;
        u64 found = scoped(field, gpu, out->scope_id);
        if (fields[field].second != fields[field].reading) found += reading(fields[field].second, gpu);
        out->value_type = fields[field].type;
        out->value.wide = fields[field].type == U32 ? (u32)found : found;
        return SUCCESS;
    }
    return NOT_SUPPORTED;
}

API result nvmlDeviceGetFieldValues(device handle, int count, field_value *values)
{
    struct timespec now;
    ENTER_GPU(handle);
    NEED(values && count > 0);
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < count; i++) {
        values[i].timestamp = now.tv_sec * 1000000ll + now.tv_nsec / 1000;
        values[i].latency_us = 3;
        values[i].outcome = answer(&values[i], at.gpu);
    }
    return SUCCESS;
}
