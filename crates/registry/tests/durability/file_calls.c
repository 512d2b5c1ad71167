/* Stands between a process and libc, for the calls that change files below HEADWATER_UNDER. Loaded with LD_PRELOAD.
 *
 * HEADWATER_KILL_AT        the process dies before call number so much; one counter for all threads
 * HEADWATER_COUNT_FILE     takes the number of calls, and of those that failed, when the process ends
 * HEADWATER_FAIL_CALL      calls of this name fail ...
 * HEADWATER_FAIL_AT        ... from number so much of them, or that one alone where HEADWATER_FAIL_ONCE is set ...
 * HEADWATER_FAIL_WITH      ... with this errno
 * HEADWATER_RECORD         takes every call that succeeded, with its bytes, and what went to standard output between
 * HEADWATER_CLOCK          the wall clock jumps a year `back` or `forward` at each look, or has `stopped`
 * HEADWATER_CLOCK_FILE     the wall clock is off by the seconds that this file holds at that moment
 * HEADWATER_SYNC_MS        how much longer each sync takes
 *
 * A record is a line of words, then the bytes of a write:
 *     create INODE PATH | mkdir INODE PATH | write INODE OFFSET LENGTH | truncate INODE LENGTH | sync INODE
 *     syncfs | rename PATH PATH | unlink PATH | say LENGTH */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define YEAR 31556952L
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static atomic_long calls, failing_calls, failed, looks;
static long kill_at, fail_at, fail_with, sync_ms;
static int fail_once, recording = -1;
static const char *under, *fail_call, *clock_does, *clock_file;
static size_t under_length;
/* Held over a call and its record, so that records stand in the order in which the calls took effect. */
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

__attribute__((constructor)) static void read_settings(void) {
    under = getenv("HEADWATER_UNDER");
    under_length = under ? strlen(under) : 0;
    kill_at = number("HEADWATER_KILL_AT");
    fail_call = getenv("HEADWATER_FAIL_CALL");
    fail_at = number("HEADWATER_FAIL_AT");
    fail_with = number("HEADWATER_FAIL_WITH");
    fail_once = getenv("HEADWATER_FAIL_ONCE") != NULL;
    clock_does = getenv("HEADWATER_CLOCK");
    clock_file = getenv("HEADWATER_CLOCK_FILE");
    sync_ms = number("HEADWATER_SYNC_MS");
    const char *record = getenv("HEADWATER_RECORD");
    if (record) recording = REAL(open)(record, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
}

__attribute__((destructor)) static void write_count(void) {
    const char *path = getenv("HEADWATER_COUNT_FILE");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld %ld\n", (long)calls, (long)failed);
        fclose(file);
    }
}

static int is_ours(const char *path) { return under && path && strncmp(path, under, under_length) == 0; }

/* Where the file behind a descriptor lies, if that is below the folder. */
static int path_of(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_ours(path);
}

/* Counts a call on our files. It may not return, and tells whether the call fails instead of being made. */
static int fails(const char *name) {
    if (atomic_fetch_add(&calls, 1) + 1 == kill_at) kill(getpid(), SIGKILL);
    if (!fail_call || strcmp(name, fail_call) != 0) return 0;
    long at = atomic_fetch_add(&failing_calls, 1) + 1;
    if (fail_once ? at != fail_at : at < fail_at) return 0;
    atomic_fetch_add(&failed, 1);
    errno = (int)fail_with;
    return 1;
}

static void begin(void) {
    if (recording >= 0) pthread_mutex_lock(&order);
}

static void end(void) {
    int kept = errno;
    if (recording >= 0) pthread_mutex_unlock(&order);
    errno = kept;
}

static void put(const void *data, size_t size) {
    for (const char *at = data; size > 0;) {
        ssize_t written = REAL(write)(recording, at, size);
        if (written <= 0) abort();
        at += written;
        size -= (size_t)written;
    }
}

static void record(const char *format, ...) {
    char line[2 * PATH_MAX + 64];
    va_list arguments;
    if (recording < 0) return;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    put(line, (size_t)length);
}

