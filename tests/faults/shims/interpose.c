/* Calls of the C library that fail, fall short or take long: preloaded into a server by `interpose.py`.
 *
 * The file that HMACFS_FAULTS names is mapped by every process: its rules may be changed while they run, and
 * it counts what was done. Which call fails follows from the seed and from how many of its kind were made.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* In the order of interpose.KINDS. */
enum kind { PWRITE, PREAD, FLOCK, FSYNC, OPENAT, LINKAT, FALLOCATE, FTRUNCATE, SENDFILE, RECV, SEND, KINDS };

struct rule {
    uint32_t fail_ppm;  /* so many calls of a million fail */
    uint32_t short_ppm; /* and so many move half of what they are asked to */
    uint32_t delay_us;  /* each call of at least `delay_bytes` takes so much longer, */
    uint32_t vary_us;   /* and up to so much on top */
    uint64_t delay_bytes;
    uint64_t fail_bytes; /* calls that move less do not fail */
    uint64_t error;      /* the errno of those that fail; 0: one of `errors` */
    uint64_t calls, failed, shortened, delayed, aside;
};

struct control {
    uint64_t seed;
    struct rule rules[KINDS];
};

static struct control *control;

static const int errors[KINDS][4] = {
    [PWRITE] = {EIO, ENOSPC, EINTR, EDQUOT},
    [PREAD] = {EIO, EINTR, ENOMEM, EIO},
    [FLOCK] = {ENOLCK, EINTR, ENOLCK, ENOMEM},
    [FSYNC] = {EIO, ENOSPC, EDQUOT, EIO},
    [OPENAT] = {EIO, EMFILE, ENFILE, ENOMEM},
    [LINKAT] = {EIO, ENOSPC, ENOMEM, EDQUOT},
    [FALLOCATE] = {ENOSPC, EIO, EINTR, EDQUOT},
    [FTRUNCATE] = {EIO, EINTR, ENOSPC, EIO},
    [SENDFILE] = {EIO, EINTR, ENOMEM, ECONNRESET},
    [RECV] = {ECONNRESET, EINTR, ETIMEDOUT, ECONNRESET},
    [SEND] = {ECONNRESET, EINTR, EPIPE, ECONNRESET},
};

__attribute__((constructor)) static void map_control(void) {
    const char *path = getenv("HMACFS_FAULTS");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    void *mapped = fd < 0 ? MAP_FAILED
                          : mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    control = mapped == MAP_FAILED ? NULL : mapped;
}

/* splitmix64 */
static uint64_t mixed(uint64_t x) {
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

static int is_client(int fd) {
    int domain = 0;
    socklen_t size = sizeof domain;
    int kept = errno, code = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    errno = kept;
    return code == 0 && (domain == AF_INET || domain == AF_INET6);
}

/* Count a call that moves `*length` bytes. Gives an errno if it is to fail, else 0; may shorten it, or sleep. */
static int disturb(enum kind kind, int fd, size_t *length) {
    if (control == NULL)
        return 0;
    struct rule *rule = &control->rules[kind];
    if (!(rule->fail_ppm | rule->short_ppm | rule->delay_us | rule->vary_us))
        return 0;
    uint64_t number = __atomic_fetch_add(&rule->calls, 1, __ATOMIC_RELAXED);
    uint64_t chance = mixed(control->seed ^ mixed(number * KINDS + kind));
    uint32_t drawn = chance % 1000000;
    int fails = drawn < rule->fail_ppm && (length == NULL || *length >= rule->fail_bytes);
    int chosen = fails || (drawn >= rule->fail_ppm && drawn < rule->fail_ppm + rule->short_ppm);
    if (chosen && (kind == RECV || kind == SEND) && !is_client(fd))
        return 0;
    if (fails) {
        __atomic_fetch_add(&rule->failed, 1, __ATOMIC_RELAXED);
        if (gettid() != getpid())
            __atomic_fetch_add(&rule->aside, 1, __ATOMIC_RELAXED);
        return rule->error ? (int)rule->error : errors[kind][(chance >> 40) % 4];
    }
    if (chosen && length != NULL && *length > 1) {
        __atomic_fetch_add(&rule->shortened, 1, __ATOMIC_RELAXED);
        *length /= 2;
    }
    if ((rule->delay_us | rule->vary_us) && (length == NULL || *length >= rule->delay_bytes)) {
        uint64_t us = rule->delay_us + (rule->vary_us ? (chance >> 24) % rule->vary_us : 0);
        struct timespec time = {us / 1000000, us % 1000000 * 1000};
        __atomic_fetch_add(&rule->delayed, 1, __ATOMIC_RELAXED);
        nanosleep(&time, NULL);
    }
    return 0;
}

/* The next definition of a name: the C library's. */
#define NEXT(name) ((__typeof__(&name))next((void **)&next_##name, #name))
static void *next(void **cache, const char *name) {
    if (*cache == NULL)
        *cache = dlsym(RTLD_NEXT, name);
    return *cache;
}

#define FAIL_IF(code)                                                                                              \
    do {                                                                                                           \
        int failure = (code);                                                                                      \
        if (failure) {                                                                                             \
            errno = failure;                                                                                       \
            return -1;                                                                                             \
        }                                                                                                          \
    } while (0)

/* Define `name` with `arguments`, which fails as calls of `kind` on `fd` do; `length` may be shortened. */
#define CALL(kind, result, name, parameters, fd, length, arguments)                                                \
    static void *next_##name;                                                                                      \
    result name parameters {                                                                                       \
        FAIL_IF(disturb(kind, fd, length));                                                                        \
        return NEXT(name) arguments;                                                                               \
    }

CALL(PWRITE, ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), fd, &size, (fd, data, size, at))
CALL(PWRITE, ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), fd, &size, (fd, data, size, at))
CALL(PREAD, ssize_t, pread, (int fd, void *data, size_t size, off_t at), fd, &size, (fd, data, size, at))
CALL(PREAD, ssize_t, pread64, (int fd, void *data, size_t size, off64_t at), fd, &size, (fd, data, size, at))
CALL(PREAD, ssize_t, preadv, (int fd, const struct iovec *to, int n, off_t at), fd, NULL, (fd, to, n, at))
CALL(PREAD, ssize_t, preadv64, (int fd, const struct iovec *to, int n, off64_t at), fd, NULL, (fd, to, n, at))
CALL(PREAD, ssize_t, preadv2, (int fd, const struct iovec *to, int n, off_t at, int flags), fd, NULL,
     (fd, to, n, at, flags))
