/*
 * Image locks that other emulators and qemu-img understand: what a process does with an image is a read lock on the byte
 * LOCK_PERM + n of the file, what it does not share one on LOCK_UNSHARED + n, n being the bit of the permission. Whoever wants to do
 * something first looks whether anybody holds the opposite byte. Locks are open-file-description locks (fcntl(2), F_OFD_SETLK):
 * they end with the process and are not lost when another descriptor of the file is closed.
 */
#include "block/file.h"

#include <errno.h>
#include <fcntl.h>

#define LOCK_PERM 100
#define LOCK_UNSHARED 200
#define LOCK_TRIES 20
#define LOCK_WAIT_US 10000

static const char *const perm_names[] = {"consistent read", "write", "write unchanged", "resize"};
#define PERMS G_N_ELEMENTS(perm_names)

static int lock_byte(int fd, int64_t byte, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int ret;
    do {
        ret = fcntl(fd, F_OFD_SETLK, &lock);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : 0;
}

/* 1: somebody else holds it. */
static int byte_is_held(int fd, int64_t byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    return lock.l_type != F_UNLCK;
}

static void unlock_bits(int fd, int64_t base, uint32_t bits)
{
    for (unsigned n = 0; n < PERMS; n++)
        if (bits >> n & 1)
            lock_byte(fd, base + n, F_UNLCK);
}

static int lock_bits(int fd, int64_t base, uint32_t bits)
{
    for (unsigned n = 0; n < PERMS; n++) {
        int ret = bits >> n & 1 ? lock_byte(fd, base + n, F_RDLCK) : 0;
        if (ret < 0) {
            unlock_bits(fd, base, bits & ((1u << n) - 1));
            return ret;
        }
    }
    return 0;
}

static bool nobody_holds(FileNode *file, const char *filename, int64_t base, uint32_t bits, GError **err)
{
    for (unsigned n = 0; n < PERMS; n++) {
        if (!(bits >> n & 1))
            continue;
        int ret = byte_is_held(file->fd, base + n);
        if (ret < 0) {
            error_set_errno(err, -ret, "the locks of \"%s\" can't be read", filename);
            return false;
        }
        if (ret) {
            error_set(err, base == LOCK_UNSHARED
                               ? "\"%s\" is locked: another process, or another node here, uses it and does not share \"%s\""
                               : "\"%s\" is locked: another process, or another node here, has \"%s\" on it, which can't be shared here",
                      filename, perm_names[n]);
            return false;
        }
    }
    return true;
}

/*
 * The kernel takes an io_uring of a killed process down a moment after the process is gone, and the files in it with their
 * locks: who starts a machine again at once should not be told that it still runs.
 */
static bool wait_for_nobody(FileNode *file, const char *filename, uint32_t perm, uint32_t unshared, GError **err)
{
    for (unsigned tries = 0;; tries++) {
        g_autoptr(GError) local = NULL;
        if (nobody_holds(file, filename, LOCK_UNSHARED, perm, &local) &&
            nobody_holds(file, filename, LOCK_PERM, unshared, &local))
            return true;
        if (tries == LOCK_TRIES) {
            g_propagate_error(err, g_steal_pointer(&local));
            return false;
        }
        g_usleep(LOCK_WAIT_US);
    }
}

bool file_lock_set(FileNode *file, const char *filename, uint32_t perm, uint32_t unshared, GError **err)
{
    if (!file->lock_files)
        return true;
    uint32_t new_perm = perm & ~file->locked_perm, new_unshared = unshared & ~file->locked_unshared;
    int ret = lock_bits(file->fd, LOCK_PERM, new_perm);
    if (ret == 0) {
        ret = lock_bits(file->fd, LOCK_UNSHARED, new_unshared);
        if (ret < 0)
            unlock_bits(file->fd, LOCK_PERM, new_perm);
    }
    if (ret < 0 && !file->lock_required && (ret == -ENOLCK || ret == -EOPNOTSUPP || ret == -EINVAL || ret == -ENOSYS)) {
        file->lock_files = false; /* locking=auto on a file system without locks */
        return true;
    }
    if (ret < 0) {
        error_set_errno(err, -ret, "\"%s\" can't be locked", filename);
        return false;
    }
    if (!wait_for_nobody(file, filename, new_perm, new_unshared, err)) {
        unlock_bits(file->fd, LOCK_PERM, new_perm);
        unlock_bits(file->fd, LOCK_UNSHARED, new_unshared);
        return false;
    }
    unlock_bits(file->fd, LOCK_PERM, file->locked_perm & ~perm);
    unlock_bits(file->fd, LOCK_UNSHARED, file->locked_unshared & ~unshared);
    file->locked_perm = perm;
    file->locked_unshared = unshared;
    return true;
}
