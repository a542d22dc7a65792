/* SPDX-License-Identifier: MIT */
#include "core/net/secret.h"
#include "core/base/error.h"
#include "core/io/certificate.h"
#include "core/net/key.h"
#include "core/net/secure.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The cost of stretching a secret: 2^15 rounds over 8 blocks take 75 ms and 32 MiB. */
enum { SCRYPT_N = 1 << 15, SCRYPT_R = 8, SCRYPT_P = 1, SCRYPT_MEMORY = 64 << 20 };
enum { PSK = 32, BASE = 32, SHORT = 20, VARIETY = 8 };
enum { CHAIN = 64 * 1024 }; /* bytes of certificates that a stranger may send */

static const char salt[] = "asyncoro 1 psk";
static const char psk_name[] = "asyncoro";
static const uint8_t psk_suite[] = {0x13, 0x01}; /* TLS_AES_128_GCM_SHA256 */

struct aco_secret {
    atomic_uint refs;
    enum aco_mode mode;
    uint8_t base[BASE]; /* of which all keys are made */
    uint8_t psk[PSK];
    bool is_weak;
    char *certfile, *keyfile, *cafile;
    pthread_mutex_t lock; /* guards what follows */
    SSL_CTX *server, *client;
};

/* Keys ----------------------------------------------------------------------------------------- */

void
aco_secret_key(const aco_secret *secret, const char *purpose, uint8_t key[ACO_SECRET_KEY])
{
    uint8_t info[64];
    unsigned size = ACO_SECRET_KEY;
    size_t length = strnlen(purpose, sizeof info - 1);

    /* one block of HKDF-Expand (RFC 5869) */
    memcpy(info, purpose, length);
    info[length] = 1;
    HMAC(EVP_sha256(), secret->base, BASE, info, length + 1, key, &size);
}

static int
base_of_key_file(aco_secret *secret, const char *given, char **why)
{
    static const uint8_t no_salt[BASE];
    uint8_t key[ACO_KEY_SIZE];
    char *path = given != NULL ? strdup(given) : aco_key_path();
    unsigned size = BASE;

    if (path == NULL)
        return aco_err_why(
            why, ACO_ENOTFOUND,
            "this user has no home folder for a key file: set HOME, or give a secret");
    int err = aco_key_read(path, key, why);
    free(path);
    /* HKDF-Extract (RFC 5869) without a salt */
    if (err == ACO_OK) HMAC(EVP_sha256(), no_salt, BASE, key, sizeof key, secret->base, &size);
    explicit_bzero(key, sizeof key);
    return err;
}

/* How many different bytes are in it. */
static int
variety(const char *text, size_t size)
{
    bool seen[256] = {false};
    int count = 0;

    for (size_t i = 0; i < size; i++) {
        bool *at = &seen[(unsigned char)text[i]];
        count += !*at;
        *at = true;
    }
    return count;
}

static int
base_of_secret(aco_secret *secret, const char *text, size_t size, char **why)
{
    uint8_t stretched[PSK + BASE];

    if (size == 0)
        return aco_err_why(
            why, ACO_EINVALID,
            "the secret is empty: `asyncoro secret FILE` makes one, or leave it out");
    secret->is_weak = size < SHORT || variety(text, size) < VARIETY;
    if (EVP_PBE_scrypt(text, size, (const uint8_t *)salt, sizeof salt - 1, SCRYPT_N, SCRYPT_R,
                       SCRYPT_P, SCRYPT_MEMORY, stretched, sizeof stretched) != 1)
        return aco_err_why(why, ACO_EUNSUPPORTED, "OpenSSL cannot stretch the secret (scrypt)");
    memcpy(secret->psk, stretched, PSK);
    memcpy(secret->base, stretched + PSK, BASE);
    explicit_bzero(stretched, sizeof stretched);
    return ACO_OK;
}

/* Secrets -------------------------------------------------------------------------------------- */

