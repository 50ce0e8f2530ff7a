/*
 * The drivers "file" and "host_device": bytes in a file or block device of the host. This file opens, probes and resizes them, file-io.c
 * moves data, file-lock.c keeps others out.
 */
#include "block/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const aio_names[] = {"threads", "native", "io_uring", NULL};
static const char *const locking_names[] = {"auto", "on", "off", NULL};

static const BlockOption file_options[] = {
    {"filename", BLOCK_OPT_STR, .required = true, .help = "path, or /dev/fdset/N"},
    {"aio", BLOCK_OPT_ENUM, aio_names, .help = "how the host is asked (default: io_uring where it is allowed, else threads)"},
    {"locking", BLOCK_OPT_ENUM, locking_names, .help = "keep other processes from using the image at the same time"},
    BLOCK_OPTION_END
};

/* ---- opening ---- */

static bool is_access_error(int ret)
{
    return ret == -EACCES || ret == -EROFS || ret == -EPERM || ret == -ETXTBSY;
}

static int open_with(BlockNode *node, int flags, GError **err)
{
    int fd = fdset_open(node->filename, (node->read_only ? O_RDONLY : O_RDWR) | flags, 0);
    if (is_access_error(fd) && !node->read_only && node->auto_read_only) {
        fd = fdset_open(node->filename, O_RDONLY | flags, 0);
        if (fd >= 0)
            node->read_only = true;
    }
    if (fd == -EINVAL && flags & O_DIRECT)
        error_set(err, "\"%s\" can't be opened with cache.direct=on: its file system has no O_DIRECT", node->filename);
    else if (fd < 0)
        error_set_errno(err, -fd, "\"%s\" can't be opened", node->filename);
    return fd;
}

static bool check_kind(BlockNode *node, FileNode *file, GError **err)
{
    struct stat st;
    if (fstat(file->fd, &st) < 0) {
        error_set_errno(err, errno, "\"%s\" can't be examined", node->filename);
        return false;
    }
    bool wants_device = g_str_equal(node->driver->name, "host_device");
    if (S_ISDIR(st.st_mode)) {
        error_set(err, "\"%s\" is a directory, not an image", node->filename);
        return false;
    }
    if (wants_device && !S_ISBLK(st.st_mode)) {
        error_set(err, "\"%s\" is not a block device; the driver \"file\" is for regular files", node->filename);
        return false;
    }
    if (!wants_device && !S_ISREG(st.st_mode)) {
        error_set(err, "\"%s\" is not a regular file%s", node->filename,
                  S_ISBLK(st.st_mode) ? "; the driver \"host_device\" is for block devices" : "");
        return false;
    }
    file->is_block = S_ISBLK(st.st_mode);
    return true;
}

static bool probe_read(int fd, void *buf, size_t len)
{
    ssize_t ret;
    do {
        ret = pread(fd, buf, len, 0);
    } while (ret < 0 && errno == EINTR);
    return ret >= 0 || errno != EINVAL;
}

/* What O_DIRECT needs here: the kernel's word where it has one, else the smallest read that works. */
static bool find_alignment(BlockNode *node, FileNode *file, GError **err)
{
#ifdef STATX_DIOALIGN
    struct statx stx;
    if (statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 && stx.stx_mask & STATX_DIOALIGN &&
        stx.stx_dio_offset_align && stx.stx_dio_mem_align) {
        node->request_align = stx.stx_dio_offset_align;
        file->mem_align = stx.stx_dio_mem_align;
        return true;
    }
#endif
    int sector;
    if (file->is_block && ioctl(file->fd, BLKSSZGET, &sector) == 0 && sector > 0) {
        node->request_align = file->mem_align = (uint32_t)sector;
        return true;
    }
    void *buf;
    if (posix_memalign(&buf, 65536, 65536))
        g_error("out of memory");
    uint32_t align = 0;
    for (uint32_t try = 512; try <= 65536 && !align; try *= 2)
        if (probe_read(file->fd, buf, try))
            align = try;
    free(buf);
    if (!align) {
        error_set(err, "\"%s\" can't be read with cache.direct=on in blocks of up to 64 KiB", node->filename);
        return false;
    }
    node->request_align = align;
    file->mem_align = MAX(align, 4096);
    return true;
}

