/* A trap on each number that a Python process with an event loop has closed, by LD_PRELOAD.

   close(2) puts a trap on the number, a file of its own, for 200 ms, so that nothing else is opened there; any call
   that names it meanwhile is a use of something that its owner has let go. It answers EBADF and is reported, with the
   stack of who uses it and of who closed it; so is any other call that meets a number which is not open.

   TRAP_LOG=FOLDER  reports are added to a file there, named by the process's id
   TRAP_MS=200      how long a trap stays

   Not seen are files of the C library's own (fopen(3)), which close without us, and mmap(2). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    NUMBERS = 65536,
    MOST = 256,           /* traps at a time, and an eighth of what may be open */
    STACK_BYTES = 1 << 15,/* of the stack of who closed a number */
    FRAMES = 12,
    CACHESTAT = 451,      /* cachestat(2), of which older headers do not know */
};

struct trap {
    int number;
    int64_t until_ns;
};

static const char *folder;
static pid_t owner;                     /* the process that sets traps; no child of it, whose memory this may be */
static int trap_file = -1, stacks = -1; /* what lies on the numbers; who closed them */
static int64_t stays_ns = 200000000;
static _Atomic uint8_t trapped[NUMBERS];
static off_t stack_bytes[NUMBERS];
static struct trap traps[NUMBERS];      /* a queue */
static unsigned first, last;            /* of the queue; the difference is how many there are */
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER, report_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queued = PTHREAD_COND_INITIALIZER;
static _Atomic int has_loop;            /* before that nobody serves; all that is opened and closed are modules */
static _Thread_local int inside;        /* whether what runs is a report */

/* Python's own, if this is Python. The next one is hidden from 3.13 on; then those behind it are there, which
   need the interpreter's lock. */
static int (*is_initialized)(void);
static void *(*thread_state)(void);
static void (*dump_traceback)(int, void *);
static int (*take_lock)(void);
static void (*give_lock)(int);
static void *(*frame_of)(void *), *(*caller_of)(void *), *(*code_of)(void *), *(*attribute)(void *, const char *);
static int (*line_of)(void *);
static const char *(*utf8)(void *);
static void (*drop)(void *), *(*take_error)(void), (*give_error)(void *);

static long raw(long call, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(call), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Whether this process is the one that sets traps, and an event loop has been made in it. */
static int sets_traps(void)
{
    return has_loop && owner && !inside && getpid() == owner && is_initialized();
}

/* Take the interpreter's lock, if a stack needs it: before any of ours, so that no two wait for each other. */
static int begin_stack(void)
{
    return dump_traceback || !thread_state() ? 0 : take_lock();
}

static void end_stack(int lock)
{
    if (!dump_traceback && thread_state())
        give_lock(lock);
}

static void dump_stack(int file)
{
    void *state = thread_state(), *error, *next;
    if (state && dump_traceback)
        dump_traceback(file, state);
    if (!state || dump_traceback)
        return;
    error = take_error();
    for (void *frame = frame_of(state); frame; frame = next) {
        void *code = code_of(frame), *path = attribute(code, "co_filename"), *name = attribute(code, "co_name");
        dprintf(file, "  File \"%s\", line %d in %s\n", utf8(path), line_of(frame), utf8(name));
        next = caller_of(frame);
        drop(name);
        drop(path);
        drop(code);
        drop(frame);
    }
    give_error(error);
}

static void report(int number, const char *what, const char *call)
{
    char path[4096], text[4096];
    void *frames[FRAMES];
    int error = errno, log, command, lock;
    ssize_t length;
    inside = 1;
    lock = begin_stack();
    pthread_mutex_lock(&report_lock);
    snprintf(path, sizeof path, "%s/%d", folder, owner);
    log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log >= 0) {
        dprintf(log, "== %s: %d by %s in", what, number, call);
        if ((command = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC)) >= 0) {
            length = read(command, text, sizeof text);
            for (ssize_t at = 0; at < length; at++)
                dprintf(log, "%s%c", at && text[at - 1] ? "" : " ", text[at] ? text[at] : ' ');
            raw(SYS_close, command, 0, 0);
        }
        dprintf(log, "\n");
        dump_stack(log);
        backtrace_symbols_fd(frames, backtrace(frames, FRAMES), log);
        if (trapped[number]) {
            dprintf(log, "-- closed by\n");
            for (off_t at = 0; at < stack_bytes[number]; at += length) {
                length = pread(stacks, text, sizeof text, (off_t)number * STACK_BYTES + at);
                if (length <= 0)
                    break;
                length = length < stack_bytes[number] - at ? length : (ssize_t)(stack_bytes[number] - at);
                (void)!write(log, text, (size_t)length);
            }
        }
        raw(SYS_close, log, 0, 0);
    }
    pthread_mutex_unlock(&report_lock);
    end_stack(lock);
    inside = 0;
    errno = error;
}

