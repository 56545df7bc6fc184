/* What a caller of libnvidia-ml.so.1 sees: result codes and structures, declared anew from the ABI that the
   ctypes classes of nvidia-ml-py describe. */
#ifndef ABI_H
#define ABI_H

#include <stdint.h>

typedef unsigned int u32;
typedef unsigned long long u64;

typedef enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    TIMEOUT = 10,
    GPU_IS_LOST = 15,
    LIB_RM_VERSION_MISMATCH = 18,
    MEMORY = 20,
    ARGUMENT_VERSION_MISMATCH = 25,
    UNKNOWN = 999,
} result;

typedef struct opaque_device *device;
typedef struct opaque_event_set *event_set;
typedef struct opaque_gpu_instance *gpu_instance;
typedef struct opaque_gpm_sample *gpm_sample;

/* The first word of a versioned structure: the version, then the size. */
#define VERSION(number, type) ((u32)((number) << 24 | sizeof(type)))

typedef struct {
    char legacy_bus_id[16];
    u32 domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} pci_info;

typedef struct {
    u32 gpu, memory;
} utilization_rates;

typedef struct {
    u64 total, free, used;
} memory_info; /* also of BAR1 */

typedef struct {
    u32 version;
    u64 total, reserved, free, used;
} memory_info_v2;

typedef struct {
    u32 version, sensor;
    int temperature;
} temperature_v1;

typedef struct {
    u32 version;
    int margin;
} margin_temperature_v1;

typedef struct {
    u64 reference_time, violation_time;
} violation_time;

typedef struct {
    u32 version;
    u64 aggregate_uncorrected_parity, aggregate_uncorrected_secded, aggregate_corrected;
    u64 volatile_uncorrected_parity, volatile_uncorrected_secded, volatile_corrected;
    u64 bucket_l2, bucket_sm, bucket_pcie, bucket_mcu, bucket_other;
    u32 threshold_exceeded;
} sram_ecc_v1;

typedef struct {
    u32 max, high, partial, low, none;
} row_remapper_histogram;

typedef union {
    double real;
    u32 word;
    u64 wide;
} value;

typedef struct {
    u32 field_id, scope_id;
    int64_t timestamp, latency_us;
    u32 value_type;
    result outcome;
    value value;
} field_value;

typedef struct {
    device device;
    u64 type, data;
    u32 gpu_instance_id, compute_instance_id;
} event_data;

typedef struct {
    u32 pid;
    u64 used_memory;
    u32 gpu_instance_id, compute_instance_id;
} process_info;

typedef struct {
    u32 pid;
    u64 timestamp;
    u32 sm, memory, encoder, decoder;
} process_utilization;

typedef struct {
    u32 multiprocessors, copy_engines, decoders, encoders, jpegs, ofas, gpu_slices, compute_slices;
    u64 memory_mib;
} attributes;

typedef struct {
    device device;
    u32 id, profile_id, placement_start, placement_size;
} gpu_instance_info;

typedef struct {
    unsigned char cluster_uuid[16];
    result status;
    u32 clique_id, state;
} fabric_info;

typedef struct {
    u32 version;
    unsigned char cluster_uuid[16];
    result status;
    u32 clique_id, state, health_mask;
} fabric_info_v2;

typedef struct {
    u32 version;
    unsigned char cluster_uuid[16];
    result status;
    u32 clique_id, state, health_mask;
    unsigned char health_summary;
} fabric_info_v3;

typedef struct {
    u32 version, supported;
} gpm_support;

typedef struct {
    u32 metric_id;
    result outcome;
    double value;
    const char *short_name, *long_name, *unit;
} gpm_metric;

typedef struct {
    u32 version, count;
    gpm_sample first, second;
    gpm_metric metrics[];
} gpm_request;

#endif