static unsigned long inode_of(int descriptor) {
    struct stat file = {0};
    fstat(descriptor, &file);
    return (unsigned long)file.st_ino;
}

/* Where a `write` will begin. */
static long place_of(int descriptor) {
    struct stat file = {0};
    if (recording < 0) return 0;
    if (fcntl(descriptor, F_GETFL) & O_APPEND) return fstat(descriptor, &file) == 0 ? (long)file.st_size : 0;
    return (long)lseek(descriptor, 0, SEEK_CUR);
}

static void record_write(int descriptor, long at, const void *data, ssize_t written) {
    if (recording < 0 || written <= 0) return;
    record("write %lu %ld %zd\n", inode_of(descriptor), at, written);
    put(data, (size_t)written);
}

static void record_opened(int opened, const char *path, int flags, int existed) {
    if (recording < 0 || opened < 0) return;
    if (!existed) record("create %lu %s\n", inode_of(opened), path);
    else if (flags & O_TRUNC) record("truncate %lu 0\n", inode_of(opened));
}

#define OPEN(name)                                                    \
    int name(const char *path, int flags, ...) {                      \
        va_list arguments;                                            \
        va_start(arguments, flags);                                   \
        mode_t mode = (flags & O_CREAT) ? va_arg(arguments, int) : 0; \
        va_end(arguments);                                            \
        if (!(flags & (O_CREAT | O_TRUNC)) || !is_ours(path)) return REAL(name)(path, flags, mode); \
        if (fails("open")) return -1;                                 \
        begin();                                                      \
        int existed = access(path, F_OK) == 0;                        \
        int opened = REAL(name)(path, flags, mode);                   \
        record_opened(opened, path, flags, existed);                  \
        end();                                                        \
        return opened;                                                \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int descriptor, const void *data, size_t size) {
    char path[PATH_MAX];
    if (descriptor == STDOUT_FILENO && recording >= 0) {
        begin();
        record("say %zu\n", size);
        put(data, size);
        end();
    }
    if (!path_of(descriptor, path)) return REAL(write)(descriptor, data, size);
    if (fails("write")) return -1;
    begin();
    long at = place_of(descriptor);
    ssize_t written = REAL(write)(descriptor, data, size);
    record_write(descriptor, at, data, written);
    end();
    return written;
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    char path[PATH_MAX];
    if (!path_of(descriptor, path)) return REAL(writev)(descriptor, parts, count);
    if (fails("writev")) return -1;
    begin();
    long at = place_of(descriptor);
    ssize_t written = REAL(writev)(descriptor, parts, count);
    ssize_t left = written;
    for (int part = 0; part < count && left > 0; part++) {
        ssize_t size = (ssize_t)parts[part].iov_len < left ? (ssize_t)parts[part].iov_len : left;
        record_write(descriptor, at, parts[part].iov_base, size);
        at += size;
        left -= size;
    }
    end();
    return written;
}

