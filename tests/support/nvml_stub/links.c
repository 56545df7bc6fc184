/* What a GPU is connected to: PCIe, NVLink, the NVLink fabric, CPUs and other GPUs. */
#include "driver.h"

#include <string.h>

#define SWITCH 2
#define FIRST_SWITCH_BUS 0x07
#define SWITCHES 4
#define TX 0

API result nvmlDeviceGetPcieThroughput(device handle, u32 direction, u32 *out)
{
    ENTER_GPU(handle);
    NEED(out && direction < 2);
    pause_inside(20); /* as long as the real one measures */
    *out = (u32)reading(direction == TX ? pcie_tx_kbs : pcie_rx_kbs, at.gpu);
    return SUCCESS;
}

/* For one NVLink, which must exist. */
#define ENTER_LINK(handle, link)                                                                               \
    ENTER_GPU(handle);                                                                                         \
    NEED(out && link < LINKS)

API result nvmlDeviceGetNvLinkState(device handle, u32 link, u32 *out)
{
    ENTER_LINK(handle, link);
    *out = reading(nvlink_active, at.gpu) >> link & 1;
    return SUCCESS;
}

API result nvmlDeviceGetNvLinkVersion(device handle, u32 link, u32 *out)
{
    ENTER_LINK(handle, link);
    *out = (u32)reading(nvlink_version, at.gpu);
    return SUCCESS;
}

API result nvmlDeviceGetNvLinkErrorCounter(device handle, u32 link, u32 counter, u64 *out)
{
    static const enum reading counters[] = {
        nvlink_replay_errors, nvlink_recovery_errors, nvlink_crc_flit_errors, nvlink_crc_data_errors};
    ENTER_LINK(handle, link);
    if (counter >= sizeof counters / sizeof *counters) return NOT_SUPPORTED;
    *out = reading(counters[counter], at.gpu);
    return SUCCESS;
}

API result nvmlDeviceGetNvLinkRemotePciInfo_v2(device handle, u32 link, pci_info *out)
{
    ENTER_LINK(handle, link);
    put_pci(out, FIRST_SWITCH_BUS + link % SWITCHES);
    return SUCCESS;
}

API result nvmlDeviceGetNvLinkRemoteDeviceType(device handle, u32 link, u32 *out)
{
    ENTER_LINK(handle, link);
    *out = SWITCH;
    return SUCCESS;
}

static const unsigned char cluster_uuid[16] = {0x5e, 0x21, 0x9c, 0x44};

#define FABRIC                                                                                                 \
    memcpy(out->cluster_uuid, cluster_uuid, sizeof cluster_uuid);                                              \
    out->status = (result)reading(fabric_status, at.gpu);                                                      \
    out->clique_id = (u32)reading(fabric_clique, at.gpu);                                                      \
    out->state = (u32)reading(fabric_state, at.gpu)

API result nvmlDeviceGetGpuFabricInfo(device handle, fabric_info *out)
{
    ENTER_GPU(handle);
    NEED(out);
    FABRIC;
    return SUCCESS;
}

API result nvmlDeviceGetGpuFabricInfoV(device handle, fabric_info_v3 *out)
{
    ENTER_GPU(handle);
    NEED(out);
    if (out->version != VERSION(2, fabric_info_v2) && out->version != VERSION(3, fabric_info_v3))
        return ARGUMENT_VERSION_MISMATCH;
    FABRIC;
    out->health_mask = (u32)reading(fabric_health_mask, at.gpu);
    if (out->version == VERSION(3, fabric_info_v3))
        out->health_summary = (unsigned char)reading(fabric_health_summary, at.gpu);
    return SUCCESS;
}

/* Sets of CPUs and of memory nodes, a bit each. */
API result nvmlDeviceGetCpuAffinity(device handle, u32 words, unsigned long *set)
{
    ENTER_GPU(handle);
    NEED(set && words > 0);
    memset(set, 0, words * sizeof *set);
    set[0] = 0xfful << 8 * reading(numa_node, at.gpu);
    return SUCCESS;
}

API result nvmlDeviceGetMemoryAffinity(device handle, u32 words, unsigned long *set, u32 scope)
{
    ENTER_GPU(handle);
    NEED(set && words > 0 && scope < 2);
    memset(set, 0, words * sizeof *set);
    set[0] = 1ul << reading(numa_node, at.gpu);
    return SUCCESS;
}

API result nvmlDeviceGetTopologyCommonAncestor(device one, device other, u32 *out)
{
    enum { INTERNAL = 0, NODE = 40, SYSTEM = 50 };
    struct place second;
    ENTER_GPU(one);
    NEED(out);
    result stop = locate(other, &second);
    if (stop) return stop;
    int same_node = reading(numa_node, at.gpu) == reading(numa_node, second.gpu);
    *out = at.gpu == second.gpu ? INTERNAL : same_node ? NODE : SYSTEM;
    return SUCCESS;
}