/* Whether a call must not go on, since it names a number that is closed. */
static int sprung(int number, const char *call)
{
    if (number < 0 || number >= NUMBERS || !trapped[number] || !sets_traps())
        return 0;
    report(number, "closed", call);
    errno = EBADF;
    return 1;
}

/* A call failed; what it named may never have been open. */
static void failed(int number, const char *call)
{
    if (errno == EBADF && number >= 0 && number < NUMBERS && sets_traps() && raw(SYS_fcntl, number, F_GETFD, 0) < 0)
        report(number, "not open", call);
}

/* Take the oldest trap away; the queue is locked, and not empty. */
static void take_away(void)
{
    int number = traps[first++ % NUMBERS].number;
    trapped[number] = 0;
    raw(SYS_close, number, 0, 0);
}

static void *take_away_in_time(void *unused)
{
    (void)unused;
    pthread_setname_np(pthread_self(), "traps");
    pthread_mutex_lock(&queue_lock);
    for (;;) {
        while (first == last)
            pthread_cond_wait(&queued, &queue_lock);
        int64_t left_ns = traps[first % NUMBERS].until_ns - now_ns();
        if (left_ns <= 0) {
            take_away();
            continue;
        }
        pthread_mutex_unlock(&queue_lock);
        nanosleep(&(struct timespec){left_ns / 1000000000, left_ns % 1000000000}, NULL);
        pthread_mutex_lock(&queue_lock);
    }
    return NULL;
}

static void begin_taking_away(void)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, take_away_in_time, NULL))
        owner = 0;
    else
        pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void remember_stack(int number)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    off_t start = (off_t)number * STACK_BYTES;
    int python;
    inside = 1;
    python = begin_stack();
    pthread_mutex_lock(&lock);
    lseek(stacks, start, SEEK_SET);
    dump_stack(stacks);
    stack_bytes[number] = lseek(stacks, 0, SEEK_CUR) - start;
    pthread_mutex_unlock(&lock);
    end_stack(python);
    inside = 0;
}

/* Set a trap in the place of what is open; as close(2). */
static int close_number(int number)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct rlimit limit;
    long result;
    int error = errno;
    if (!sets_traps() || number < 0 || number >= NUMBERS || number == trap_file || number == stacks) {
        result = raw(SYS_close, number, 0, 0);
        errno = result < 0 ? (int)-result : error;
        return result < 0 ? -1 : 0;
    }
    if (sprung(number, "close"))
        return -1;
    if (raw(SYS_fcntl, number, F_GETFD, 0) < 0) {
        errno = EBADF;
        failed(number, "close");
        return -1;
    }
    pthread_once(&once, begin_taking_away);
    remember_stack(number);
    getrlimit(RLIMIT_NOFILE, &limit);
    pthread_mutex_lock(&queue_lock);
    trapped[number] = 1;
    if (raw(SYS_dup3, trap_file, number, O_CLOEXEC) < 0) { /* another thread is about to open it: it is closed */
        trapped[number] = 0;
        raw(SYS_close, number, 0, 0);
    } else {
        traps[last++ % NUMBERS] = (struct trap){number, now_ns() + stays_ns};
        while (last - first > MOST || last - first > limit.rlim_cur / 8)
            take_away();
        pthread_cond_signal(&queued);
    }
    pthread_mutex_unlock(&queue_lock);
    errno = error;
    return 0;
}

/* Find what stacks need; whether all of it is there. */
static int find_python(void)
{
    struct {
        void *function;
        const char *name;
    } walk[] = {
        {&take_lock, "PyGILState_Ensure"},
        {&give_lock, "PyGILState_Release"},
        {&frame_of, "PyThreadState_GetFrame"},
        {&caller_of, "PyFrame_GetBack"},
        {&code_of, "PyFrame_GetCode"},
        {&attribute, "PyObject_GetAttrString"},
        {&line_of, "PyFrame_GetLineNumber"},
        {&utf8, "PyUnicode_AsUTF8"},
        {&drop, "Py_DecRef"},
        {&take_error, "PyErr_GetRaisedException"},
        {&give_error, "PyErr_SetRaisedException"},
    };
    is_initialized = (int (*)(void))dlsym(RTLD_DEFAULT, "Py_IsInitialized");
    thread_state = (void *(*)(void))dlsym(RTLD_DEFAULT, "PyGILState_GetThisThreadState");
    dump_traceback = (void (*)(int, void *))dlsym(RTLD_DEFAULT, "_Py_DumpTraceback");
    if (!is_initialized || !thread_state || dump_traceback)
        return is_initialized && thread_state;
    for (unsigned at = 0; at < sizeof walk / sizeof *walk; at++)
        if (!(*(void **)walk[at].function = dlsym(RTLD_DEFAULT, walk[at].name)))
            return 0;
    return 1;
}

