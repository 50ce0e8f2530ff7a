/* The objects that -object makes: memory, iothreads, random numbers, secrets. */
#include <json-c/json.h>
#include <rhea/iothread.h>
#include <rhea/rng.h>

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "system/memory-backend.h"
#include "system/iothread.h"
#include "system/secret.h"
#include "util/keyval.h"

static char *dir;

static Object *add(const char *text, GError **err)
{
    json_object *options = keyval_parse(text, "qom-type", 0, err);
    g_assert_nonnull(options);
    Object *obj = user_object_add(options, err);
    json_object_put(options);
    return obj;
}

static Object *add_ok(const char *text)
{
    g_autoptr(GError) err = NULL;
    Object *obj = add(text, &err);
    g_assert_no_error(err);
    return obj;
}

static void add_refused(const char *text, const char *message)
{
    g_autoptr(GError) err = NULL;
    g_assert_null(add(text, &err));
    g_assert_cmpstr(err->message, ==, message);
}

static void del(const char *id)
{
    g_autoptr(GError) err = NULL;
    g_assert_true(user_object_del(id, &err));
}

/* ---- memory ---- */

static void test_memory(void)
{
    Object *obj = add_ok("memory-backend-ram,id=m,size=4M,prealloc=on,prealloc-threads=3");
    RamBlock *ram = memory_backend_ram(obj);
    g_assert_cmpstr(ram->name, ==, "/objects/m");
    g_assert_cmpuint(ram->size, ==, 4 * MIB);
    g_assert_cmpint(ram->fd, ==, -1);
    unsigned char present[1024] = { 0 };
    g_assert_cmpint(mincore(ram->host, ram->size, present), ==, 0);
    g_assert_true(present[0] & 1 && present[1023] & 1);
    g_autoptr(GError) err = NULL;
    Object *one = object_get_container("/one"), *two = object_get_container("/two");
    g_assert_null(memory_backend_take(obj, one, 5 * MIB, &err));
    g_assert_cmpstr(err->message, ==, "memory back end 'm' has 4194304 bytes, 5242880 are needed");
    g_clear_error(&err);
    g_assert_true(memory_backend_take(obj, one, 4 * MIB, &err) == ram);
    g_assert_null(memory_backend_take(obj, two, 4 * MIB, &err));
    g_assert_cmpstr(err->message, ==, "memory back end 'm' is in use already");
    g_clear_error(&err);
    ram_block_free(ram);
    g_assert_false(user_object_del("m", &err));
    g_assert_cmpstr(err->message, ==, "memory back end 'm' is in use and can't be deleted");
    memory_backend_release(obj, one);
    del("m");

    obj = add_ok("memory-backend-ram,id=pc.ram,size=1M,share=on,x-use-canonical-path-for-ramblock-id=off");
    g_assert_cmpstr(memory_backend_ram(obj)->name, ==, "pc.ram");
    g_assert_cmpint(memory_backend_ram(obj)->fd, >=, 0);
    del("pc.ram");
    obj = add_ok("memory-backend-memfd,id=m,size=2M");
    int fd = memory_backend_ram(obj)->fd;
    g_assert_cmpint(fcntl(fd, F_GET_SEALS), ==, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    json_object *list = memory_backends_query();
    g_assert_cmpstr(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN), ==,
                    "[{\"id\":\"m\",\"size\":2097152,\"merge\":true,\"dump\":true,\"prealloc\":false,\"share\":true,"
                    "\"host-nodes\":[],\"policy\":\"default\"}]");
    json_object_put(list);
    del("m");
}

static void test_memory_file(void)
{
    g_autofree char *path = g_build_filename(dir, "ram", NULL);
    g_autofree char *text = g_strdup_printf("memory-backend-file,id=m,size=1M,share=on,mem-path=%s", path);
    Object *obj = add_ok(text);
    memcpy(memory_backend_ram(obj)->host + 4096, "guest", 6);
    del("m");
    g_autofree char *contents = NULL;
    gsize len;
    g_assert_true(g_file_get_contents(path, &contents, &len, NULL));
    g_assert_cmpuint(len, ==, MIB);
    g_assert_cmpstr(contents + 4096, ==, "guest");
    g_autofree char *ro = g_strdup_printf("memory-backend-file,id=m,size=1M,readonly=on,mem-path=%s", path);
    obj = add_ok(ro);
    memory_backend_ram(obj)->host[4096] = 'G';
    del("m");
    g_autofree char *big = g_strdup_printf("memory-backend-file,id=m,size=2M,readonly=on,mem-path=%s", path);
    add_refused(big, "memory-backend-file 'm': the file behind memory '/objects/m' has 1048576 bytes, 2097152 are needed");
    g_autofree char *in_dir = g_strdup_printf("memory-backend-file,id=m,size=1M,share=on,mem-path=%s", dir);
    obj = add_ok(in_dir);
    del("m");
    g_unlink(path);
    g_autoptr(GDir) left = g_dir_open(dir, 0, NULL);
    g_assert_null(g_dir_read_name(left));
}

