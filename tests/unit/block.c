/*
 * The block layer on real files: every way to the host, bounds and alignment, locks between processes, failures, options, names and
 * what queries show. Content is compared with what the host reads back.
 */
#include "block/block-int.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *dir;
static Domain *domain;

static char *path_of(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static char *make_image(const char *name, uint64_t bytes)
{
    char *path = path_of(name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, (off_t)bytes), ==, 0);
    close(fd);
    return path;
}

static json_object *parse(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
static json_object *parse(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    json_object *object = json_tokener_parse(text);
    g_assert_nonnull(object);
    return object;
}

static bool add_node(GError **err, json_object *options)
{
    BlockNode *node = blockdev_add(options, err);
    json_object_put(options);
    return node != NULL;
}

static void must_add_node(json_object *options)
{
    GError *err = NULL;
    add_node(&err, options);
    g_assert_no_error(err);
}

static void refuse_node(json_object *options, const char *part)
{
    GError *err = NULL;
    g_assert_false(add_node(&err, options));
    g_assert_nonnull(err);
    if (!strstr(err->message, part))
        g_error("\"%s\" is not in: %s", part, err->message);
    g_error_free(err);
}

static void must_del(const char *name)
{
    GError *err = NULL;
    (void)!blockdev_del(name, &err);
    g_assert_no_error(err);
}

static Disk *use_node(const char *name, bool share_rw)
{
    GError *err = NULL;
    Disk *disk = disk_new("", block_node_find(name), &err);
    g_assert_no_error(err);
    DiskUse use = {.share_rw = share_rw, .resizable = true};
    (void)!disk_start_use(disk, NULL, &use, domain, &err);
    g_assert_no_error(err);
    return disk;
}

static void drop(Disk *disk)
{
    DOMAIN_GUARD(domain);
    disk_end_use(disk);
    disk_free(disk);
}

static void count_done(BlockReq *req, int ret)
{
    *(int *)req->opaque = ret;
}

static int run(Disk *disk, BlockOp op, uint64_t offset, uint64_t bytes, struct iovec *iov, unsigned niov, uint32_t flags)
{
    int ret = 1;
    BlockReq req = {.op = op, .flags = flags, .offset = offset, .bytes = bytes, .iov = iov, .niov = niov,
                    .done = count_done, .opaque = &ret};
    domain_lock(domain);
    disk_submit(disk, &req);
    domain_unlock(domain);
    while (ret > 0)
        domain_iterate(domain, true);
    return ret;
}

static int run_buf(Disk *disk, BlockOp op, uint64_t offset, void *buf, uint64_t bytes)
{
    struct iovec iov = {buf, bytes};
    return run(disk, op, offset, bytes, &iov, 1, 0);
}

/* ---- content ---- */

typedef struct Mode {
    const char *name, *options;
} Mode;

static const Mode modes[] = {
    {"uring", "\"aio\":\"io_uring\""},
    {"threads", "\"aio\":\"threads\""},
    {"default", "\"locking\":\"auto\""},
    {"uring-direct", "\"aio\":\"io_uring\",\"cache\":{\"direct\":true}"},
    {"threads-direct", "\"aio\":\"threads\",\"cache\":{\"direct\":true}"},
    {"native-direct", "\"aio\":\"native\",\"cache.direct\":\"on\""},
};

#define SIZE (1u << 20)

static bool mode_works(const Mode *mode)
{
    if (strstr(mode->options, "io_uring") || strstr(mode->options, "native"))
        return block_uring_available();
    return true;
}

static void check_file(const char *path, const uint8_t *model)
{
    g_autofree char *data = NULL;
    gsize len;
    g_assert_true(g_file_get_contents(path, &data, &len, NULL));
    g_assert_cmpuint(len, ==, SIZE);
    g_assert_cmpint(memcmp(data, model, SIZE), ==, 0);
}

/* Random reads, writes and zeroes at any byte, in any number of segments, against a copy in memory. */
static void test_content(gconstpointer data)
{
    const Mode *mode = data;
    if (!mode_works(mode)) {
        g_test_skip("io_uring is not allowed here");
        return;
    }
    g_autofree char *path = make_image("content.img", SIZE);
    must_add_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",\"discard\":\"unmap\",%s}", path, mode->options));
    must_add_node(parse("{\"driver\":\"raw\",\"node-name\":\"r\",\"file\":\"f\",\"discard\":\"unmap\"}"));
    Disk *disk = use_node("r", false);
    uint8_t *model = g_malloc0(SIZE), *buf = g_malloc(SIZE + 64);
    GRand *rand = g_rand_new_with_seed(7);
    for (unsigned round = 0; round < 400; round++) {
        bool aligned = g_rand_int_range(rand, 0, 3) == 0;
        uint64_t offset = g_rand_int_range(rand, 0, SIZE), bytes = g_rand_int_range(rand, 0, 40000);
        if (aligned) {
            offset &= ~4095ull;
            bytes = ROUND_UP_TO(bytes, 4096);
        }
        bytes = MIN(bytes, SIZE - offset);
        struct iovec iov[5];
        unsigned n = 0;
        uint8_t *at = buf + (aligned ? 0 : g_rand_int_range(rand, 0, 64));
        for (uint64_t left = bytes; left; n++) {
            uint64_t part = n == 4 ? left : (uint64_t)g_rand_int_range(rand, 1, (gint32)left + 1);
            iov[n] = (struct iovec){at, part};
            at += part;
            left -= part;
        }
        switch (g_rand_int_range(rand, 0, 4)) {
        case 0:
        case 1: {
            uint64_t done = 0;
            for (unsigned i = 0; i < n; i++)
                for (size_t b = 0; b < iov[i].iov_len; b++)
                    ((uint8_t *)iov[i].iov_base)[b] = model[offset + done++] = (uint8_t)g_rand_int(rand);
            g_assert_cmpint(run(disk, BLOCK_WRITE, offset, bytes, iov, n, round % 16 ? 0 : BLOCK_REQ_FUA), ==, 0);
            break;
        }
        case 2: {
            g_assert_cmpint(run(disk, BLOCK_READ, offset, bytes, iov, n, 0), ==, 0);
            uint64_t done = 0;
            for (unsigned i = 0; i < n; i++) {
                g_assert_cmpint(memcmp(iov[i].iov_base, model + offset + done, iov[i].iov_len), ==, 0);
                done += iov[i].iov_len;
            }
            break;
        }
        default:
            memset(model + offset, 0, bytes);
            g_assert_cmpint(run(disk, BLOCK_WRITE_ZEROES, offset, bytes, NULL, 0, round & 1 ? BLOCK_REQ_MAY_UNMAP : 0), ==, 0);
            break;
        }
    }
    g_assert_cmpint(run(disk, BLOCK_FLUSH, 0, 0, NULL, 0, 0), ==, 0);
    check_file(path, model);
    drop(disk);
    must_del("r");
    must_del("f");
    g_rand_free(rand);
    g_free(model);
    g_free(buf);
}