__attribute__((constructor)) static void begin(void)
{
    void *frames[1];
    const char *text = getenv("TRAP_MS");
    folder = getenv("TRAP_LOG");
    if (!folder || !find_python())
        return;
    if (text)
        stays_ns = strtol(text, NULL, 10) * 1000000;
    trap_file = memfd_create("hmacfs-trap", MFD_CLOEXEC);
    stacks = memfd_create("hmacfs-trap-stacks", MFD_CLOEXEC);
    backtrace(frames, 1); /* loads what it needs */
    setenv("UV_USE_IO_URING", "0", 1); /* libuv would watch without calls that we see */
    if (trap_file >= 0 && stacks >= 0)
        owner = getpid();
}

/* The calls that name a number. */

#define CALL(result, name, parameters, arguments, number)                                                             \
    result name parameters                                                                                            \
    {                                                                                                                 \
        static result(*next) parameters;                                                                              \
        result given;                                                                                                 \
        if (!next)                                                                                                    \
            next = (result(*) parameters)dlsym(RTLD_NEXT, #name);                                                     \
        if (sprung(number, #name))                                                                                    \
            return (result)-1;                                                                                        \
        given = next arguments;                                                                                       \
        if (given == (result)-1)                                                                                      \
            failed(number, #name);                                                                                    \
        return given;                                                                                                 \
    }

/* With two numbers. */
#define CALL2(result, name, parameters, arguments, number, other)                                                     \
    result name parameters                                                                                            \
    {                                                                                                                 \
        static result(*next) parameters;                                                                              \
        result given;                                                                                                 \
        if (!next)                                                                                                    \
            next = (result(*) parameters)dlsym(RTLD_NEXT, #name);                                                     \
        if (sprung(number, #name) || sprung(other, #name))                                                            \
            return (result)-1;                                                                                        \
        given = next arguments;                                                                                       \
        if (given == (result)-1) {                                                                                    \
            failed(number, #name);                                                                                    \
            failed(other, #name);                                                                                     \
        }                                                                                                             \
        return given;                                                                                                 \
    }

int close(int fd)
{
    return close_number(fd);
}

int epoll_create1(int how)
{
    static int (*next)(int);
    if (!next)
        next = (int (*)(int))dlsym(RTLD_NEXT, "epoll_create1");
    has_loop = 1;
    return next(how);
}

CALL(ssize_t, read, (int fd, void *to, size_t n), (fd, to, n), fd)
CALL(ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n), fd)
CALL(ssize_t, pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at), fd)
CALL(ssize_t, pread64, (int fd, void *to, size_t n, off64_t at), (fd, to, n, at), fd)
CALL(ssize_t, pwrite, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at), fd)
CALL(ssize_t, pwrite64, (int fd, const void *from, size_t n, off64_t at), (fd, from, n, at), fd)
CALL(ssize_t, readv, (int fd, const struct iovec *to, int n), (fd, to, n), fd)
CALL(ssize_t, writev, (int fd, const struct iovec *from, int n), (fd, from, n), fd)
CALL(ssize_t, preadv, (int fd, const struct iovec *to, int n, off_t at), (fd, to, n, at), fd)
CALL(ssize_t, preadv64, (int fd, const struct iovec *to, int n, off64_t at), (fd, to, n, at), fd)
CALL(ssize_t, preadv2, (int fd, const struct iovec *to, int n, off_t at, int how), (fd, to, n, at, how), fd)
CALL(ssize_t, preadv64v2, (int fd, const struct iovec *to, int n, off64_t at, int how), (fd, to, n, at, how), fd)
CALL(ssize_t, pwritev, (int fd, const struct iovec *from, int n, off_t at), (fd, from, n, at), fd)
CALL(ssize_t, pwritev64, (int fd, const struct iovec *from, int n, off64_t at), (fd, from, n, at), fd)
CALL(ssize_t, pwritev2, (int fd, const struct iovec *from, int n, off_t at, int how), (fd, from, n, at, how), fd)
CALL(ssize_t, pwritev64v2, (int fd, const struct iovec *from, int n, off64_t at, int how), (fd, from, n, at, how), fd)
CALL(off_t, lseek, (int fd, off_t at, int whence), (fd, at, whence), fd)
CALL(off64_t, lseek64, (int fd, off64_t at, int whence), (fd, at, whence), fd)
CALL(int, fstat, (int fd, struct stat *to), (fd, to), fd)
CALL(int, fstat64, (int fd, struct stat64 *to), (fd, to), fd)
CALL(int, fsync, (int fd), (fd), fd)
CALL(int, fdatasync, (int fd), (fd), fd)
CALL(int, ftruncate, (int fd, off_t n), (fd, n), fd)
CALL(int, ftruncate64, (int fd, off64_t n), (fd, n), fd)
CALL(int, fallocate, (int fd, int how, off_t at, off_t n), (fd, how, at, n), fd)
CALL(int, fallocate64, (int fd, int how, off64_t at, off64_t n), (fd, how, at, n), fd)
CALL(int, flock, (int fd, int how), (fd, how), fd)
CALL(int, fchmod, (int fd, mode_t mode), (fd, mode), fd)
CALL(int, fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid), fd)
CALL(int, futimens, (int fd, const struct timespec times[2]), (fd, times), fd)
CALL(int, dup, (int fd), (fd), fd)
CALL2(int, dup2, (int fd, int to), (fd, to), fd, to == fd ? -1 : to)
CALL2(int, dup3, (int fd, int to, int how), (fd, to, how), fd, to)
CALL(ssize_t, send, (int fd, const void *from, size_t n, int how), (fd, from, n, how), fd)
CALL(ssize_t, sendmsg, (int fd, const struct msghdr *from, int how), (fd, from, how), fd)
CALL(ssize_t, sendto,
     (int fd, const void *from, size_t n, int how, const struct sockaddr *to, socklen_t length),
     (fd, from, n, how, to, length), fd)
CALL(ssize_t, recv, (int fd, void *to, size_t n, int how), (fd, to, n, how), fd)
CALL(ssize_t, recvmsg, (int fd, struct msghdr *to, int how), (fd, to, how), fd)
CALL(ssize_t, recvfrom, (int fd, void *to, size_t n, int how, struct sockaddr *from, socklen_t *length),
     (fd, to, n, how, from, length), fd)
CALL(int, shutdown, (int fd, int how), (fd, how), fd)
CALL(int, listen, (int fd, int most), (fd, most), fd)
CALL(int, bind, (int fd, const struct sockaddr *to, socklen_t length), (fd, to, length), fd)
CALL(int, connect, (int fd, const struct sockaddr *to, socklen_t length), (fd, to, length), fd)
CALL(int, accept, (int fd, struct sockaddr *from, socklen_t *length), (fd, from, length), fd)
CALL(int, accept4, (int fd, struct sockaddr *from, socklen_t *length, int how), (fd, from, length, how), fd)
CALL(int, getsockname, (int fd, struct sockaddr *to, socklen_t *length), (fd, to, length), fd)
CALL(int, getpeername, (int fd, struct sockaddr *to, socklen_t *length), (fd, to, length), fd)
CALL(int, getsockopt, (int fd, int level, int name, void *to, socklen_t *n), (fd, level, name, to, n), fd)
CALL(int, setsockopt, (int fd, int level, int name, const void *from, socklen_t n), (fd, level, name, from, n), fd)
CALL2(ssize_t, sendfile, (int fd, int from, off_t *at, size_t n), (fd, from, at, n), fd, from)
CALL2(ssize_t, sendfile64, (int fd, int from, off64_t *at, size_t n), (fd, from, at, n), fd, from)
CALL2(ssize_t, copy_file_range, (int from, off64_t *at, int to, off64_t *there, size_t n, unsigned how),
      (from, at, to, there, n, how), from, to)
CALL2(int, epoll_ctl, (int epoll, int what, int fd, struct epoll_event *event), (epoll, what, fd, event), epoll, fd)
CALL(int, epoll_wait, (int epoll, struct epoll_event *events, int n, int ms), (epoll, events, n, ms), epoll)
CALL(int, epoll_pwait, (int epoll, struct epoll_event *events, int n, int ms, const sigset_t *mask),
     (epoll, events, n, ms, mask), epoll)
CALL(int, mkdirat, (int folder_fd, const char *name, mode_t mode), (folder_fd, name, mode), folder_fd)
CALL(int, unlinkat, (int folder_fd, const char *name, int how), (folder_fd, name, how), folder_fd)
CALL(int, faccessat, (int folder_fd, const char *name, int mode, int how), (folder_fd, name, mode, how), folder_fd)
CALL(int, fstatat, (int folder_fd, const char *name, struct stat *to, int how), (folder_fd, name, to, how), folder_fd)
CALL(int, fstatat64, (int folder_fd, const char *name, struct stat64 *to, int how), (folder_fd, name, to, how),
     folder_fd)
CALL(int, utimensat, (int folder_fd, const char *name, const struct timespec times[2], int how),
     (folder_fd, name, times, how), folder_fd)
CALL2(int, renameat, (int old_fd, const char *old, int new_fd, const char *new), (old_fd, old, new_fd, new), old_fd,
      new_fd)

/* The number that a path of proc(5) names; -1 if it is none. */
static int named(const char *path)
{
    static const char start[] = "/proc/self/fd/";
    return path && !strncmp(path, start, sizeof start - 1) ? atoi(path + sizeof start - 1) : -1;
}

int linkat(int old_fd, const char *old, int new_fd, const char *new, int how)
{
    static int (*next)(int, const char *, int, const char *, int);
    if (!next)
        next = (int (*)(int, const char *, int, const char *, int))dlsym(RTLD_NEXT, "linkat");
    if (sprung(named(old), "linkat") || sprung(old_fd, "linkat") || sprung(new_fd, "linkat"))
        return -1;
    return next(old_fd, old, new_fd, new, how);
}

/* These have arguments that are not always there; taking one more does no harm on x86-64. */

#define FIRST_OF(list, type, name)                                                                                    \
    va_list list;                                                                                                     \
    va_start(list, name);                                                                                             \
    type argument = va_arg(list, type);                                                                               \
    va_end(list)

#define VARIADIC(name, kind)                                                                                          \
    int name(int fd, kind what, ...)                                                                                  \
    {                                                                                                                 \
        static int (*next)(int, kind, ...);                                                                           \
        int given;                                                                                                    \
        FIRST_OF(list, long, what);                                                                                   \
        if (!next)                                                                                                    \
            next = (int (*)(int, kind, ...))dlsym(RTLD_NEXT, #name);                                                  \
        if (sprung(fd, #name))                                                                                        \
            return -1;                                                                                                \
        given = next(fd, what, argument);                                                                             \
        if (given == -1)                                                                                              \
            failed(fd, #name);                                                                                        \
        return given;                                                                                                 \
    }

VARIADIC(fcntl, int)
VARIADIC(fcntl64, int)
VARIADIC(ioctl, unsigned long)

#define OPENAT(name)                                                                                                  \
    int name(int fd, const char *path, int how, ...)                                                                  \
    {                                                                                                                 \
        static int (*next)(int, const char *, int, ...);                                                              \
        FIRST_OF(list, int, how);                                                                                     \
        if (!next)                                                                                                    \
            next = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, #name);                                     \
        return sprung(fd, #name) || sprung(named(path), #name) ? -1 : next(fd, path, how, argument);                  \
    }

OPENAT(openat)
OPENAT(openat64)

int posix_fadvise(int fd, off_t at, off_t n, int advice)
{
    static int (*next)(int, off_t, off_t, int);
    if (!next)
        next = (int (*)(int, off_t, off_t, int))dlsym(RTLD_NEXT, "posix_fadvise");
    return sprung(fd, "posix_fadvise") ? EBADF : next(fd, at, n, advice);
}

int posix_fadvise64(int fd, off64_t at, off64_t n, int advice) __attribute__((alias("posix_fadvise")));

/* libuv closes by it, and some calls have no other name. */
long syscall(long call, ...)
{
    static long (*next)(long, ...);
    long a[6];
    va_list list;
    va_start(list, call);
    for (int at = 0; at < 6; at++)
        a[at] = va_arg(list, long);
    va_end(list);
    if (!next)
        next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    switch (call) {
    case SYS_close:
        return close_number((int)a[0]);
    case SYS_epoll_ctl:
    case SYS_copy_file_range:
        if (sprung((int)a[2], "syscall"))
            return -1;
        /* fall through */
    case SYS_read:
    case SYS_write:
    case SYS_pread64:
    case SYS_pwrite64:
    case SYS_sendto:
    case SYS_recvfrom:
    case SYS_sendmsg:
    case SYS_recvmsg:
    case SYS_fstat:
    case SYS_fsync:
    case SYS_openat:
    case SYS_openat2:
    case CACHESTAT:
        if (sprung((int)a[0], "syscall"))
            return -1;
    }
    return next(call, a[0], a[1], a[2], a[3], a[4], a[5]);
}
