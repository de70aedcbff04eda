/* Makes one system call slow on one directory, and counts on which threads it was made. See slowdisk.py. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "calls.h" /* enum { CALL_..., CALLS }; the control block's sizes */

struct control {
    volatile int32_t call;     /* which one is slow now; -1: none */
    volatile int32_t delay_ms;
    volatile int32_t cold;     /* whether openat2 finds nothing in the kernel's caches */
    volatile int32_t noted;
    volatile int64_t made[CALLS][2]; /* by other threads, by the first one */
    char notes[NOTES][NOTE_BYTES];   /* what the first thread has called */
};

static struct control *control;
static const char *below;
static size_t below_size;

__attribute__((constructor)) static void set_up(void)
{
    const char *path = getenv("SLOWDISK_CONTROL");
    int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    void *memory;
    if (file < 0)
        return;
    memory = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    below = getenv("SLOWDISK_BELOW");
    if (memory == MAP_FAILED || below == NULL)
        return;
    below_size = strlen(below);
    control = memory;
}

static int starts(const char *path)
{
    return strncmp(path, below, below_size) == 0 && (path[below_size] == '/' || path[below_size] == 0);
}

static int is_below(int file, const char *path, char *name, size_t size)
{
    char link[32];
    ssize_t length;
    if (path != NULL && path[0] == '/') {
        snprintf(name, size, "%s", path);
        return starts(path);
    }
    snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
    length = readlink(link, name, size - 1);
    if (length < 0)
        return 0;
    name[length] = 0;
    if (!starts(name))
        return 0;
    if (path != NULL)
        snprintf(name + length, size - length, "/%s", path);
    return 1;
}

static void wait_at(int call, int file, const char *path)
{
    char name[NOTE_BYTES];
    int first, note;
    if (control == NULL || control->call != call || !is_below(file, path, name, sizeof(name)))
        return;
    first = syscall(SYS_gettid) == getpid();
    __atomic_add_fetch(&control->made[call][first], 1, __ATOMIC_SEQ_CST);
    if (first) {
        note = __atomic_fetch_add(&control->noted, 1, __ATOMIC_SEQ_CST);
        if (note < NOTES)
            snprintf(control->notes[note], NOTE_BYTES, "%s", name);
    }
    struct timespec pause = {control->delay_ms / 1000, control->delay_ms % 1000 * 1000000L};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define ON_FILE(call, type, name, parameters, ...) \
    type name parameters \
    { \
        REAL(name); \
        wait_at(call, file, NULL); \
        return real(__VA_ARGS__); \
    }

#define ON_PATH(call, name, parameters, dir, path, ...) \
    int name parameters \
    { \
        REAL(name); \
        wait_at(call, dir, path); \
        return real(__VA_ARGS__); \
    }

#define OPENS(name) \
    int name(const char *path, int flags, ...) \
    { \
        mode_t mode = 0; \
        va_list more; \
        REAL(name); \
        va_start(more, flags); \
        if (flags & (O_CREAT | O_TMPFILE)) \
            mode = va_arg(more, mode_t); \
        va_end(more); \
        wait_at(CALL_openat, AT_FDCWD, path); \
        return real(path, flags, mode); \
    }

#define OPENS_AT(name) \
    int name(int dir, const char *path, int flags, ...) \
    { \
        mode_t mode = 0; \
        va_list more; \
        REAL(name); \
        va_start(more, flags); \
        if (flags & (O_CREAT | O_TMPFILE)) \
            mode = va_arg(more, mode_t); \
        va_end(more); \
        wait_at(CALL_openat, dir, path); \
        return real(dir, path, flags, mode); \
    }

OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)

long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long a[6];
    va_list more;
    if (real == NULL)
        real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    va_start(more, number);
    for (int at = 0; at < 6; at++)
        a[at] = va_arg(more, long);
    va_end(more);
    if (number == SYS_openat2) {
        const struct open_how *how = (const struct open_how *)a[2];
        if (!(how->resolve & RESOLVE_CACHED))
            wait_at(CALL_openat2, (int)a[0], (const char *)a[1]);
        else if (control != NULL && control->cold) {
            char name[NOTE_BYTES];
            if (is_below((int)a[0], (const char *)a[1], name, sizeof(name))) {
                errno = EAGAIN; /* the disk must be asked (openat2(2)) */
                return -1;
            }
        }
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

ON_FILE(CALL_fsync, int, fsync, (int file), file)
ON_FILE(CALL_fsync, int, fdatasync, (int file), file)
ON_FILE(CALL_flock, int, flock, (int file, int kind), file, kind)
ON_FILE(CALL_ftruncate, int, ftruncate, (int file, off_t size), file, size)
ON_FILE(CALL_ftruncate, int, ftruncate64, (int file, off64_t size), file, size)
ON_FILE(CALL_fallocate, int, fallocate, (int file, int mode, off_t at, off_t size), file, mode, at, size)
ON_FILE(CALL_fallocate, int, fallocate64, (int file, int mode, off64_t at, off64_t size), file, mode, at, size)
ON_FILE(CALL_pwrite, ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), file, data, size, at)
ON_FILE(CALL_pwrite, ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), file, data, size, at)
ON_FILE(CALL_pread, ssize_t, pread, (int file, void *data, size_t size, off_t at), file, data, size, at)
ON_FILE(CALL_pread, ssize_t, pread64, (int file, void *data, size_t size, off64_t at), file, data, size, at)

ON_PATH(CALL_linkat, linkat, (int from, const char *source, int to, const char *path, int flags), to, path, from,
        source, to, path, flags)
ON_PATH(CALL_mkdirat, mkdirat, (int dir, const char *path, mode_t mode), dir, path, dir, path, mode)
ON_PATH(CALL_unlinkat, unlinkat, (int dir, const char *path, int flags), dir, path, dir, path, flags)
ON_PATH(CALL_unlinkat, unlink, (const char *path), AT_FDCWD, path, path)
ON_PATH(CALL_renameat, renameat, (int from, const char *source, int to, const char *path), to, path, from, source,
        to, path)
ON_PATH(CALL_fstatat, fstatat, (int dir, const char *path, struct stat *found, int flags), dir, path, dir, path,
        found, flags)
ON_PATH(CALL_fstatat, fstatat64, (int dir, const char *path, struct stat64 *found, int flags), dir, path, dir, path,
        found, flags)