static void test_memory_refused(void)
{
    add_refused("memory-backend-ram,id=m", "memory-backend-ram: property 'size' must be given: size in bytes, or such as 512M");
    add_refused("memory-backend-ram,id=m,size=0", "memory-backend-ram 'm': property 'size' can't be 0: it takes a multiple of 4096 bytes, such as 512M");
    add_refused("memory-backend-ram,id=m,size=1M,host-nodes=x",
                "memory-backend-ram: property 'host-nodes' can't be \"x\": it takes node numbers from 0 to 127, such as 0 or 0-3");
    add_refused("memory-backend-ram,id=m,size=1M,host-nodes=0",
                "memory-backend-ram 'm': host-nodes needs a policy: preferred, bind or interleave");
    add_refused("memory-backend-ram,id=m,size=1M,policy=bind", "memory-backend-ram 'm': policy 'bind' needs host-nodes");
    add_refused("memory-backend-memfd,id=m,size=2M,hugetlbsize=2M", "memory-backend-memfd 'm': hugetlbsize needs hugetlb=on");
    add_refused("memory-backend-file,id=m,size=1M", "memory-backend-file: property 'mem-path' must be given: the file, or a directory for a new one");
    add_refused("memory-backend-file,id=m,size=1M,mem-path=/nowhere/x",
                "memory-backend-file 'm': can't open mem-path '/nowhere/x': No such file or directory");
}

static void test_numa(void)
{
    g_autoptr(GError) err = NULL;
    Object *obj = add("memory-backend-ram,id=m,size=1M,host-nodes=0,policy=bind", &err);
    if (!obj) { /* a host kernel without NUMA, or a sandbox */
        g_assert_true(g_str_has_prefix(err->message, "memory-backend-ram 'm': the host can't bind memory"));
        g_test_skip("no mbind here");
        return;
    }
    del("m");
}

/* ---- iothreads ---- */

static void set_flag(void *opaque)
{
    g_assert_true(domain_is_locked(iothread_domain(user_object_find("io"))));
    __atomic_store_n((pid_t *)opaque, gettid(), __ATOMIC_SEQ_CST);
}

static pid_t run_there(Object *io)
{
    pid_t there = 0;
    domain_post(iothread_domain(io), set_flag, &there);
    for (unsigned i = 0; i < 50000 && !__atomic_load_n(&there, __ATOMIC_SEQ_CST); i++)
        g_usleep(100);
    return there;
}

static void test_iothread(void)
{
    Object *io = add_ok("iothread,id=io,poll-max-ns=200000,poll-grow=3");
    json_object *list = iothreads_query();
    json_object *entry = json_object_array_get_idx(list, 0);
    g_assert_cmpstr(json_object_get_string(json_object_object_get(entry, "id")), ==, "io");
    g_assert_cmpint(json_object_get_int(json_object_object_get(entry, "poll-max-ns")), ==, 200000);
    for (unsigned i = 0; i < 200; i++) /* grows the busy part, which must still see other threads' posts */
        g_assert_cmpint(run_there(io), ==, json_object_get_int(json_object_object_get(entry, "thread-id")));
    json_object_put(list);
    g_autoptr(GError) err = NULL;
    g_assert_true(object_set_uint(io, "poll-max-ns", 0, &err));
    g_assert_cmpint(run_there(io), !=, 0);
    g_assert_false(object_set_text(io, "poll-max-ns", "-1", &err));
    g_assert_cmpstr(err->message, ==, "iothread 'io': property 'poll-max-ns' can't be '-1': it takes a number from 0 to 1000000000");
    del("io");
}

/* ---- random numbers ---- */

typedef struct {
    size_t len;
    int errnum;
    unsigned calls;
    uint8_t bytes[64];
} Taken;

static void take(void *opaque, const uint8_t *bytes, size_t len, int errnum)
{
    Taken *taken = opaque;
    taken->calls++;
    taken->len = len;
    taken->errnum = errnum;
    if (len)
        memcpy(taken->bytes, bytes, len);
}

static Taken request(Object *rng, Domain *domain, size_t max)
{
    Taken taken = { 0 };
    rng_request(rng, domain, max, take, &taken);
    g_assert_cmpuint(taken.calls, ==, 0);
    for (unsigned i = 0; i < 100 && !taken.calls; i++)
        domain_iterate(domain, true);
    g_assert_cmpuint(taken.calls, ==, 1);
    return taken;
}

