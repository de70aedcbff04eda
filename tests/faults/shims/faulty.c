/* Faults of a disk, by LD_PRELOAD: which calls are slow or fail is counted, so each run meets the same ones.

   FAULTY_SLOW_BYTES=4096  each pwrite(2) of so many bytes or more takes 12 to 20 ms longer
   FAULTY_SLOW_NONCES=1    each pread(2) of the nonce of a note (8 bytes at 8) takes as much longer
   FAULTY_LOCKS=9          every ninth flock(2) for a shared lock answers ENOLCK
   FAULTY_NONCES=40        every fortieth of these reads of a nonce answers EIO
   FAULTY_FENCES=1         each of those under a shared lock answers EIO
   FAULTY_LOG=FILE         a byte is added to FILE for each call that was made to fail */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { LEAST_MS = 12, MORE_MS = 9, NONCE_AT = 8, NONCE_BYTES = 8 };

static unsigned long slow_bytes, slow_nonces, every_lock, every_nonce, every_fence;
static atomic_ulong waits, locks, nonces, fences;
static _Thread_local int shares; /* whether this thread's last lock was a shared one */

static unsigned long number(const char *name)
{
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void begin(void)
{
    slow_bytes = number("FAULTY_SLOW_BYTES");
    slow_nonces = number("FAULTY_SLOW_NONCES");
    every_lock = number("FAULTY_LOCKS");
    every_nonce = number("FAULTY_NONCES");
    every_fence = number("FAULTY_FENCES");
}

/* Whether this call is the one of `every` that fails; noted, so that a test knows that some did. */
static int fails(atomic_ulong *count, unsigned long every)
{
    const char *log = getenv("FAULTY_LOG");
    int file;
    if (!every || atomic_fetch_add(count, 1) % every != every - 1)
        return 0;
    if (log && (file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) >= 0) {
        (void)!write(file, "x", 1);
        close(file);
    }
    return 1;
}

static void dawdle(void)
{
    long ms = LEAST_MS + (long)(atomic_fetch_add(&waits, 1) % MORE_MS);
    nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

ssize_t pwrite(int file, const void *data, size_t length, off_t at)
{
    static ssize_t (*next)(int, const void *, size_t, off_t);
    if (!next)
        next = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    if (slow_bytes && length >= slow_bytes)
        dawdle();
    return next(file, data, length, at);
}

ssize_t pread(int file, void *into, size_t length, off_t at)
{
    static ssize_t (*next)(int, void *, size_t, off_t);
    if (!next)
        next = (ssize_t (*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
    if (length == NONCE_BYTES && at == NONCE_AT) {
        if (slow_nonces)
            dawdle();
        if (fails(&nonces, every_nonce) || (shares && fails(&fences, every_fence))) {
            errno = EIO;
            return -1;
        }
    }
    return next(file, into, length, at);
}

int flock(int file, int operation)
{
    static int (*next)(int, int);
    if (!next)
        next = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    int shared = (operation & ~LOCK_NB) == LOCK_SH;
    if (shared && fails(&locks, every_lock)) {
        errno = ENOLCK;
        return -1;
    }
    shares = shared;
    return next(file, operation);
}

ssize_t pwrite64(int file, const void *data, size_t length, off_t at) __attribute__((alias("pwrite")));
ssize_t pread64(int file, void *into, size_t length, off_t at) __attribute__((alias("pread")));