/* Many writes of neighbouring bytes at once: with direct I/O each needs its neighbours' block. */
static void test_concurrent(gconstpointer data)
{
    const Mode *mode = data;
    if (!mode_works(mode)) {
        g_test_skip("io_uring is not allowed here");
        return;
    }
    enum { N = 300 };
    g_autofree char *path = make_image("concurrent.img", SIZE);
    must_add_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",%s}", path, mode->options));
    Disk *disk = use_node("f", false);
    g_autofree uint8_t *model = g_malloc0(SIZE);
    static BlockReq reqs[N];
    static struct iovec iovs[N];
    static int rets[N];
    g_autofree uint8_t *aligned = NULL;
    void *mem = NULL;
    g_assert_cmpint(posix_memalign(&mem, 4096, N * 4096), ==, 0);
    aligned = mem;
    domain_lock(domain);
    block_loop_plug(disk_loop(disk));
    uint64_t at = 0;
    for (unsigned i = 0; i < N; i++) {
        /* mostly odd sizes, now and then a whole aligned block that async writes can take */
        uint64_t bytes = i % 5 ? 100 + i * 3 : 4096;
        if (bytes == 4096)
            at = ROUND_UP_TO(at, 4096);
        memset(aligned + i * 4096, (int)(i + 1), bytes);
        memset(model + at, (int)(i + 1), bytes);
        iovs[i] = (struct iovec){aligned + i * 4096, bytes};
        rets[i] = 1;
        reqs[i] = (BlockReq){.op = BLOCK_WRITE, .offset = at, .bytes = bytes, .iov = &iovs[i], .niov = 1, .done = count_done,
                             .opaque = &rets[i]};
        disk_submit(disk, &reqs[i]);
        at += bytes;
        g_assert_cmpuint(at, <, SIZE);
    }
    block_loop_unplug(disk_loop(disk));
    disk_drain(disk);
    domain_unlock(domain);
    for (unsigned i = 0; i < N; i++)
        g_assert_cmpint(rets[i], ==, 0);
    g_assert_cmpuint(disk_in_flight(disk), ==, 0);
    g_assert_cmpuint(disk_stats(disk)->ops[BLOCK_WRITE], ==, N);
    check_file(path, model);
    drop(disk);
    must_del("f");
}