static void test_rng(void)
{
    Domain *domain = domain_new("test", NULL);
    domain_lock(domain);
    Object *rng = add_ok("rng-builtin,id=r");
    Taken first = request(rng, domain, 64), second = request(rng, domain, 64);
    g_assert_cmpuint(first.len, ==, 64);
    g_assert_true(memcmp(first.bytes, second.bytes, 64));
    Taken never = { 0 };
    rng_cancel(rng_request(rng, domain, 8, take, &never));
    domain_iterate(domain, false);
    g_assert_cmpuint(never.calls, ==, 0);
    del("r");

    rng = add_ok("rng-random,id=r");
    g_assert_cmpuint(request(rng, domain, 16).len, ==, 16);
    del("r");
    g_autofree char *path = g_build_filename(dir, "bytes", NULL);
    g_assert_true(g_file_set_contents(path, "abc", 3, NULL));
    g_autofree char *text = g_strdup_printf("rng-random,id=r,filename=%s", path);
    rng = add_ok(text);
    Taken abc = request(rng, domain, 16);
    g_assert_cmpmem(abc.bytes, abc.len, "abc", 3);
    g_assert_cmpint(request(rng, domain, 16).errnum, ==, ENODATA);
    del("r");
    g_unlink(path);
    add_refused("rng-random,id=r,filename=/nowhere", "rng-random 'r': can't open '/nowhere': No such file or directory");
    add_refused("rng-random,id=r,filename=/", "rng-random 'r': '/' is a directory");
    domain_unlock(domain);
    domain_free(domain);
}

/* ---- secrets ---- */

static void check_secret(const char *text, const char *expected)
{
    g_autoptr(GError) err = NULL;
    size_t len;
    add_ok(text);
    const uint8_t *bytes = secret_find("s", &len, &err);
    g_assert_cmpmem(bytes, len, expected, strlen(expected));
    g_assert_cmpint(bytes[len], ==, 0);
    g_assert_null(object_get_json(user_object_find("s"), "data", &err));
    g_assert_cmpstr(err->message, ==, "secret 's': its data can't be read back");
    del("s");
}

static void test_secret(void)
{
    check_secret("secret,id=s,data=letmein", "letmein");
    check_secret("secret,id=s,data=bGV0bWVpbg==,format=base64", "letmein");
    g_autofree char *path = g_build_filename(dir, "secret", NULL);
    g_assert_true(g_file_set_contents(path, "bGV0\nbWVpbg==\n", -1, NULL));
    g_autofree char *text = g_strdup_printf("secret,id=s,format=base64,file=%s", path);
    check_secret(text, "letmein");
    g_unlink(path);

    /* made with: printf letmein | openssl enc -aes-256-cbc -K 000102..1f -iv 000102..0f -base64 */
    add_ok("secret,id=k,data=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,format=base64");
    check_secret("secret,id=s,format=base64,keyid=k,iv=AAECAwQFBgcICQoLDA0ODw==,data=SI4JuWqmJF8bjD9IJ662eg==", "letmein");
    add_refused("secret,id=s,format=base64,keyid=k,iv=AAEC,data=AAECAwQFBgcICQoLDA0ODw==",
                "secret 's': iv must be the base64 of 16 bytes");
    add_refused("secret,id=s,format=base64,keyid=k,iv=AAECAwQFBgcICQoLDA0ODw==,data=AAECAwQFBgcICQoLDA0ODw==",
                "secret 's': its data can't be decrypted with key 'k'");
    add_refused("secret,id=s,keyid=k,iv=AAECAwQFBgcICQoLDA0ODw==,data=x", "secret 's': encrypted data must come in format=base64");
    del("k");
    add_refused("secret,id=s", "secret 's': it takes either data or file, not neither");
    add_refused("secret,id=s,data=x,file=y", "secret 's': it takes either data or file, not both");
    add_refused("secret,id=s,data=x!,format=base64", "secret 's': its data is not base64");
    add_refused("secret,id=s,data=x,keyid=none", "there is no secret with the id 'none'");
    add_refused("secret,id=s,data=x,iv=AAAA", "secret 's': iv needs keyid");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("rhea-objects-XXXXXX", NULL);
    g_test_add_func("/memory/kinds", test_memory);
    g_test_add_func("/memory/file", test_memory_file);
    g_test_add_func("/memory/refused", test_memory_refused);
    g_test_add_func("/memory/numa", test_numa);
    g_test_add_func("/iothread", test_iothread);
    g_test_add_func("/rng", test_rng);
    g_test_add_func("/secret", test_secret);
    int status = g_test_run();
    g_rmdir(dir);
    g_free(dir);
    return status;
}
