/*
 * secret objects: data from the command line or a file, raw or base64, in the clear or encrypted with another secret
 * (AES-256 in CBC mode, RFC 3602; padding as in PKCS #7, RFC 5652 §6.3). The bytes can't be read back over QMP.
 */
#include "system/secret.h"

#include <json-c/json.h>
#include <nettle/aes.h>
#include <nettle/cbc.h>
#include <string.h>

enum { KEY_SIZE = 32, SECRET_MAX = 1 << 20 };

typedef struct {
    Object obj;
    char *data, *file, *keyid, *iv;
    int format;
    uint8_t *bytes;   /* [len + 1], the last one zero */
    size_t len;
} Secret;

static const char *const formats[] = { "raw", "base64", NULL };
enum { FORMAT_RAW, FORMAT_BASE64 };

static void wipe(void *bytes, size_t len)
{
    if (bytes)
        explicit_bzero(bytes, len);
}

static json_object *hidden_get(Object *obj, const Property *prop, GError **err)
{
    error_set(err, "secret '%s': its data can't be read back", obj->id);
    return NULL;
}

static bool load(Secret *secret, GError **err)
{
    gsize len;
    if (!secret->data == !secret->file) {
        error_set(err, "secret '%s': it takes either data or file, not %s", secret->obj.id, secret->data ? "both" : "neither");
        return false;
    }
    if (secret->data) {
        secret->bytes = (uint8_t *)g_strdup(secret->data);
        secret->len = strlen(secret->data);
        return true;
    }
    g_autoptr(GError) problem = NULL;
    if (!g_file_get_contents(secret->file, (char **)&secret->bytes, &len, &problem)) {
        error_set(err, "secret '%s': %s", secret->obj.id, problem->message);
        return false;
    }
    secret->len = len;
    if (len <= SECRET_MAX)
        return true;
    error_set(err, "secret '%s': file '%s' has %zu bytes: %d are the most", secret->obj.id, secret->file, len, SECRET_MAX);
    return false;
}

/* Strict: GLib's decoder skips what is not base64. (owned) */
static uint8_t *decode_base64(const char *text, size_t *len)
{
    g_autofree char *packed = g_malloc(strlen(text) + 1);
    size_t n = 0;
    for (; *text; text++)
        if (!g_ascii_isspace(*text))
            packed[n++] = *text;
    packed[n] = '\0';
    size_t body = strspn(packed, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    size_t padding = strspn(packed + body, "=");
    uint8_t *bytes = NULL;
    if (body + padding == n && n % 4 == 0 && padding <= 2)
        bytes = g_base64_decode(packed, len);
    wipe(packed, n);
    return bytes;
}

/* Takes the place of secret->bytes, with the zero byte behind. */
static void replace_bytes(Secret *secret, uint8_t *bytes, size_t len)
{
    wipe(secret->bytes, secret->len);
    g_free(secret->bytes);
    secret->bytes = g_realloc(bytes, len + 1);
    secret->bytes[len] = 0;
    secret->len = len;
}

static bool decode(Secret *secret, GError **err)
{
    size_t len;
    uint8_t *bytes = strlen((char *)secret->bytes) == secret->len ? decode_base64((char *)secret->bytes, &len) : NULL;
    if (!bytes) {
        error_set(err, "secret '%s': its data is not base64", secret->obj.id);
        return false;
    }
    replace_bytes(secret, bytes, len);
    return true;
}

static bool decrypt(Secret *secret, GError **err)
{
    size_t key_len, iv_len = 0;
    const uint8_t *key = secret_find(secret->keyid, &key_len, err);
    if (!key)
        return false;
    g_autofree uint8_t *iv = secret->iv ? decode_base64(secret->iv, &iv_len) : NULL;
    const char *problem = NULL;
    if (key_len != KEY_SIZE)
        problem = "the key must have 32 bytes";
    else if (iv_len != AES_BLOCK_SIZE)
        problem = "iv must be the base64 of 16 bytes";
    else if (secret->format != FORMAT_BASE64)
        problem = "encrypted data must come in format=base64";
    else if (!secret->len || secret->len % AES_BLOCK_SIZE)
        problem = "encrypted data must be a multiple of 16 bytes";
    if (problem) {
        error_set(err, "secret '%s': %s", secret->obj.id, problem);
        return false;
    }
    struct aes256_ctx aes;
    uint8_t *plain = g_malloc(secret->len + 1);
    aes256_set_decrypt_key(&aes, key);
    cbc_decrypt(&aes, (nettle_cipher_func *)aes256_decrypt, AES_BLOCK_SIZE, iv, secret->len, plain, secret->bytes);
    wipe(&aes, sizeof(aes));
    size_t len = secret->len;
    uint8_t padding = plain[len - 1];
    bool ok = padding && padding <= AES_BLOCK_SIZE;
    for (unsigned i = 0; ok && i < padding; i++)
        ok = plain[len - 1 - i] == padding;
    if (!ok) {
        wipe(plain, len);
        g_free(plain);
        error_set(err, "secret '%s': its data can't be decrypted with key '%s'", secret->obj.id, secret->keyid);
        return false;
    }
    replace_bytes(secret, plain, len - padding);
    return true;
}

static bool secret_complete(Object *obj, GError **err)
{
    Secret *secret = (Secret *)obj;
    if (!load(secret, err) || (secret->format == FORMAT_BASE64 && !decode(secret, err)))
        return false;
    if (secret->iv && !secret->keyid) {
        error_set(err, "secret '%s': iv needs keyid", obj->id);
        return false;
    }
    return !secret->keyid || decrypt(secret, err);
}

static void secret_finalize(Object *obj)
{
    Secret *secret = (Secret *)obj;
    wipe(secret->bytes, secret->len);
    wipe(secret->data, secret->data ? strlen(secret->data) : 0);
    g_free(secret->bytes);
}

static const Property secret_props[] = {
    { .name = "data", .kind = PROP_KIND_STR, .offset = offsetof(Secret, data), .get = hidden_get, .help = "the secret itself" },
    PROP_STR("file", Secret, file, NULL, "file with the secret"),
    { .name = "format", .kind = PROP_KIND_ENUM, .type = "QCryptoSecretFormat", .offset = offsetof(Secret, format), .names = formats, .help = "how data or file is written" },
    PROP_STR("keyid", Secret, keyid, NULL, "id of the secret whose 32 bytes encrypt this one (AES-256-CBC)"),
    PROP_STR("iv", Secret, iv, NULL, "base64 of the 16 bytes initialisation vector"),
    PROP_END
};

static const ObjectClass secret_class = {
    .name = TYPE_SECRET, .desc = "a password or key for other options", .size = sizeof(Secret), .props = secret_props,
    .complete = secret_complete, .finalize = secret_finalize,
};
REGISTER_OBJECT(secret_class)

const uint8_t *secret_find(const char *id, size_t *len, GError **err)
{
    Object *obj = user_object_find(id);
    if (!obj || !object_is_a(obj, TYPE_SECRET)) {
        error_set(err, "there is no secret with the id '%s'", id);
        return NULL;
    }
    *len = ((Secret *)obj)->len;
    return ((Secret *)obj)->bytes;
}