static void test_bounds(void)
{
    g_autofree char *path = make_image("bounds.img", 1000); /* not whole sectors: the disk has 1024 bytes */
    must_add_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\"}", path));
    Disk *disk = use_node("f", false);
    g_assert_cmpuint(disk_length(disk), ==, 1024);
    uint8_t buf[1024];
    memset(buf, 0xaa, sizeof(buf));
    g_assert_cmpint(run_buf(disk, BLOCK_READ, 0, buf, 1024), ==, 0);
    for (unsigned i = 0; i < 1024; i++)
        g_assert_cmpuint(buf[i], ==, 0);
    g_assert_cmpint(run_buf(disk, BLOCK_READ, 512, buf, 1024), ==, -EINVAL);
    g_assert_cmpint(run_buf(disk, BLOCK_READ, UINT64_MAX - 511, buf, 512), ==, -EINVAL);
    g_assert_cmpint(run(disk, BLOCK_DISCARD, 1024, 1, NULL, 0, 0), ==, -EINVAL);
    g_assert_cmpint(run(disk, BLOCK_READ, 0, 0, NULL, 0, 0), ==, 0);
    memset(buf, 0x55, 512);
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 512, buf, 512), ==, 0); /* grows the file to the sector's end */
    struct stat st;
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 1024);
    g_assert_cmpuint(disk_stats(disk)->failed[BLOCK_READ], ==, 2);
    drop(disk);
    must_del("f");
}

static uint64_t allocated_kib(const char *path)
{
    struct stat st;
    g_assert_cmpint(stat(path, &st), ==, 0);
    return (uint64_t)st.st_blocks / 2;
}

static void test_discard(void)
{
    g_autofree char *path = make_image("discard.img", SIZE);
    g_autofree uint8_t *buf = g_malloc(SIZE);
    for (int unmap = 0; unmap < 2; unmap++) {
        must_add_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",\"discard\":\"unmap\"}", path));
        must_add_node(parse("{\"driver\":\"raw\",\"node-name\":\"r\",\"file\":\"f\",\"discard\":\"%s\"}", unmap ? "unmap" : "ignore"));
        Disk *disk = use_node("r", false);
        memset(buf, 1, SIZE);
        g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 0, buf, SIZE), ==, 0);
        g_assert_cmpint(run(disk, BLOCK_FLUSH, 0, 0, NULL, 0, 0), ==, 0);
        g_assert_cmpuint(allocated_kib(path), >=, 1000);
        g_assert_cmpint(run(disk, BLOCK_DISCARD, 0, SIZE / 2, NULL, 0, 0), ==, 0);
        g_assert_cmpint(run_buf(disk, BLOCK_READ, 0, buf, 4096), ==, 0);
        if (unmap && block_node_find("f")->stats.discard_ok) {
            g_assert_cmpuint(allocated_kib(path), <=, 600);
            g_assert_cmpuint(buf[0], ==, 0);
            g_assert_cmpuint(block_node_find("f")->stats.discard_bytes, ==, SIZE / 2);
        } else if (!unmap) {
            g_assert_cmpuint(allocated_kib(path), >=, 1000);
            g_assert_cmpuint(buf[0], ==, 1);
        }
        drop(disk);
        must_del("r");
        must_del("f");
    }
}

static void test_detect_zeroes(void)
{
    g_autofree char *path = make_image("zeroes.img", SIZE);
    g_autofree uint8_t *buf = g_malloc(SIZE);
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",\"detect-zeroes\":\"unmap\"}", path), "discard=unmap");
    must_add_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",\"discard\":\"unmap\",\"detect-zeroes\":\"unmap\"}", path));
    Disk *disk = use_node("f", false);
    memset(buf, 1, SIZE);
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 0, buf, SIZE), ==, 0);
    memset(buf, 0, SIZE);
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 0, buf, SIZE), ==, 0);
    g_assert_cmpint(run(disk, BLOCK_FLUSH, 0, 0, NULL, 0, 0), ==, 0);
    check_file(path, buf);
    g_assert_cmpuint(allocated_kib(path), <=, 100);
    g_assert_cmpuint(disk_stats(disk)->ops[BLOCK_WRITE], ==, 2); /* counted as what was asked */
    drop(disk);
    must_del("f");
}