static bool choose_aio(BlockNode *node, FileNode *file, json_object *options, GError **err)
{
    const char *aio = block_option_str(options, "aio");
    if (!aio) {
        file->aio = FILE_AIO_AUTO;
    } else if (g_str_equal(aio, "threads")) {
        file->aio = FILE_AIO_THREADS;
    } else {
        /* native asks for asynchronous direct I/O in the kernel: io_uring with O_DIRECT is that */
        if (g_str_equal(aio, "native") && !node->cache_direct) {
            error_set(err, "aio=native needs cache.direct=on");
            return false;
        }
        if (!block_uring_available()) {
            error_set(err, "aio=%s needs io_uring, which this host does not allow; aio=threads works", aio);
            return false;
        }
        file->aio = FILE_AIO_URING;
    }
    return true;
}

static int64_t file_get_length(BlockNode *node)
{
    FileNode *file = (FileNode *)node->opaque;
    if (file->is_block) {
        uint64_t bytes;
        return ioctl(file->fd, BLKGETSIZE64, &bytes) < 0 ? -errno : (int64_t)bytes;
    }
    struct stat st;
    return fstat(file->fd, &st) < 0 ? -errno : st.st_size;
}

static bool file_open(BlockNode *node, json_object *options, GError **err)
{
    FileNode *file = (FileNode *)node->opaque;
    node->filename = g_strdup(block_option_str(options, "filename"));
    file->mem_align = 1;
    if (!node->filename[0]) {
        error_set(err, "option \"filename\" is empty");
        return false;
    }
    if (!choose_aio(node, file, options, err))
        return false;
    file->direct = node->cache_direct;
    file->fd = open_with(node, O_CLOEXEC | (file->direct ? O_DIRECT : 0), err);
    if (file->fd < 0)
        return false;
    bool ok = check_kind(node, file, err) && (!file->direct || find_alignment(node, file, err));
    int64_t length = ok ? file_get_length(node) : 0;
    if (length < 0) {
        error_set_errno(err, (int)-length, "the size of \"%s\" is unknown", node->filename);
        ok = false;
    }
    if (!ok) {
        close(file->fd);
        return false;
    }
    node->length = (uint64_t)length;
    int locking = block_option_enum(options, "locking", locking_names, 0);
    file->lock_files = locking != 2;
    file->lock_required = locking == 1;
    g_mutex_init(&file->ranges_lock);
    g_cond_init(&file->ranges_cond);
    return true;
}

static void file_close(BlockNode *node)
{
    FileNode *file = (FileNode *)node->opaque;
    close(file->fd); /* ends the locks, too */
    g_mutex_clear(&file->ranges_lock);
    g_cond_clear(&file->ranges_cond);
}

static bool file_set_perm(BlockNode *node, uint32_t perm, uint32_t shared, GError **err)
{
    return file_lock_set((FileNode *)node->opaque, node->filename, perm, BLOCK_PERM_ALL & ~shared, err);
}

static bool file_truncate(BlockNode *node, uint64_t bytes, GError **err)
{
    FileNode *file = (FileNode *)node->opaque;
    if (file->is_block) {
        error_set(err, "\"%s\" is a block device and keeps its size", node->filename);
        return false;
    }
    if (ftruncate(file->fd, (off_t)bytes) < 0) {
        error_set_errno(err, errno, "\"%s\" can't be resized to %" PRIu64 " bytes", node->filename, bytes);
        return false;
    }
    return true;
}

static int64_t file_allocated(BlockNode *node)
{
    FileNode *file = (FileNode *)node->opaque;
    struct stat st;
    return file->is_block || fstat(file->fd, &st) < 0 ? -1 : (int64_t)st.st_blocks * 512;
}

static json_object *file_specific_stats(BlockNode *node)
{
    json_object *stats = json_object_new_object();
    json_object_object_add(stats, "driver", json_object_new_string(node->driver->name));
    json_object_object_add(stats, "discard-nb-ok", json_object_new_uint64(node->stats.discard_ok));
    json_object_object_add(stats, "discard-nb-failed", json_object_new_uint64(node->stats.discard_failed));
    json_object_object_add(stats, "discard-bytes-ok", json_object_new_uint64(node->stats.discard_bytes));
    return stats;
}

#define FILE_DRIVER(name_)                                                                                     \
    {                                                                                                          \
        .name = name_, .size = sizeof(FileNode), .options = file_options, .open = file_open,                   \
        .close = file_close, .submit = file_submit, .set_perm = file_set_perm, .get_length = file_get_length,  \
        .truncate = file_truncate, .allocated = file_allocated, .specific_stats = file_specific_stats,         \
    }

static const BlockDriver file_driver = FILE_DRIVER("file");
static const BlockDriver host_device_driver = FILE_DRIVER("host_device");
REGISTER_BLOCK_DRIVER(file_driver)
REGISTER_BLOCK_DRIVER(host_device_driver)