CALL(PREAD, ssize_t, preadv64v2, (int fd, const struct iovec *to, int n, off64_t at, int flags), fd, NULL,
     (fd, to, n, at, flags))
CALL(FSYNC, int, fsync, (int fd), fd, NULL, (fd))
CALL(FSYNC, int, fdatasync, (int fd), fd, NULL, (fd))
CALL(LINKAT, int, linkat, (int from, const char *old, int to, const char *new, int flags), from, NULL,
     (from, old, to, new, flags))
CALL(FALLOCATE, int, fallocate, (int fd, int mode, off_t at, off_t size), fd, NULL, (fd, mode, at, size))
CALL(FALLOCATE, int, fallocate64, (int fd, int mode, off64_t at, off64_t size), fd, NULL, (fd, mode, at, size))
CALL(FTRUNCATE, int, ftruncate, (int fd, off_t size), fd, NULL, (fd, size))
CALL(FTRUNCATE, int, ftruncate64, (int fd, off64_t size), fd, NULL, (fd, size))
CALL(SENDFILE, ssize_t, sendfile, (int sock, int fd, off_t *at, size_t size), sock, &size, (sock, fd, at, size))
CALL(SENDFILE, ssize_t, sendfile64, (int sock, int fd, off64_t *at, size_t size), sock, &size, (sock, fd, at, size))
/* What was seen by MSG_PEEK is read whole: only a call that takes what there is may fall short. */
CALL(RECV, ssize_t, recv, (int sock, void *data, size_t size, int flags), sock, flags & MSG_DONTWAIT ? &size : NULL,
     (sock, data, size, flags))
CALL(RECV, ssize_t, read, (int fd, void *data, size_t size), fd, &size, (fd, data, size))
CALL(SEND, ssize_t, send, (int sock, const void *data, size_t size, int flags), sock, &size,
     (sock, data, size, flags))
CALL(SEND, ssize_t, write, (int fd, const void *data, size_t size), fd, &size, (fd, data, size))
CALL(SEND, ssize_t, writev, (int fd, const struct iovec *from, int n), fd, NULL, (fd, from, n))
CALL(SEND, ssize_t, sendmsg, (int sock, const struct msghdr *message, int flags), sock, NULL, (sock, message, flags))

/* To let a lock go does not fail. */
static void *next_flock;
int flock(int fd, int operation) {
    if (!(operation & LOCK_UN))
        FAIL_IF(disturb(FLOCK, fd, NULL));
    return NEXT(flock)(fd, operation);
}

/* What is opened below a directory that is held open is the storage's. */
#define OPENAT_CALL(name)                                                                                          \
    static void *next_##name;                                                                                      \
    int name(int directory, const char *path, int flags, ...) {                                                    \
        va_list rest;                                                                                              \
        va_start(rest, flags);                                                                                     \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                    \
        va_end(rest);                                                                                              \
        if (directory != AT_FDCWD && path[0] != '/')                                                               \
            FAIL_IF(disturb(OPENAT, directory, NULL));                                                             \
        return NEXT(name)(directory, path, flags, mode);                                                           \
    }
OPENAT_CALL(openat)
OPENAT_CALL(openat64)

static void *next_syscall;
long syscall(long number, ...) {
    long a[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    if (number == SYS_openat2 && (int)a[0] != AT_FDCWD)
        FAIL_IF(disturb(OPENAT, a[0], NULL));
    else if (number == SYS_recvfrom)
        FAIL_IF(disturb(RECV, a[0], (size_t *)&a[2]));
    else if (number == SYS_sendto)
        FAIL_IF(disturb(SEND, a[0], (size_t *)&a[2]));
    return NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