/* The session that a pre-shared key stands for. */
static SSL_SESSION *
psk_session(SSL *ssl, const aco_secret *secret)
{
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, psk_suite);
    SSL_SESSION *session = SSL_SESSION_new();

    if (session != NULL && cipher != NULL &&
        SSL_SESSION_set1_master_key(session, secret->psk, PSK) == 1 &&
        SSL_SESSION_set_cipher(session, cipher) == 1 &&
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1)
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

static const aco_secret *
secret_of(SSL *ssl)
{
    return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

static int
psk_offer(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *id_size,
          SSL_SESSION **session)
{
    (void)md;
    *session = psk_session(ssl, secret_of(ssl));
    *id = (const unsigned char *)psk_name;
    *id_size = sizeof psk_name - 1;
    return *session != NULL;
}

static int
psk_find(SSL *ssl, const unsigned char *id, size_t id_size, SSL_SESSION **session)
{
    *session = NULL;
    if (id_size != sizeof psk_name - 1 || memcmp(id, psk_name, id_size) != 0) return 1;
    *session = psk_session(ssl, secret_of(ssl));
    return *session != NULL;
}

static bool
context_secret(SSL_CTX *ctx, bool server)
{
    if (SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1) return false;
    if (server)
        SSL_CTX_set_psk_find_session_callback(ctx, psk_find);
    else
        SSL_CTX_set_psk_use_session_callback(ctx, psk_offer);
    /* A server with a certificate instead of the key is nobody whom this trusts. */
    SSL_CTX_set_verify(ctx, server ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    return true;
}

/* Certificates --------------------------------------------------------------------------------- */

static int
context_certificates(const aco_secret *secret, SSL_CTX *ctx, char **why)
{
    int err = aco_certificate_use(ctx, secret->certfile, secret->keyfile, NULL, why);

    if (err == ACO_OK) err = aco_certificate_trust(ctx, secret->cafile, why);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return err;
}

/* Contexts ------------------------------------------------------------------------------------- */

static int
context_new(aco_secret *secret, bool server, SSL_CTX **out, char **why)
{
    static const unsigned char own[] = "asyncoro";
    SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    int err = ACO_OK;

    if (ctx == NULL) return ACO_ENOMEM;
    SSL_CTX_set_app_data(ctx, secret);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_max_cert_list(ctx, CHAIN);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    bool set = SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
               SSL_CTX_set_num_tickets(ctx, 0) == 1;
    if (server) {
        SSL_CTX_set_alpn_select_cb(ctx, aco_secure_choose, NULL);
        set = set && SSL_CTX_set_session_id_context(ctx, own, sizeof own - 1) == 1;
    }
    if (secret->mode == ACO_MODE_SECRET)
        set = set && context_secret(ctx, server);
    else if (set)
        err = context_certificates(secret, ctx, why);
    if (!set) err = ACO_EUNSUPPORTED;
    if (err == ACO_OK)
        *out = ctx;
    else
        SSL_CTX_free(ctx);
    ERR_clear_error();
    return err;
}

static int
contexts_make(aco_secret *secret, char **why)
{
    SSL_CTX *server = NULL, *client = NULL;
    int err = context_new(secret, true, &server, why);

    if (err == ACO_OK) err = context_new(secret, false, &client, why);
    if (err != ACO_OK) {
        SSL_CTX_free(server);
        return err;
    }
    pthread_mutex_lock(&secret->lock);
    SSL_CTX *old_server = secret->server, *old_client = secret->client;
    secret->server = server;
    secret->client = client;
    pthread_mutex_unlock(&secret->lock);
    SSL_CTX_free(old_server);
    SSL_CTX_free(old_client);
    return ACO_OK;
}

SSL *
aco_secret_connection(aco_secret *secret, bool server)
{
    pthread_mutex_lock(&secret->lock);
    SSL_CTX *ctx = server ? secret->server : secret->client;
    SSL_CTX_up_ref(ctx);
    pthread_mutex_unlock(&secret->lock);
    SSL *ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    return ssl;
}

static int
hash_order(const void *a, const void *b)
{
    return memcmp(a, b, BASE);
}

/* With certificates nothing is shared that others do not know: what is derived, from the
 * certificates that are trusted, tells clusters apart, and keeps nobody out. */
static int
base_of_authority(aco_secret *secret)
{
    STACK_OF(X509) *trusted = X509_STORE_get1_all_certs(SSL_CTX_get_cert_store(secret->client));
    size_t count = trusted != NULL ? (size_t)sk_X509_num(trusted) : 0;
    uint8_t(*hashes)[BASE] = calloc(count + 1, BASE);
    unsigned size = BASE;

    for (size_t i = 0; hashes != NULL && i < count; i++)
        (void)aco_certificate_hash(sk_X509_value(trusted, (int)i), hashes[i]);
    if (hashes != NULL) {
        qsort(hashes, count, BASE, hash_order);
        EVP_Digest(hashes, count * BASE, secret->base, &size, EVP_sha256(), NULL);
    }
    sk_X509_pop_free(trusted, X509_free);
    free(hashes);
    return hashes != NULL ? ACO_OK : ACO_ENOMEM;
}

static int
certificates_open(aco_secret *secret, const struct aco_secret_options *options, char **why)
{
    if (options->certfile == NULL || options->cafile == NULL)
        return aco_err_why(
            why, ACO_EINVALID,
            "certificates need both certfile (and keyfile) and cafile, by which those of "
            "peers are verified");
    secret->certfile = strdup(options->certfile);
    secret->cafile = strdup(options->cafile);
    if (options->keyfile != NULL) secret->keyfile = strdup(options->keyfile);
    if (secret->certfile == NULL || secret->cafile == NULL ||
        (options->keyfile != NULL && secret->keyfile == NULL))
        return ACO_ENOMEM;
    int err = contexts_make(secret, why);
    return err == ACO_OK ? base_of_authority(secret) : err;
}

static int
secret_open(aco_secret *secret, const struct aco_secret_options *options, char **why)
{
    int err;

    if (options->secret != NULL) {
        secret->mode = ACO_MODE_SECRET;
        err = base_of_secret(secret, options->secret, options->secret_size, why);
        return err == ACO_OK ? contexts_make(secret, why) : err;
    }
    if (options->certfile != NULL || options->keyfile != NULL || options->cafile != NULL) {
        secret->mode = ACO_MODE_CERTIFICATES;
        return certificates_open(secret, options, why);
    }
    secret->mode = ACO_MODE_KEY;
    return base_of_key_file(secret, options->key_path, why);
}

int
aco_secret_new(const struct aco_secret_options *options, aco_secret **out, char **why)
{
    aco_secret *secret = calloc(1, sizeof *secret);

    *why = NULL;
    if (secret == NULL) return ACO_ENOMEM;
    atomic_init(&secret->refs, 1);
    pthread_mutex_init(&secret->lock, NULL);
    int err = secret_open(secret, options, why);
    if (err == ACO_OK)
        *out = secret;
    else
        aco_secret_unref(secret);
    return err;
}

aco_secret *
aco_secret_ref(aco_secret *secret)
{
    atomic_fetch_add_explicit(&secret->refs, 1, memory_order_relaxed);
    return secret;
}

void
aco_secret_unref(aco_secret *secret)
{
    if (secret == NULL || atomic_fetch_sub(&secret->refs, 1) != 1) return;
    SSL_CTX_free(secret->server);
    SSL_CTX_free(secret->client);
    pthread_mutex_destroy(&secret->lock);
    free(secret->certfile);
    free(secret->keyfile);
    free(secret->cafile);
    explicit_bzero(secret, sizeof *secret);
    free(secret);
}

enum aco_mode
aco_secret_mode(const aco_secret *secret)
{
    return secret->mode;
}

int
aco_secret_reload(aco_secret *secret, char **why)
{
    *why = NULL;
    return secret->mode == ACO_MODE_CERTIFICATES ? contexts_make(secret, why) : ACO_OK;
}

const char *
aco_secret_warning(const aco_secret *secret)
{
    if (!secret->is_weak) return NULL;
    return "the secret is short or uniform: whoever records a connection can try out guesses; "
           "`asyncoro secret FILE` makes a good one";
}

void
aco_secret_rest(void)
{
    OPENSSL_thread_stop();
}