static void test_raw_part(void)
{
    g_autofree char *path = make_image("part.img", SIZE);
    must_add_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\"}", path));
    refuse_node(parse("{\"driver\":\"raw\",\"node-name\":\"r\",\"file\":\"f\",\"offset\":100}"), "multiples of 512");
    refuse_node(parse("{\"driver\":\"raw\",\"node-name\":\"r\",\"file\":\"f\",\"offset\":4096,\"size\":%u}", SIZE), "do not fit");
    must_add_node(parse("{\"driver\":\"raw\",\"node-name\":\"r\",\"file\":\"f\",\"offset\":\"4k\",\"size\":8192}"));
    Disk *disk = use_node("r", false);
    uint8_t buf[512];
    memset(buf, 7, sizeof(buf));
    g_assert_cmpuint(disk_length(disk), ==, 8192);
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 512, buf, 512), ==, 0);
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 8192, buf, 512), ==, -EINVAL);
    int fd = open(path, O_RDONLY);
    memset(buf, 0, sizeof(buf));
    g_assert_cmpint(pread(fd, buf, 512, 4608), ==, 512);
    g_assert_cmpuint(buf[511], ==, 7);
    close(fd);
    GError *err = NULL;
    g_assert_false(blockdev_del("f", &err));
    g_assert_nonnull(strstr(err->message, "in use"));
    g_clear_error(&err);
    drop(disk);
    must_del("r");
    must_del("f");
}

/* ---- names and options ---- */

static void test_options(void)
{
    g_autofree char *path = make_image("options.img", SIZE), *sub = path_of("sub"), *none = path_of("none.img");
    g_assert_cmpint(g_mkdir(sub, 0700), ==, 0);
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\"}", none), "No such file");
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\"}", sub), "directory");
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"\"}"), "empty");
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"f\"}"), "filename");
    refuse_node(parse("{\"driver\":\"file\",\"filename\":\"%s\"}", path), "node-name");
    refuse_node(parse("{\"driver\":\"fil\",\"node-name\":\"f\",\"filename\":\"%s\"}", path), "fil");
    refuse_node(parse("{\"driver\":\"host_device\",\"node-name\":\"f\",\"filename\":\"%s\"}", path), "not a block device");
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"/dev/null\"}"), "not a regular file");
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",\"read-onyl\":true}", path), "\"read-only\"");
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",\"aio\":\"fast\"}", path), "threads, native, io_uring");
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",\"aio\":\"native\"}", path), "cache.direct");
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",\"cache\":{\"drect\":true}}", path), "cache.direct");
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",\"read-only\":\"maybe\"}", path), "on or off");
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",\"force-share\":true}", path), "read-only");
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"1f\",\"filename\":\"%s\"}", path), "not a node name");
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"#f\",\"filename\":\"%s\"}", path), "not a node name");
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"a234567890123456789012345678901x\",\"filename\":\"%s\"}", path), "30");
    refuse_node(parse("{\"driver\":\"raw\",\"node-name\":\"r\",\"file\":\"nobody\"}"), "nobody");
    must_add_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",\"read-only\":\"on\"}", path));
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\"}", path), "already");
    refuse_node(parse("{\"driver\":\"raw\",\"node-name\":\"r\",\"file\":\"f\"}"), "read-only");
    must_add_node(parse("{\"driver\":\"raw\",\"node-name\":\"r\",\"file\":\"f\",\"read-only\":true}"));
    Disk *disk = use_node("r", false);
    uint8_t buf[512] = {0};
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 0, buf, 512), ==, -EROFS);
    g_assert_cmpint(run_buf(disk, BLOCK_READ, 0, buf, 512), ==, 0);
    drop(disk);
    must_del("r");
    must_del("f");
    GError *err = NULL;
    g_assert_false(blockdev_del("f", &err));
    g_clear_error(&err);
    g_assert_cmpuint(block_graph.nodes->len, ==, 0);
}