#define PWRITE(name, offset)                                                      \
    ssize_t name(int descriptor, const void *data, size_t size, offset at) {      \
        char path[PATH_MAX];                                                      \
        if (!path_of(descriptor, path)) return REAL(name)(descriptor, data, size, at); \
        if (fails("pwrite")) return -1;                                           \
        begin();                                                                  \
        ssize_t written = REAL(name)(descriptor, data, size, at);                 \
        record_write(descriptor, (long)at, data, written);                        \
        end();                                                                    \
        return written;                                                           \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define FTRUNCATE(name, length)                                            \
    int name(int descriptor, length size) {                                \
        char path[PATH_MAX];                                               \
        if (!path_of(descriptor, path)) return REAL(name)(descriptor, size); \
        if (fails("ftruncate")) return -1;                                 \
        begin();                                                           \
        int done = REAL(name)(descriptor, size);                           \
        if (done == 0) record("truncate %lu %ld\n", inode_of(descriptor), (long)size); \
        end();                                                             \
        return done;                                                       \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

#define SYNC(name)                                                   \
    int name(int descriptor) {                                       \
        char path[PATH_MAX];                                         \
        if (!path_of(descriptor, path)) return REAL(name)(descriptor); \
        if (sync_ms) usleep((useconds_t)sync_ms * 1000);             \
        if (fails(#name)) return -1;                                 \
        begin();                                                     \
        int done = REAL(name)(descriptor);                           \
        if (done == 0) record("sync %lu\n", inode_of(descriptor));   \
        end();                                                       \
        return done;                                                 \
    }
SYNC(fsync)
SYNC(fdatasync)

/* Everything on the file system; of that we know our files alone. */
int syncfs(int descriptor) {
    char path[PATH_MAX];
    if (!path_of(descriptor, path)) return REAL(syncfs)(descriptor);
    if (sync_ms) usleep((useconds_t)sync_ms * 1000);
    if (fails("syncfs")) return -1;
    begin();
    int done = REAL(syncfs)(descriptor);
    if (done == 0) record("syncfs\n");
    end();
    return done;
}

/* Promises nothing about the disk, so nothing is recorded. */
int sync_file_range(int descriptor, off64_t at, off64_t size, unsigned flags) {
    char path[PATH_MAX];
    if (path_of(descriptor, path) && fails("sync_file_range")) return -1;
    return REAL(sync_file_range)(descriptor, at, size, flags);
}

int rename(const char *path, const char *to) {
    if (!is_ours(path)) return REAL(rename)(path, to);
    if (fails("rename")) return -1;
    begin();
    int done = REAL(rename)(path, to);
    if (done == 0) record("rename %s %s\n", path, to);
    end();
    return done;
}

int mkdir(const char *path, mode_t mode) {
    struct stat folder = {0};
    if (!is_ours(path)) return REAL(mkdir)(path, mode);
    if (fails("mkdir")) return -1;
    begin();
    int done = REAL(mkdir)(path, mode);
    if (done == 0 && stat(path, &folder) == 0) record("mkdir %lu %s\n", (unsigned long)folder.st_ino, path);
    end();
    return done;
}

#define REMOVE(name, call)                                        \
    int name(const char *path) {                                  \
        if (!is_ours(path)) return REAL(name)(path);              \
        if (fails(call)) return -1;                               \
        begin();                                                  \
        int done = REAL(name)(path);                              \
        if (done == 0) record("unlink %s\n", path);               \
        end();                                                    \
        return done;                                              \
    }
REMOVE(unlink, "unlink")
REMOVE(rmdir, "unlink")

int unlinkat(int dir, const char *name, int flags) {
    char path[2 * PATH_MAX] = "";
    if (dir != AT_FDCWD && !path_of(dir, path)) return REAL(unlinkat)(dir, name, flags);
    if (dir != AT_FDCWD) strcat(path, "/");
    strncat(path, name, PATH_MAX - 1);
    if (!is_ours(path)) return REAL(unlinkat)(dir, name, flags);
    if (fails("unlink")) return -1;
    begin();
    int done = REAL(unlinkat)(dir, name, flags);
    if (done == 0) record("unlink %s\n", path);
    end();
    return done;
}

static long seconds_off(void) {
    long seconds = 0;
    FILE *file = clock_file ? fopen(clock_file, "r") : NULL;
    if (file) {
        if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
        fclose(file);
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static atomic_long first;
    int done = REAL(clock_gettime)(clock, time);
    if (clock != CLOCK_REALTIME || done != 0) return done;
    time->tv_sec += seconds_off();
    if (!clock_does) return done;
    long look = 1 + atomic_fetch_add(&looks, 1);
    long none = 0;
    atomic_compare_exchange_strong(&first, &none, (long)time->tv_sec);
    if (strcmp(clock_does, "stopped") == 0) *time = (struct timespec){.tv_sec = first};
    else if (strcmp(clock_does, "back") == 0) time->tv_sec -= (look % 40) * YEAR;
    else time->tv_sec += look * YEAR;
    return done;
}
