/* Records what a process asks of the file system below POWER_ROOT, for `power_model`.

   cc -shared -fPIC -O1 -o power_record.so power_record.c -ldl
   LD_PRELOAD=…/power_record.so POWER_ROOT=/… POWER_LOG=/… program

   POWER_LOG/counter, eight octets, mapped by all processes, gives every call a number before and
   one after it; POWER_LOG/PID.log has a record for each call that changed something or waited for
   the disk:

     u64 start, u64 end, u64 inode, i64 number, u32 kind, u32 first, u32 second, then octets

   first and second: lengths of two byte strings (path; path and path; data).  What is written by
   mmap is not seen: of SQLite that is the index of its log, which no crash keeps. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAKE = 1, WRITE, TRUNCATE, SYNC, RENAME, REMOVE, DIRECTORY };

struct record { uint64_t start, end, inode; int64_t number; uint32_t kind, first, second; } __attribute__((packed));

static _Atomic uint64_t *counter;
static char root[PATH_MAX], logs[PATH_MAX];
static size_t root_length;
static dev_t device;
static int log_file = -1;
static pid_t log_owner;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); real; })

static int real_open(const char *path, int flags, int mode) { return REAL(openat)(AT_FDCWD, path, flags, mode); }

__attribute__((constructor)) static void begin(void) {
    const char *r = getenv("POWER_ROOT"), *l = getenv("POWER_LOG");
    struct stat found;
    char path[PATH_MAX + 32];
    if (!r || !l || !realpath(r, root) || stat(root, &found)) return;
    root_length = strlen(root);
    device = found.st_dev;
    snprintf(logs, sizeof logs, "%s", l);
    snprintf(path, sizeof path, "%s/counter", l);
    int file = real_open(path, O_RDWR | O_CLOEXEC, 0);
    if (file < 0) return;
    void *page = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) counter = page;
}

static uint64_t tick(void) { return counter ? atomic_fetch_add(counter, 1) + 1 : 0; }

static void put(int kind, uint64_t start, uint64_t inode, int64_t number, const void *a, size_t n, const void *b, size_t m) {
    struct record head = {start, 0, inode, number, kind, n, m};
    struct iovec parts[3] = {{&head, sizeof head}, {(void *)a, n}, {(void *)b, m}};
    int saved = errno;
    pthread_mutex_lock(&lock);
    if (log_file < 0 || log_owner != getpid()) {
        char path[PATH_MAX + 32];
        snprintf(path, sizeof path, "%s/%d.log", logs, getpid());
        log_file = real_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        log_owner = getpid();
    }
    head.end = tick();
    if (REAL(writev)(log_file, parts, 3) != (ssize_t)(sizeof head + n + m)) abort();
    pthread_mutex_unlock(&lock);
    errno = saved;
}

/* Absolute path of a name, or NULL where it is not below the root. */
static const char *below(int directory, const char *name, char *out) {
    if (!counter) return NULL;
    int saved = errno;
    if (name[0] == '/') snprintf(out, PATH_MAX, "%s", name);
    else {
        char base[PATH_MAX], link[64];
        if (directory == AT_FDCWD) { if (!getcwd(base, sizeof base)) return NULL; }
        else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
            ssize_t n = readlink(link, base, sizeof base - 1);
            if (n < 0) { errno = saved; return NULL; }
            base[n] = 0;
        }
        if (snprintf(out, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) return NULL;
    }
    errno = saved;
    return strncmp(out, root, root_length) == 0 && out[root_length] == '/' ? out : NULL;
}

static int ours(int file, struct stat *found) {
    int saved = errno;
    int yes = counter && fstat(file, found) == 0 && found->st_dev == device && (S_ISREG(found->st_mode) || S_ISDIR(found->st_mode));
    errno = saved;
    return yes;
}

static int opened(int directory, const char *name, int flags, int mode) {
    char path[PATH_MAX];
    struct stat before, after;
    const char *inside = (flags & (O_CREAT | O_TRUNC)) ? below(directory, name, path) : NULL;
    int there = inside ? stat(inside, &before) == 0 : 0;
    uint64_t start = inside ? tick() : 0;
    errno = 0;
    int file = REAL(openat)(directory, name, flags, mode);
    if (inside && file >= 0 && fstat(file, &after) == 0 && S_ISREG(after.st_mode)) {
        if (!there) put(MAKE, start, after.st_ino, 0, inside, strlen(inside), NULL, 0);
        else if (flags & O_TRUNC) put(TRUNCATE, start, after.st_ino, 0, NULL, 0, NULL, 0);
    }
    return file;
}

#define MODE(flags) int mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, int); va_end(more); }
int open(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags | O_LARGEFILE, mode); }
int openat(int directory, const char *name, int flags, ...) { MODE(flags) return opened(directory, name, flags, mode); }
int openat64(int directory, const char *name, int flags, ...) { MODE(flags) return opened(directory, name, flags | O_LARGEFILE, mode); }

/* data: NULL: to be read back. */
static void wrote(int file, uint64_t start, ssize_t n, const void *data, off_t at) {
    struct stat found;
    if (n <= 0 || !ours(file, &found) || !S_ISREG(found.st_mode)) return;
    if (at < 0) at = lseek(file, 0, SEEK_CUR) - n;
    void *copy = NULL;
    if (!data) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        int again = real_open(link, O_RDONLY | O_CLOEXEC, 0);
        if (!(copy = malloc(n)) || again < 0 || pread(again, copy, n, at) != n) abort();
        close(again);
    }
    put(WRITE, start, found.st_ino, at, data ? data : copy, n, NULL, 0);
    free(copy);
}