static void test_nested(void)
{
    g_autofree char *path = make_image("nested.img", SIZE);
    must_add_node(parse("{\"driver\":\"raw\",\"node-name\":\"r\",\"file.driver\":\"file\",\"file.filename\":\"%s\",\"cache.direct\":\"off\"}", path));
    BlockNode *child = block_node_child(block_node_find("r"), "file");
    g_assert_nonnull(child);
    g_assert_true(child->name[0] == '#' && child->discard_unmap);
    must_del("r");
    g_assert_cmpuint(block_graph.nodes->len, ==, 0);
    refuse_node(parse("{\"driver\":\"raw\",\"node-name\":\"r\",\"file.driver\":\"file\",\"file\":\"x\"}"), "file");
}

static bool try_drive(GError **err, json_object *options)
{
    bool ok = drive_add(options, err);
    json_object_put(options);
    return ok;
}

static void refuse_drive(json_object *options, const char *part)
{
    GError *err = NULL;
    g_assert_false(try_drive(&err, options));
    if (!strstr(err->message, part))
        g_error("\"%s\" is not in: %s", part, err->message);
    g_error_free(err);
}

static void test_drive(void)
{
    g_autofree char *path = make_image("drive.img", SIZE), *qcow2 = path_of("x.qcow2");
    g_assert_true(g_file_set_contents(qcow2, "QFI\xfb\0\0\0\3................", 24, NULL));
    refuse_drive(parse("{\"file\":\"%s\"}", path), "if=virtio");
    refuse_drive(parse("{\"file\":\"%s\",\"if\":\"scsi\"}", path), "if=scsi");
    refuse_drive(parse("{\"file\":\"%s\",\"if\":\"none\",\"fromat\":\"raw\"}", path), "\"format\"");
    refuse_drive(parse("{\"file\":\"%s\",\"if\":\"none\",\"cache\":\"some\"}", path), "writethrough");
    refuse_drive(parse("{\"file\":\"%s\",\"if\":\"none\",\"snapshot\":\"on\"}", path), "snapshot");
    refuse_drive(parse("{\"file\":\"%s\",\"if\":\"none\",\"bps\":\"1000\"}", path), "bps");
    refuse_drive(parse("{\"file\":\"%s\",\"if\":\"none\",\"werror\":\"maybe\"}", path), "enospc");
    refuse_drive(parse("{\"file\":\"%s\",\"if\":\"none\",\"format\":\"rwa\"}", path), "rwa");
    refuse_drive(parse("{\"file\":\"%s\",\"if\":\"none\"}", qcow2), "qcow2");
    refuse_drive(parse("{\"file\":\"nbd:localhost:1\",\"if\":\"none\",\"format\":\"raw\"}"), "nbd");
    g_assert_cmpuint(block_graph.nodes->len, ==, 0);
    GError *err = NULL;
    try_drive(&err, parse("{\"file\":\"%s\",\"if\":\"none\",\"id\":\"d0\",\"format\":\"raw\",\"cache\":\"none\",\"serial\":\"S1\","
                          "\"file.locking\":\"off\",\"werror\":\"stop\",\"discard\":\"unmap\"}", path));
    g_assert_no_error(err);
    Disk *disk = disk_find("d0");
    g_assert_true(disk_node(disk)->cache_direct && disk_node(disk)->discard_unmap && disk_cache_is_writeback(disk));
    g_assert_true(block_node_child(disk_node(disk), "file")->cache_direct);
    g_assert_cmpstr(disk_serial(disk), ==, "S1");
    refuse_drive(parse("{\"file\":\"%s\",\"if\":\"none\",\"id\":\"d0\",\"format\":\"raw\"}", path), "already");
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"d0\",\"filename\":\"%s\"}", path), "already");
    json_object *list = block_query();
    g_assert_cmpuint(json_object_array_length(list), ==, 1);
    json_object *entry = json_object_array_get_idx(list, 0), *inserted;
    g_assert_cmpstr(json_object_get_string(json_object_object_get(entry, "device")), ==, "d0");
    g_assert_cmpstr(json_object_get_string(json_object_object_get(entry, "io-status")), ==, "ok");
    inserted = json_object_object_get(entry, "inserted");
    g_assert_cmpstr(json_object_get_string(json_object_object_get(inserted, "drv")), ==, "raw");
    g_assert_cmpuint(json_object_get_uint64(block_option_get(inserted, "image.virtual-size")), ==, SIZE);
    g_assert_true(json_object_get_boolean(block_option_get(inserted, "cache.direct")));
    json_object_put(list);
    list = block_query_named_nodes(true);
    g_assert_cmpuint(json_object_array_length(list), ==, 2);
    json_object_put(list);
    list = block_query_stats(false);
    g_assert_nonnull(block_option_get(json_object_array_get_idx(list, 0), "parent.driver-specific.discard-nb-ok"));
    json_object_put(list);
    g_autofree char *text = block_info_text();
    g_assert_nonnull(strstr(text, "d0 (#block"));
    disk_free(disk);
    g_assert_cmpuint(block_graph.nodes->len, ==, 0);
    /* guessed raw: another format's signature can't be written */
    try_drive(&err, parse("{\"file\":\"%s\",\"if\":\"none\",\"id\":\"d1\"}", path));
    g_assert_no_error(err);
    disk = disk_find("d1");
    DiskUse use = {0};
    g_assert_true(disk_start_use(disk, NULL, &use, domain, &err));
    uint8_t buf[512] = "QFI\xfb";
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 0, buf, 512), ==, -EPERM);
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 512, buf, 512), ==, 0);
    buf[0] = 0;
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 0, buf, 512), ==, 0);
    drop(disk);
    /* an empty CD drive */
    try_drive(&err, parse("{\"if\":\"none\",\"id\":\"cd\",\"media\":\"cdrom\"}"));
    g_assert_no_error(err);
    disk = disk_find("cd");
    g_assert_null(disk_node(disk));
    disk_free(disk);
}

