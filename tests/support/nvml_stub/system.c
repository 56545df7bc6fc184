/* The library itself: init, shutdown, versions, words for errors. */
#include "driver.h"

#include <stdio.h>
#include <string.h>

static result start(void)
{
    initialized++;
    return SUCCESS;
}

API result nvmlInit_v2(void)
{
    ENTER;
    return start();
}

API result nvmlInitWithFlags(u32 flags)
{
    (void)flags;
    ENTER;
    return start();
}

API result nvmlShutdown(void)
{
    ENTER;
    initialized--;
    return SUCCESS;
}

/* Not gated: it works at any time. */
API const char *nvmlErrorString(result code)
{
    static const struct {
        result code;
        const char *words;
    } known[] = {
        {SUCCESS, "Success"},
        {UNINITIALIZED, "Uninitialized"},
        {INVALID_ARGUMENT, "Invalid Argument"},
        {NOT_SUPPORTED, "Not Supported"},
        {NOT_FOUND, "Not Found"},
        {INSUFFICIENT_SIZE, "Insufficient Size"},
        {DRIVER_NOT_LOADED, "Driver Not Loaded"},
        {TIMEOUT, "Timeout"},
        {GPU_IS_LOST, "GPU is lost"},
        {LIB_RM_VERSION_MISMATCH, "Driver/library version mismatch"},
        {MEMORY, "Insufficient Memory"},
        {ARGUMENT_VERSION_MISMATCH, "Argument version mismatch"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].code == code) return known[i].words;
    return "Unknown Error";
}

result put_text(char *out, u32 size, const char *text)
{
    NEED(out);
    if (strlen(text) >= size) return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return SUCCESS;
}

API result nvmlSystemGetDriverVersion(char *out, u32 size)
{
    ENTER;
    return put_text(out, size, driver.driver_version);
}

API result nvmlSystemGetNVMLVersion(char *out, u32 size)
{
    char version[WORD + 3];
    ENTER;
    snprintf(version, sizeof version, "13.%s", driver.driver_version);
    return put_text(out, size, version);
}

static result cuda_version(int *out)
{
    NEED(out);
    *out = 13000;
    return SUCCESS;
}

API result nvmlSystemGetCudaDriverVersion(int *out)
{
    ENTER;
    return cuda_version(out);
}

API result nvmlSystemGetCudaDriverVersion_v2(int *out)
{
    ENTER;
    return cuda_version(out);
}