ssize_t write(int file, const void *data, size_t n) { uint64_t s = tick(); ssize_t r = REAL(write)(file, data, n); if (counter) wrote(file, s, r, data, -1); return r; }
ssize_t pwrite(int file, const void *data, size_t n, off_t at) { uint64_t s = tick(); ssize_t r = REAL(pwrite)(file, data, n, at); if (counter) wrote(file, s, r, data, at); return r; }
ssize_t pwrite64(int file, const void *data, size_t n, off64_t at) { uint64_t s = tick(); ssize_t r = REAL(pwrite64)(file, data, n, at); if (counter) wrote(file, s, r, data, at); return r; }
ssize_t writev(int file, const struct iovec *parts, int count) { uint64_t s = tick(); ssize_t r = REAL(writev)(file, parts, count); struct stat f; if (r > 0 && ours(file, &f) && S_ISREG(f.st_mode)) wrote(file, s, r, NULL, -1); return r; }
ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) { uint64_t s = tick(); ssize_t r = REAL(pwritev)(file, parts, count, at); if (counter) wrote(file, s, r, NULL, at); return r; }
ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t at) { uint64_t s = tick(); ssize_t r = REAL(pwritev64)(file, parts, count, at); if (counter) wrote(file, s, r, NULL, at); return r; }
#include <sys/sendfile.h>
ssize_t sendfile(int out, int in, off_t *at, size_t n) { uint64_t s = tick(); ssize_t r = REAL(sendfile)(out, in, at, n); struct stat f; if (r > 0 && ours(out, &f) && S_ISREG(f.st_mode)) wrote(out, s, r, NULL, -1); return r; }
ssize_t sendfile64(int out, int in, off64_t *at, size_t n) { uint64_t s = tick(); ssize_t r = REAL(sendfile64)(out, in, at, n); struct stat f; if (r > 0 && ours(out, &f) && S_ISREG(f.st_mode)) wrote(out, s, r, NULL, -1); return r; }
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t n, unsigned flags) { uint64_t s = tick(); off64_t at = to ? *to : -1; ssize_t r = REAL(copy_file_range)(in, from, out, to, n, flags); if (counter) wrote(out, s, r, NULL, at); return r; }

static int cut(int r, int file, uint64_t start, int64_t length) { struct stat f; if (r == 0 && ours(file, &f)) put(TRUNCATE, start, f.st_ino, length, NULL, 0, NULL, 0); return r; }
int ftruncate(int file, off_t n) { uint64_t s = tick(); return cut(REAL(ftruncate)(file, n), file, s, n); }
int ftruncate64(int file, off64_t n) { uint64_t s = tick(); return cut(REAL(ftruncate64)(file, n), file, s, n); }
int posix_fallocate(int file, off_t at, off_t n) { uint64_t s = tick(); int r = REAL(posix_fallocate)(file, at, n); struct stat f; if (!r && ours(file, &f)) cut(0, file, s, f.st_size); return r; }
int posix_fallocate64(int file, off64_t at, off64_t n) { uint64_t s = tick(); int r = REAL(posix_fallocate64)(file, at, n); struct stat f; if (!r && ours(file, &f)) cut(0, file, s, f.st_size); return r; }

static int synced(int r, int file, uint64_t start) { struct stat f; if (r == 0 && ours(file, &f)) put(SYNC, start, f.st_ino, 0, NULL, 0, NULL, 0); return r; }
int fsync(int file) { uint64_t s = tick(); return synced(REAL(fsync)(file), file, s); }
int fdatasync(int file) { uint64_t s = tick(); return synced(REAL(fdatasync)(file), file, s); }

static int moved(int r, uint64_t start, const char *a, const char *b) { if (r == 0 && (a || b)) put(RENAME, start, 0, 0, a ? a : "", a ? strlen(a) : 0, b ? b : "", b ? strlen(b) : 0); return r; }
int rename(const char *old, const char *new) { char p[PATH_MAX], q[PATH_MAX]; const char *a = below(AT_FDCWD, old, p), *b = below(AT_FDCWD, new, q); uint64_t s = tick(); return moved(REAL(rename)(old, new), s, a, b); }
int renameat(int d, const char *old, int e, const char *new) { char p[PATH_MAX], q[PATH_MAX]; const char *a = below(d, old, p), *b = below(e, new, q); uint64_t s = tick(); return moved(REAL(renameat)(d, old, e, new), s, a, b); }

static int gone(int r, uint64_t start, const char *a) { if (r == 0 && a) put(REMOVE, start, 0, 0, a, strlen(a), NULL, 0); return r; }
int unlink(const char *name) { char p[PATH_MAX]; const char *a = below(AT_FDCWD, name, p); uint64_t s = tick(); return gone(REAL(unlink)(name), s, a); }
int rmdir(const char *name) { char p[PATH_MAX]; const char *a = below(AT_FDCWD, name, p); uint64_t s = tick(); return gone(REAL(rmdir)(name), s, a); }
int unlinkat(int d, const char *name, int flags) { char p[PATH_MAX]; const char *a = below(d, name, p); uint64_t s = tick(); return gone(REAL(unlinkat)(d, name, flags), s, a); }

static int made(int r, uint64_t start, const char *a) { struct stat f; if (r == 0 && a && stat(a, &f) == 0) put(DIRECTORY, start, f.st_ino, 0, a, strlen(a), NULL, 0); return r; }
int mkdir(const char *name, mode_t mode) { char p[PATH_MAX]; const char *a = below(AT_FDCWD, name, p); uint64_t s = tick(); return made(REAL(mkdir)(name, mode), s, a); }
int mkdirat(int d, const char *name, mode_t mode) { char p[PATH_MAX]; const char *a = below(d, name, p); uint64_t s = tick(); return made(REAL(mkdirat)(d, name, mode), s, a); }