/* ---- other processes ---- */

static void in_child(void (*func)(const char *path, int fd), const char *path, int fd, int *status)
{
    pid_t pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (!pid) {
        func(path, fd);
        _exit(0);
    }
    if (status) {
        g_assert_cmpint(waitpid(pid, status, 0), ==, pid);
        g_assert_true(WIFEXITED(*status));
        *status = WEXITSTATUS(*status);
    }
}

/* 0: allowed, 1: refused as locked, 2: anything else */
static void child_opens(const char *path, int how)
{
    GError *err = NULL;
    json_object *o = parse("{\"driver\":\"file\",\"node-name\":\"child\",\"filename\":\"%s\",\"read-only\":%s,\"force-share\":%s}", path,
                           how ? "true" : "false", how == 2 ? "true" : "false");
    BlockNode *node = blockdev_add(o, &err);
    if (!node)
        _exit(2);
    Disk *disk = disk_new("", node, &err);
    DiskUse use = {.read_only = how > 0, .share_rw = how == 3};
    if (disk_start_use(disk, NULL, &use, domain, &err))
        _exit(0);
    _exit(strstr(err->message, "locked") ? 1 : 2);
}

static void test_locks(void)
{
    g_autofree char *path = make_image("locks.img", SIZE);
    int status;
    must_add_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",\"locking\":\"on\"}", path));
    in_child(child_opens, path, 0, &status);
    g_assert_cmpint(status, ==, 0); /* nobody uses it yet */
    Disk *disk = use_node("f", false);
    in_child(child_opens, path, 0, &status);
    g_assert_cmpint(status, ==, 1); /* a second writer */
    in_child(child_opens, path, 1, &status);
    g_assert_cmpint(status, ==, 1); /* a reader that wants it to stay the same */
    in_child(child_opens, path, 2, &status);
    g_assert_cmpint(status, ==, 0); /* force-share */
    in_child(child_opens, path, 3, &status);
    g_assert_cmpint(status, ==, 0); /* a reader that lets others write */
    drop(disk);
    in_child(child_opens, path, 0, &status);
    g_assert_cmpint(status, ==, 0);
    /* two users in one process */
    disk = use_node("f", false);
    GError *err = NULL;
    Disk *second = disk_new("", block_node_find("f"), &err);
    DiskUse use = {.share_rw = false};
    g_assert_false(disk_start_use(second, NULL, &use, domain, &err));
    g_assert_nonnull(strstr(err->message, "write"));
    g_clear_error(&err);
    drop(disk);
    disk = use_node("f", true);
    use.share_rw = true;
    g_assert_true(disk_start_use(second, NULL, &use, domain, &err));
    drop(second);
    drop(disk);
    must_del("f");
}

