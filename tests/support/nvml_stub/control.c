/* The control file: lines of `key words`, replaced as a whole by the test, noticed at the next call. */
#include "driver.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MIB 1048576ull
#define POLL_MS 20

struct driver driver;
int initialized;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct stat seen;
static char text[1 << 18];

static void take_int(const char *words, void *target) { *(int *)target = atoi(words); }
static void take_u64(const char *words, void *target) { *(u64 *)target = strtoull(words, NULL, 10); }
static void take_double(const char *words, void *target) { *(double *)target = atof(words); }
static void take_bit(const char *words, void *target) { *(u32 *)target |= 1u << atoi(words); }
static void take_word(const char *words, void *target) { snprintf(target, WORD, "%s", words); }

static void take_pci(const char *words, void *target)
{
    (void)target;
    if (driver.pci_buses < MAX_GPUS) driver.pci_bus[driver.pci_buses++] = strtoul(words, NULL, 16);
}

static void take_uuid(const char *words, void *target)
{
    (void)target;
    int gpu, instance;
    char uuid[WORD];
    if (sscanf(words, "%d %d %63s", &gpu, &instance, uuid) == 3) take_word(uuid, driver.uuids[gpu][1 + instance]);
}

static void take_name(const char *words, void *target)
{
    struct names *names = target;
    if (names->count < MAX_LIST) take_word(words, names->name[names->count++]);
}

static void take_xid(const char *words, void *target)
{
    (void)target;
    struct xid one;
    if (driver.xid_count < MAX_LIST && sscanf(words, "%llu %d %u", &one.sequence, &one.gpu, &one.code) == 3)
        driver.xids[driver.xid_count++] = one;
}

static void take_process(const char *words, void *target)
{
    (void)target;
    struct process one;
    if (driver.process_count < MAX_LIST && sscanf(words, "%d %u %llu", &one.gpu, &one.pid, &one.memory) == 3)
        driver.processes[driver.process_count++] = one;
}

static void take_value(const char *words, void *target)
{
    static const char *const names[] = {
#define READING(name, ...) #name,
#include "readings.def"
#undef READING
    };
    (void)target;
    char name[WORD];
    int gpu;
    u64 number;
    if (sscanf(words, "%63s %d %llu", name, &gpu, &number) != 3) return;
    for (int which = 0; which < READINGS; which++)
        if (strcmp(names[which], name) == 0) {
            driver.values[which][gpu] = number;
            driver.overridden[which] |= 1u << gpu;
        }
}

static const struct {
    const char *name;
    void (*take)(const char *words, void *target);
    void *target;
} keys[] = {
    {"gpus", take_int, &driver.gpus},
    {"mode", take_word, driver.mode},
    {"driver_version", take_word, driver.driver_version},
    {"generation", take_u64, &driver.generation},
    {"started", take_double, &driver.started},
    {"seconds", take_double, &driver.seconds},
    {"hang", take_word, driver.hang},
    {"hang_gpus", take_bit, &driver.hang_gpus},
    {"slow", take_word, driver.slow},
    {"slow_ms", take_double, &driver.slow_ms},
    {"lost", take_bit, &driver.lost},
    {"gone", take_bit, &driver.gone},
    {"mig", take_bit, &driver.mig},
    {"ecc_storm", take_bit, &driver.ecc_storm},
    {"pci", take_pci, NULL},
    {"uuid", take_uuid, NULL},
    {"unsupported", take_name, &driver.unsupported},
    {"failing", take_name, &driver.failing},
    {"xid", take_xid, NULL},
    {"process", take_process, NULL},
    {"value", take_value, NULL},
};

static void take_line(char *line)
{
    char *words = strchr(line, ' ');
    if (words == NULL) return;
    *words++ = '\0';
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i].name, line) == 0) keys[i].take(words, keys[i].target);
}

static void take_file(const char *path)
{
    u64 before = driver.generation;
    memset(&driver, 0, sizeof driver);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    text[size < 0 ? 0 : size] = '\0';
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        take_line(line);
    if (driver.generation != before) initialized = 0;
}

static void refresh(void)
{
    const char *path = getenv("PACELINE_NVML_STUB");
    struct stat now;
    if (path == NULL || stat(path, &now) != 0) return; /* no control file: no driver */
    int same = now.st_ino == seen.st_ino && now.st_size == seen.st_size &&
               now.st_mtim.tv_sec == seen.st_mtim.tv_sec && now.st_mtim.tv_nsec == seen.st_mtim.tv_nsec;
    if (same) return;
    seen = now;
    take_file(path);
}

static void sleep_ms(double ms)
{
    struct timespec rest = {(time_t)(ms / 1e3), (long)(fmod(ms, 1e3) * 1e6)};
    nanosleep(&rest, NULL);
}

static int names(const char *pattern, const char *function)
{
    return strcmp(pattern, "*") == 0 || strcmp(pattern, function) == 0;
}

static int listed(const struct names *names, const char *name)
{
    for (int i = 0; i < names->count; i++)
        if (strcmp(names->name[i], name) == 0) return 1;
    return 0;
}

result outcome(const char *name)
{
    return listed(&driver.unsupported, name) ? NOT_SUPPORTED : listed(&driver.failing, name) ? UNKNOWN : SUCCESS;
}

result enter(const char *function)
{
    pthread_mutex_lock(&lock);
    refresh();
    while (!driver.hang_gpus && names(driver.hang, function)) {
        sleep_ms(POLL_MS);
        refresh();
    }
    if (driver.slow_ms > 0 && names(driver.slow, function)) sleep_ms(driver.slow_ms);
    int begins = strncmp(function, "nvmlInit", strlen("nvmlInit")) == 0;
    if (strcmp(driver.mode, "mismatch") == 0 && begins) return LIB_RM_VERSION_MISMATCH;
    if (strcmp(driver.mode, "not_loaded") == 0 || driver.mode[0] == '\0') return DRIVER_NOT_LOADED;
    if (!initialized && !begins) return UNINITIALIZED;
    return outcome(function);
}

void enter_gpu(const char *function, int gpu)
{
    while (bit(driver.hang_gpus, gpu) && names(driver.hang, function)) {
        sleep_ms(POLL_MS);
        refresh();
    }
}

void leave(int *entered)
{
    (void)entered;
    pthread_mutex_unlock(&lock);
}

void pause_inside(double ms)
{
    pthread_mutex_unlock(&lock);
    sleep_ms(ms);
    pthread_mutex_lock(&lock);
    refresh();
}

int bit(u32 mask, int gpu) { return mask >> gpu & 1; }

double seconds(void)
{
    struct timespec now;
    if (driver.seconds >= 0) return driver.seconds;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9 - driver.started;
}

static double wave(int gpu, double t, double height) { return height * sin(t / 7 + gpu); }
static double storm(int gpu, double t, double rate) { return bit(driver.ecc_storm, gpu) ? rate * t : 0; }

u64 reading(enum reading which, int gpu)
{
    if (bit(driver.overridden[which], gpu)) return driver.values[which][gpu];
    double t = seconds();
    switch (which) {
#define READING(name, ...) \
    case name: { double found = (__VA_ARGS__); return found > 0 ? (u64)found : 0; }
#include "readings.def"
#undef READING
    case READINGS: break;
    }
    return 0;
}
