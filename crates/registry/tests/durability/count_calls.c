/* Kills its own process at call number HEADWATER_KILL_AT of the calls that change files below HEADWATER_KILL_UNDER.
 *
 * Loaded before libc with LD_PRELOAD. One counter for the whole process, whichever thread calls: a tracer's counters
 * are for each thread alone. The kill comes before the call, so the call has not happened. Without HEADWATER_KILL_AT the
 * calls are only counted, and the count is written to HEADWATER_COUNT_FILE when the process ends. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;
static long kill_at = -1;
static const char *under;
static size_t under_length;

__attribute__((constructor)) static void read_settings(void) {
    const char *at = getenv("HEADWATER_KILL_AT");
    under = getenv("HEADWATER_KILL_UNDER");
    under_length = under ? strlen(under) : 0;
    if (at) kill_at = atol(at);
}

__attribute__((destructor)) static void write_count(void) {
    const char *path = getenv("HEADWATER_COUNT_FILE");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", (long)calls);
        fclose(file);
    }
}

static void count_path(const char *path) {
    if (!under || !path || strncmp(path, under, under_length) != 0) return;
    if (atomic_fetch_add(&calls, 1) + 1 == kill_at) kill(getpid(), SIGKILL);
}

static void count_descriptor(int descriptor) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    count_path(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                   \
    int name(const char *path, int flags, ...) {                     \
        va_list arguments;                                           \
        va_start(arguments, flags);                                  \
        mode_t mode = (flags & O_CREAT) ? va_arg(arguments, int) : 0; \
        va_end(arguments);                                           \
        if (flags & (O_CREAT | O_TRUNC)) count_path(path);           \
        return REAL(name)(path, flags, mode);                        \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                  \
    int name(int dir, const char *path, int flags, ...) {             \
        va_list arguments;                                            \
        va_start(arguments, flags);                                   \
        mode_t mode = (flags & O_CREAT) ? va_arg(arguments, int) : 0; \
        va_end(arguments);                                            \
        if (flags & (O_CREAT | O_TRUNC)) count_path(path);            \
        return REAL(name)(dir, path, flags, mode);                    \
    }
OPENAT(openat)
OPENAT(openat64)

#define BY_DESCRIPTOR(type, name, parameters, ...) \
    type name parameters {                         \
        count_descriptor(descriptor);              \
        return REAL(name)(__VA_ARGS__);            \
    }
BY_DESCRIPTOR(ssize_t, write, (int descriptor, const void *data, size_t size), descriptor, data, size)
BY_DESCRIPTOR(ssize_t, writev, (int descriptor, const struct iovec *parts, int count), descriptor, parts, count)
BY_DESCRIPTOR(ssize_t, pwrite, (int descriptor, const void *data, size_t size, off_t at), descriptor, data, size, at)
BY_DESCRIPTOR(ssize_t, pwrite64, (int descriptor, const void *data, size_t size, off64_t at), descriptor, data, size, at)
BY_DESCRIPTOR(int, ftruncate, (int descriptor, off_t size), descriptor, size)
BY_DESCRIPTOR(int, ftruncate64, (int descriptor, off64_t size), descriptor, size)
BY_DESCRIPTOR(int, fsync, (int descriptor), descriptor)
BY_DESCRIPTOR(int, fdatasync, (int descriptor), descriptor)
BY_DESCRIPTOR(int, sync_file_range, (int descriptor, off64_t at, off64_t size, unsigned flags), descriptor, at, size, flags)

#define BY_PATH(name, parameters, ...)  \
    int name parameters {               \
        count_path(path);               \
        return REAL(name)(__VA_ARGS__); \
    }
BY_PATH(rename, (const char *path, const char *to), path, to)
BY_PATH(link, (const char *path, const char *to), path, to)
BY_PATH(unlink, (const char *path), path)
BY_PATH(unlinkat, (int dir, const char *path, int flags), dir, path, flags)
BY_PATH(mkdir, (const char *path, mode_t mode), path, mode)
BY_PATH(rmdir, (const char *path), path)