/* qemu-io and qemu-img speak the same lock bytes. */
static void test_locks_qemu(void)
{
    g_autofree char *tool = g_find_program_in_path("qemu-io");
    if (!tool) {
        g_test_skip("qemu-io is not installed");
        return;
    }
    g_autofree char *path = make_image("qemu.img", SIZE);
    must_add_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\"}", path));
    Disk *disk = use_node("f", false);
    uint8_t buf[4096];
    memset(buf, 0x5a, sizeof(buf));
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 8192, buf, sizeof(buf)), ==, 0);
    const char *argv[] = {tool, "-f", "raw", "-c", "write -P 1 0 512", path, NULL};
    g_autofree char *out = NULL, *errors = NULL;
    int status;
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, 0, NULL, NULL, &out, &errors, &status, NULL));
    g_assert_nonnull(strstr(errors, "lock"));
    drop(disk);
    must_del("f");
    argv[4] = "read -P 0x5a 8192 4096";
    g_autofree char *out2 = NULL;
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, 0, NULL, NULL, &out2, NULL, &status, NULL));
    g_assert_true(g_spawn_check_wait_status(status, NULL));
    g_assert_null(strstr(out2, "failed"));
}

/* Writes numbered sectors, each flushed, and tells the parent; the parent kills it at some point. */
static void child_writes(const char *path, int fd)
{
    GError *err = NULL;
    BlockNode *node = blockdev_add(parse("{\"driver\":\"file\",\"node-name\":\"child\",\"filename\":\"%s\"}", path), &err);
    Disk *disk = disk_new("", node, &err);
    DiskUse use = {0};
    if (!disk_start_use(disk, NULL, &use, domain, &err))
        _exit(2);
    uint8_t buf[512];
    for (uint32_t i = 0; i < SIZE / 512; i++) {
        memset(buf, (int)(i % 251 + 1), sizeof(buf));
        if (run_buf(disk, BLOCK_WRITE, i * 512ull, buf, 512) || run(disk, BLOCK_FLUSH, 0, 0, NULL, 0, 0))
            _exit(3);
        if (write(fd, &i, sizeof(i)) != sizeof(i))
            _exit(4);
    }
    _exit(0);
}

static void test_kill(void)
{
    g_autofree char *path = make_image("kill.img", SIZE);
    int fds[2];
    g_assert_cmpint(pipe(fds), ==, 0);
    pid_t pid = fork();
    if (!pid) {
        /* a loop of its own: an io_uring does not survive a fork */
        domain = domain_new("child", NULL);
        child_writes(path, fds[1]);
    }
    close(fds[1]);
    uint32_t last = 0;
    for (unsigned i = 0; i < 50; i++)
        g_assert_cmpint(read(fds[0], &last, sizeof(last)), ==, sizeof(last));
    kill(pid, SIGKILL);
    int status;
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    while (read(fds[0], &last, sizeof(last)) == sizeof(last))
        ;
    close(fds[0]);
    g_autofree char *data = NULL;
    g_assert_true(g_file_get_contents(path, &data, NULL, NULL));
    for (uint32_t i = 0; i <= last; i++)
        g_assert_cmpuint((uint8_t)data[i * 512], ==, i % 251 + 1);
    /* the dead process holds no lock */
    must_add_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",\"locking\":\"on\"}", path));
    drop(use_node("f", false));
    must_del("f");
}

/* ---- failures ---- */

/* The host refuses to let the file grow: a write that straddles the limit is cut short, then fails. */
static void test_host_errors(gconstpointer data)
{
    const Mode *mode = data;
    if (!mode_works(mode)) {
        g_test_skip("io_uring is not allowed here");
        return;
    }
    g_autofree char *path = make_image("limit.img", 65536);
    signal(SIGXFSZ, SIG_IGN);
    must_add_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\",%s}", path, mode->options));
    Disk *disk = use_node("f", false);
    void *mem = NULL;
    g_assert_cmpint(posix_memalign(&mem, 4096, 65536), ==, 0);
    memset(mem, 3, 65536);
    struct rlimit old, limit;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = 32768;
    setrlimit(RLIMIT_FSIZE, &limit);
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 40960, mem, 4096), ==, -EFBIG);
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 16384, mem, 32768), ==, -EFBIG);
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 0, mem, 4096), ==, 0);
    setrlimit(RLIMIT_FSIZE, &old);
    g_assert_cmpuint(disk_stats(disk)->failed[BLOCK_WRITE], ==, 2);
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 40960, mem, 4096), ==, 0);
    /* what the policy says */
    g_assert_cmpint(disk_error(disk, BLOCK_READ, -EIO), ==, DISK_ACTION_REPORT);
    disk_set_on_error(disk, DISK_ON_ERROR_IGNORE, DISK_ON_ERROR_IGNORE);
    g_assert_cmpint(disk_error(disk, BLOCK_READ, -EIO), ==, DISK_ACTION_IGNORE);
    g_assert_cmpint(disk_error(disk, BLOCK_WRITE, -EINVAL), ==, DISK_ACTION_REPORT);
    /* the file shrinks behind our back: zeroes */
    g_assert_cmpint(truncate(path, 8192), ==, 0);
    g_assert_cmpint(run_buf(disk, BLOCK_READ, 4096, mem, 8192), ==, 0);
    g_assert_cmpuint(((uint8_t *)mem)[4096], ==, 0);
    free(mem);
    drop(disk);
    must_del("f");
}

