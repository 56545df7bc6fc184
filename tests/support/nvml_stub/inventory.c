/* Which GPUs there are: how many, their handles, names and addresses. */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A handle is a number that says what it names, so that one from before a reload is known for what it is. */
#define TAG 0x4e5600000000ull
#define GENERATION(number) ((number) >> 16 & 0xffff)

device handle_of(struct place at)
{
    u64 number = (u64)(at.instance + 1) << 8 | (u64)(at.gpu + 1);
    return (device)(uintptr_t)(TAG | (driver.generation & 0xffff) << 16 | number);
}

result locate(device handle, struct place *at)
{
    u64 number = (uintptr_t)handle;
    at->gpu = (int)(number & 0xff) - 1;
    at->instance = (int)(number >> 8 & 0xff) - 1;
    if (number >> 32 != TAG >> 32 || at->gpu < 0 || at->gpu >= driver.gpus) return INVALID_ARGUMENT;
    if (GENERATION(number) != (driver.generation & 0xffff) || !present(at->gpu)) return GPU_IS_LOST;
    if (bit(driver.lost, at->gpu)) return GPU_IS_LOST;
    if (at->instance != WHOLE && !bit(driver.mig, at->gpu)) return INVALID_ARGUMENT;
    return SUCCESS;
}

int present(int gpu) { return gpu >= 0 && gpu < driver.gpus && !bit(driver.gone, gpu); }

static int index_of(int gpu)
{
    int index = 0;
    for (int before = 0; before < gpu; before++) index += present(before);
    return index;
}

static result give(device *out, int gpu, int instance)
{
    NEED(out);
    if (bit(driver.lost, gpu)) return GPU_IS_LOST;
    *out = handle_of((struct place){gpu, instance});
    return SUCCESS;
}

API result nvmlDeviceGetCount_v2(u32 *out)
{
    ENTER;
    NEED(out);
    *out = (u32)index_of(driver.gpus);
    return SUCCESS;
}

API result nvmlDeviceGetHandleByIndex_v2(u32 index, device *out)
{
    ENTER;
    for (int gpu = 0; gpu < driver.gpus; gpu++)
        if (present(gpu) && (u32)index_of(gpu) == index) return give(out, gpu, WHOLE);
    return INVALID_ARGUMENT;
}

API result nvmlDeviceGetHandleByUUID(const char *uuid, device *out)
{
    ENTER;
    NEED(uuid);
    for (int gpu = 0; gpu < driver.gpus; gpu++)
        for (int instance = WHOLE; instance < (bit(driver.mig, gpu) ? INSTANCES : 0); instance++)
            if (present(gpu) && strcmp(uuid_of((struct place){gpu, instance}), uuid) == 0)
                return give(out, gpu, instance);
    return NOT_FOUND;
}

API result nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, device *out)
{
    u32 domain, bus, slot;
    ENTER;
    NEED(bus_id && sscanf(bus_id, "%x:%x:%x", &domain, &bus, &slot) == 3);
    for (int gpu = 0; gpu < driver.gpus; gpu++)
        if (present(gpu) && domain == 0 && slot == 0 && driver.pci_bus[gpu] == bus) return give(out, gpu, WHOLE);
    return NOT_FOUND;
}

const char *uuid_of(struct place at) { return driver.uuids[at.gpu][1 + at.instance]; }

void put_pci(pci_info *out, u32 bus)
{
    memset(out, 0, sizeof *out);
    out->bus = bus;
    out->pci_device_id = 0x233010de;
    out->pci_subsystem_id = 0x16c110de;
    snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", bus);
    snprintf(out->legacy_bus_id, sizeof out->legacy_bus_id, "0000:%02X:00.0", bus);
}

API result nvmlDeviceGetUUID(device handle, char *out, u32 size)
{
    ENTER_DEVICE(handle);
    return put_text(out, size, uuid_of(at));
}

API result nvmlDeviceGetName(device handle, char *out, u32 size)
{
    static const char *const names[] = {
        "NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3 MIG 3g.40gb", "NVIDIA H100 80GB HBM3 MIG 2g.20gb"};
    ENTER_DEVICE(handle);
    return put_text(out, size, names[at.instance + 1]);
}

API result nvmlDeviceGetPciInfo_v3(device handle, pci_info *out)
{
    ENTER_GPU(handle);
    NEED(out);
    put_pci(out, driver.pci_bus[at.gpu]);
    return SUCCESS;
}

API result nvmlDeviceGetIndex(device handle, u32 *out)
{
    ENTER_DEVICE(handle);
    NEED(out);
    *out = at.instance == WHOLE ? (u32)index_of(at.gpu) : (u32)at.instance;
    return SUCCESS;
}

API result nvmlDeviceGetMinorNumber(device handle, u32 *out)
{
    ENTER_GPU(handle);
    NEED(out);
    *out = (u32)at.gpu;
    return SUCCESS;
}

/* Texts of a board: a printf format of the GPU's number. */
#define TEXT(function, format)                                                                                 \
    API result function(device handle, char *out, u32 size)                                                    \
    {                                                                                                          \
        char text[WORD];                                                                                       \
        ENTER_GPU(handle);                                                                                     \
        snprintf(text, sizeof text, format, at.gpu);                                                           \
        return put_text(out, size, text);                                                                      \
    }

TEXT(nvmlDeviceGetSerial, "165352300000%d")
TEXT(nvmlDeviceGetBoardPartNumber, "692-2G520-0200-00%d")
TEXT(nvmlDeviceGetVbiosVersion, "96.00.89.00.0%d")
TEXT(nvmlDeviceGetInforomImageVersion, "G520.0200.00.0%d")
