/* SPDX-License-Identifier: MIT */
/* What is derived from a secret and from a key file, against values that Python's hashlib and hmac
 * have computed; what is said of a bad one. */
#include "core/base/error.h"
#include "core/net/secret.h"

#include "check.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static aco_secret *
secret_of(const char *text)
{
    struct aco_secret_options options = {.secret = text, .secret_size = strlen(text)};
    aco_secret *secret = NULL;
    char *why = NULL;

    CHECK(aco_secret_new(&options, &secret, &why) == ACO_OK && why == NULL);
    return secret;
}

static void
key_check(const aco_secret *secret, const char *purpose, const char *expected)
{
    uint8_t key[ACO_SECRET_KEY];
    char text[2 * ACO_SECRET_KEY + 1];

    aco_secret_key(secret, purpose, key);
    for (size_t i = 0; i < sizeof key; i++)
        snprintf(text + 2 * i, 3, "%02x", key[i]);
    CHECK(strcmp(text, expected) == 0);
}

/* base = hashlib.scrypt(b"correct horse battery staple", salt=b"asyncoro 1 psk", n=1<<15, r=8, p=1,
 * dklen=64)[32:]; hmac.new(base, b"discovery\1", "sha256") */
static void
test_secret(void)
{
    aco_secret *secret = secret_of("correct horse battery staple");

    CHECK(aco_secret_mode(secret) == ACO_MODE_SECRET && aco_secret_warning(secret) == NULL);
    key_check(secret, "discovery",
              "f0765ae48625144cc23608f3b696fc4bc5a2d66c5a6b42796e5b9f26f879c7fa");
    aco_secret_unref(aco_secret_ref(secret));
    aco_secret_unref(secret);
    aco_secret_unref(NULL);
}

/* base = hmac.new(bytes(32), bytes(range(32)), "sha256"); hmac.new(base, b"asyncoro key\1", ...) */
static void
test_key_file(void)
{
    char path[] = "/tmp/asyncoro-secret-XXXXXX", *why = NULL;
    struct aco_secret_options options = {.key_path = path};
    uint8_t bytes[32];
    aco_secret *secret = NULL;
    int fd = mkostemp(path, O_CLOEXEC);

    for (uint8_t i = 0; i < sizeof bytes; i++)
        bytes[i] = i;
    CHECK(fd >= 0 && write(fd, bytes, sizeof bytes) == sizeof bytes);
    CHECK(aco_secret_new(&options, &secret, &why) == ACO_OK);
    CHECK(aco_secret_mode(secret) == ACO_MODE_KEY && aco_secret_warning(secret) == NULL);
    key_check(secret, "discovery",
              "40def611baecb25e43b558b53c7e2152f14baa1f6afcc13dba6d5bc0968dc5fa");
    key_check(secret, "asyncoro key",
              "03d63a63c796b1a262a1aef90dfa7e4c2879a23729617eb46aab48c4e5d91a55");
    CHECK(aco_secret_reload(secret, &why) == ACO_OK); /* nothing to do */
    aco_secret_unref(secret);
    CHECK(ftruncate(fd, 5) == 0);
    CHECK(aco_secret_new(&options, &secret, &why) == ACO_EINVALID && strstr(why, path) != NULL);
    free(why);
    close(fd);
    unlink(path);
}

static void
test_weak(void)
{
    static const char *const weak[] = {"short", "nineteen characters",
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

    for (size_t i = 0; i < sizeof weak / sizeof *weak; i++) {
        aco_secret *secret = secret_of(weak[i]);
        CHECK(aco_secret_warning(secret) != NULL);
        CHECK(strstr(aco_secret_warning(secret), "asyncoro secret") != NULL);
        aco_secret_unref(secret);
    }
}

static void
refused(const struct aco_secret_options *options, int expected, const char *word)
{
    aco_secret *secret = NULL;
    char *why = NULL;

    CHECK(aco_secret_new(options, &secret, &why) == expected && secret == NULL);
    CHECK(why != NULL && strstr(why, word) != NULL);
    free(why);
}

static void
test_refused(void)
{
    refused(&(struct aco_secret_options){.secret = ""}, ACO_EINVALID, "empty");
    refused(&(struct aco_secret_options){.certfile = "/none"}, ACO_EINVALID, "cafile");
    refused(&(struct aco_secret_options){.cafile = "/none"}, ACO_EINVALID, "certfile");
    refused(&(struct aco_secret_options){.certfile = "/none.pem", .cafile = "/none"}, ACO_ENOTFOUND,
            "/none.pem");
}

int
main(void)
{
    test_secret();
    test_key_file();
    test_weak();
    test_refused();
    return 0;
}
