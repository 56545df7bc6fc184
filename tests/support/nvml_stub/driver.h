/* The driver behind the library: what the control file says, and how a function enters it. */
#ifndef DRIVER_H
#define DRIVER_H

#include "abi.h"

#define API __attribute__((visibility("default")))
#define MAX_GPUS 16
#define MAX_LIST 1024
#define WORD 64
#define LINKS 18
#define INSTANCES 2
#define WHOLE (-1)
#define ANY_INSTANCE 0xffffffffu

enum reading {
#define READING(name, ...) name,
#include "readings.def"
#undef READING
    READINGS
};

struct xid {
    u64 sequence;
    int gpu;
    u32 code;
};

struct process {
    int gpu;
    u32 pid;
    u64 memory;
};

struct names {
    char name[MAX_LIST][WORD];
    int count;
};

/* As the control file said when a function last entered. */
struct driver {
    int gpus;
    char mode[WORD], driver_version[WORD], hang[WORD], slow[WORD];
    u64 generation;
    double started, seconds, slow_ms;
    u32 lost, gone, mig, ecc_storm, hang_gpus; /* a bit per GPU */
    char uuids[MAX_GPUS][1 + INSTANCES][WORD];
    u32 pci_bus[MAX_GPUS];
    int pci_buses;
    struct names unsupported, failing;
    struct xid xids[MAX_LIST];
    int xid_count;
    struct process processes[MAX_LIST];
    int process_count;
    u64 values[READINGS][MAX_GPUS];
    u32 overridden[READINGS]; /* a bit per GPU */
};

extern struct driver driver;
extern int initialized;

/* A GPU, or one of its MIG instances. */
struct place {
    int gpu, instance;
};

/* Takes the driver's lock, as one slow call delays all in the real one; notices a changed control file; hangs and
   dawdles as told; answers what stands in the way of the call. */
result enter(const char *function);
void leave(int *entered);
/* For a function that waits so many milliseconds: lets others in meanwhile. */
void pause_inside(double ms);
/* Of a function or a field, as far as the control file tells. */
result outcome(const char *name);
/* Hangs where only calls about some GPUs do. */
void enter_gpu(const char *function, int gpu);

result locate(device handle, struct place *at);
device handle_of(struct place at);
int bit(u32 mask, int gpu);
int present(int gpu);
u64 reading(enum reading which, int gpu);
double seconds(void);
const char *uuid_of(struct place at);
void put_pci(pci_info *out, u32 bus);
result put_text(char *out, u32 size, const char *text);

#define ENTER                                                                                                  \
    __attribute__((cleanup(leave))) int entered = 1;                                                           \
    do {                                                                                                       \
        result stop = enter(__func__);                                                                         \
        if (stop) return stop;                                                                                 \
    } while (0)

/* For a GPU or a MIG instance, as `at`. */
#define ENTER_DEVICE(handle)                                                                                   \
    ENTER;                                                                                                     \
    struct place at;                                                                                           \
    do {                                                                                                       \
        result stop = locate(handle, &at);                                                                     \
        if (stop) return stop;                                                                                 \
        enter_gpu(__func__, at.gpu);                                                                           \
    } while (0)

/* For whole GPUs only. */
#define ENTER_GPU(handle)                                                                                      \
    ENTER_DEVICE(handle);                                                                                      \
    do {                                                                                                       \
        if (at.instance != WHOLE) return NOT_SUPPORTED;                                                        \
    } while (0)

#define NEED(condition)                                                                                        \
    do {                                                                                                       \
        if (!(condition)) return INVALID_ARGUMENT;                                                             \
    } while (0)

#define NEED_VERSION(pointer, expected)                                                                        \
    do {                                                                                                       \
        NEED(pointer);                                                                                         \
        if ((pointer)->version != (expected)) return ARGUMENT_VERSION_MISMATCH;                                \
    } while (0)

#endif