static void test_resize(void)
{
    g_autofree char *path = make_image("resize.img", SIZE);
    must_add_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"%s\"}", path));
    must_add_node(parse("{\"driver\":\"raw\",\"node-name\":\"r\",\"file\":\"f\"}"));
    Disk *disk = use_node("r", false);
    GError *err = NULL;
    g_assert_true(block_resize(NULL, "r", 2 * SIZE, &err));
    g_assert_cmpuint(disk_length(disk), ==, 2 * SIZE);
    uint8_t buf[512] = {1};
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 2 * SIZE - 512, buf, 512), ==, 0);
    g_assert_false(block_resize(NULL, "nobody", SIZE, &err));
    g_clear_error(&err);
    g_assert_false(block_resize(NULL, "r", UINT64_MAX, &err));
    g_clear_error(&err);
    drop(disk);
    must_del("r");
    must_del("f");
}

static void test_fdset(void)
{
    g_autofree char *path = make_image("fdset.img", SIZE);
    GError *err = NULL;
    int64_t set;
    g_assert_true(fdset_add(open(path, O_RDONLY), true, 5, "ro", &set, &err));
    refuse_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"/dev/fdset/5\"}"), "/dev/fdset/5");
    must_add_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"/dev/fdset/5\",\"auto-read-only\":true}"));
    g_assert_true(block_node_find("f")->read_only);
    must_del("f");
    g_assert_true(fdset_add(open(path, O_RDWR), true, 5, NULL, &set, &err));
    must_add_node(parse("{\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"/dev/fdset/5\"}"));
    Disk *disk = use_node("f", false);
    uint8_t buf[512] = {9};
    g_assert_cmpint(run_buf(disk, BLOCK_WRITE, 0, buf, 512), ==, 0);
    drop(disk);
    must_del("f");
    json_object *list = fdset_query();
    g_assert_cmpuint(json_object_array_length(list), ==, 1);
    json_object_put(list);
    g_assert_false(fdset_remove(6, false, 0, &err));
    g_clear_error(&err);
    g_assert_true(fdset_remove(5, false, 0, &err));
    g_assert_false(fdset_add(9999, false, 0, NULL, &set, &err));
    g_clear_error(&err);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("rhea-block-XXXXXX", NULL);
    domain = domain_new("main", g_main_context_default());
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        g_autofree char *content = g_strdup_printf("/block/content/%s", modes[i].name);
        g_autofree char *concurrent = g_strdup_printf("/block/concurrent/%s", modes[i].name);
        g_test_add_data_func(content, &modes[i], test_content);
        g_test_add_data_func(concurrent, &modes[i], test_concurrent);
        if (i < 2) {
            g_autofree char *errors = g_strdup_printf("/block/host-errors/%s", modes[i].name);
            g_test_add_data_func(errors, &modes[i], test_host_errors);
        }
    }
    g_test_add_func("/block/bounds", test_bounds);
    g_test_add_func("/block/discard", test_discard);
    g_test_add_func("/block/detect-zeroes", test_detect_zeroes);
    g_test_add_func("/block/raw-part", test_raw_part);
    g_test_add_func("/block/options", test_options);
    g_test_add_func("/block/nested", test_nested);
    g_test_add_func("/block/drive", test_drive);
    g_test_add_func("/block/locks", test_locks);
    g_test_add_func("/block/locks-qemu", test_locks_qemu);
    g_test_add_func("/block/kill", test_kill);
    g_test_add_func("/block/resize", test_resize);
    g_test_add_func("/block/fdset", test_fdset);
    int ret = g_test_run();
    const char *argv_rm[] = {"rm", "-rf", dir, NULL};
    g_spawn_sync(NULL, (char **)argv_rm, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    domain_free(domain);
    return ret;
}
