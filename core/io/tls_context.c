/* SPDX-License-Identifier: MIT */
#include "core/io/tls_context.h"
#include "core/base/error.h"
#include "core/io/certificate.h"
#include "core/io/tls.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Sessions kept, one for each place connected to. */
enum { SESSIONS = 64 };

/* A certificate, and for whom it is; the first is the one for all others. */
typedef struct identity {
    char *name, *certificate, *key, *password;
    SSL_CTX *ctx;
} identity;

typedef struct session {
    char *key;
    SSL_SESSION *session;
    uint64_t used;
} session;

struct aco_tls_context {
    struct aco_tls_config config; /* its pointers are ours */
    identity *identities;
    size_t count, refs;
    session *sessions; /* SESSIONS of them, made when there is one */
    uint64_t uses;
};

/* Callbacks of OpenSSL --------------------------------------------------------------------------
 */

static bool
name_fits(const char *pattern, const char *name)
{
    if (pattern[0] != '*') return strcasecmp(pattern, name) == 0;
    const char *dot = strchr(name, '.');
    return dot != NULL && dot != name && strcasecmp(pattern + 1, dot) == 0;
}

/* An exact name goes before one with a star. */
static int
choose_identity(SSL *ssl, int *alert, void *arg)
{
    const aco_tls_context *context = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const identity *found = NULL;

    (void)alert;
    for (size_t i = 1; name != NULL && i < context->count; i++) {
        const identity *id = &context->identities[i];
        if (!name_fits(id->name, name)) continue;
        if (found == NULL || id->name[0] != '*') found = id;
    }
    if (found != NULL) SSL_set_SSL_CTX(ssl, found->ctx);
    return name != NULL ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

/* The first of ours that the client has too. */
static int
choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *size,
                const unsigned char *offered, unsigned int offered_size, void *arg)
{
    const struct aco_tls_config *config = &((const aco_tls_context *)arg)->config;
    unsigned char *found;

    (void)ssl;
    if (config->alpn_size == 0) return SSL_TLSEXT_ERR_NOACK;
    if (SSL_select_next_proto(&found, size, config->alpn, (unsigned int)config->alpn_size, offered,
                              offered_size) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *chosen = found;
    return SSL_TLSEXT_ERR_OK;
}

/* Making ----------------------------------------------------------------------------------------
 */

static int
unknown(char **error, const char *what, const char *given)
{
    ERR_clear_error();
    if (asprintf(error, "%s: OpenSSL does not know '%s'", what, given) < 0) *error = NULL;
    return ACO_EINVALID;
}

static int
version_number(int version, int usual)
{
    if (version == 0) return usual;
    return version == 2 ? TLS1_2_VERSION : TLS1_3_VERSION;
}

/* What does not come from files. */
static int
ctx_settings(SSL_CTX *ctx, aco_tls_context *context, char **error)
{
    const struct aco_tls_config *config = &context->config;
    static const unsigned char own[] = "asyncoro";

    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    /* The chain is what is in the file: to look for it among the system's certificates, at each
     * handshake, takes as long as the rest. */
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, aco_tls_new_session);
    SSL_CTX_set_tlsext_servername_callback(ctx, choose_identity);
    SSL_CTX_set_tlsext_servername_arg(ctx, context);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, context);
    if (SSL_CTX_set_session_id_context(ctx, own, sizeof own - 1) != 1 ||
        SSL_CTX_set_min_proto_version(ctx, version_number(config->oldest, TLS1_2_VERSION)) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, version_number(config->newest, 0)) != 1)
        return ACO_ENOMEM;
    if (config->alpn_size > 0 &&
        SSL_CTX_set_alpn_protos(ctx, config->alpn, (unsigned int)config->alpn_size) != 0)
        return ACO_ENOMEM;
    if (config->ciphers != NULL && SSL_CTX_set_cipher_list(ctx, config->ciphers) != 1)
        return unknown(error, "ciphers", config->ciphers);
    if (config->suites != NULL && SSL_CTX_set_ciphersuites(ctx, config->suites) != 1)
        return unknown(error, "suites", config->suites);
    return ACO_OK;
}

/* Not SSL_CTX_set_default_verify_paths, which would also read the whole folder for each certificate
 * whose issuer it does not find by its hash. */
static bool
trust_system(SSL_CTX *ctx)
{
    return SSL_CTX_set_default_verify_file(ctx) == 1 && SSL_CTX_set_default_verify_dir(ctx) == 1;
}

static int
ctx_fill(SSL_CTX *ctx, aco_tls_context *context, const identity *id, char **error)
{
    const char *ca = context->config.ca;
    int err = ctx_settings(ctx, context, error);

    if (err == ACO_OK && id->certificate != NULL)
        err = aco_certificate_use(ctx, id->certificate, id->key, id->password, error);
    if (err == ACO_OK && ca != NULL) err = aco_certificate_trust(ctx, ca, error);
    if (err == ACO_OK && ca == NULL && !context->config.insecure && !trust_system(ctx))
        err = ACO_ENOMEM;
    ERR_clear_error();
    return err;
}

static int
ctx_new(SSL_CTX **out, aco_tls_context *context, const identity *id, char **error)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());

    *error = NULL;
    ERR_clear_error();
    if (ctx == NULL) return ACO_ENOMEM;
    int err = ctx_fill(ctx, context, id, error);
    if (err == ACO_OK)
        *out = ctx;
    else
        SSL_CTX_free(ctx);
    return err;
}

static void
text_free(char *text)
{
    if (text != NULL) OPENSSL_cleanse(text, strlen(text)); /* it may be a key or a password */
    free(text);
}

static bool
text_copy(char **to, const char *from)
{
    *to = from != NULL ? strdup(from) : NULL;
    return from == NULL || *to != NULL;
}

static void
identity_fini(identity *id)
{
    free(id->name);
    text_free(id->certificate);
    text_free(id->key);
    text_free(id->password);
    SSL_CTX_free(id->ctx);
}

int
aco_tls_context_add(aco_tls_context *context, const char *name, const char *certificate,
                    const char *key, const char *password, char **error)
{
    identity id = {.ctx = NULL};
    identity *grown = realloc(context->identities, (context->count + 1) * sizeof *grown);
    int err = ACO_ENOMEM;

    *error = NULL;
    if (grown == NULL) return ACO_ENOMEM;
    context->identities = grown;
    if (text_copy(&id.name, name) && text_copy(&id.certificate, certificate) &&
        text_copy(&id.key, key) && text_copy(&id.password, password))
        err = ctx_new(&id.ctx, context, &id, error);
    if (err == ACO_OK)
        context->identities[context->count++] = id;
    else
        identity_fini(&id);
    return err;
}

static void *
bytes_copy(const void *data, size_t size)
{
    void *copy = malloc(size > 0 ? size : 1);

    if (copy != NULL && size > 0) memcpy(copy, data, size);
    return copy;
}

static bool
config_copy(struct aco_tls_config *to, const struct aco_tls_config *from)
{
    char *ca = NULL, *ciphers = NULL, *suites = NULL;
    bool done = text_copy(&ca, from->ca) && text_copy(&ciphers, from->ciphers) &&
                text_copy(&suites, from->suites);

    *to = *from;
    to->certificate = to->key = to->password = NULL; /* the first identity has them */
    to->ca = ca;
    to->ciphers = ciphers;
    to->suites = suites;
    to->pins = bytes_copy(from->pins, from->pin_count * ACO_TLS_PIN);
    to->alpn = bytes_copy(from->alpn, from->alpn_size);
    return done && to->pins != NULL && to->alpn != NULL;
}

static void
config_fini(struct aco_tls_config *config)
{
    free((void *)config->ca);
    free((void *)config->ciphers);
    free((void *)config->suites);
    free((void *)config->pins);
    free((void *)config->alpn);
}

int
aco_tls_context_new(aco_tls_context **out, const struct aco_tls_config *config, char **error)
{
    aco_tls_context *context = calloc(1, sizeof *context);
    int err = ACO_ENOMEM;

    *error = NULL;
    if (context == NULL) return ACO_ENOMEM;
    context->refs = 1;
    if (config_copy(&context->config, config))
        err = aco_tls_context_add(context, NULL, config->certificate, config->key, config->password,
                                  error);
    if (err == ACO_OK)
        *out = context;
    else
        aco_tls_context_unref(context);
    return err;
}

aco_tls_context *
aco_tls_context_ref(aco_tls_context *context)
{
    context->refs++;
    return context;
}

static void
session_fini(session *s)
{
    free(s->key);
    SSL_SESSION_free(s->session);
    *s = (session){.key = NULL};
}

static void
forget_all(aco_tls_context *context)
{
    for (size_t i = 0; context->sessions != NULL && i < SESSIONS; i++)
        session_fini(&context->sessions[i]);
    free(context->sessions);
    context->sessions = NULL;
}

void
aco_tls_context_unref(aco_tls_context *context)
{
    if (context == NULL || --context->refs > 0) return;
    for (size_t i = 0; i < context->count; i++)
        identity_fini(&context->identities[i]);
    free(context->identities);
    forget_all(context);
    config_fini(&context->config);
    free(context);
}

int
aco_tls_context_reload(aco_tls_context *context, char **error)
{
    SSL_CTX **made = calloc(context->count, sizeof *made);
    int err = ACO_OK;
    size_t done = 0;

    *error = NULL;
    if (made == NULL) return ACO_ENOMEM;
    for (; err == ACO_OK && done < context->count; done++)
        err = ctx_new(&made[done], context, &context->identities[done], error);
    for (size_t i = 0; i < context->count; i++) {
        SSL_CTX *old = context->identities[i].ctx;
        if (err == ACO_OK) context->identities[i].ctx = made[i];
        SSL_CTX_free(err == ACO_OK ? old : made[i]);
    }
    free(made);
    if (err == ACO_OK) forget_all(context);
    return err;
}

const struct aco_tls_config *
aco_tls_context_config(const aco_tls_context *context)
{
    return &context->config;
}

bool
aco_tls_context_has_certificate(const aco_tls_context *context)
{
    return SSL_CTX_get0_certificate(context->identities[0].ctx) != NULL;
}

SSL *
aco_tls_context_connection(aco_tls_context *context)
{
    return SSL_new(context->identities[0].ctx);
}

/* Sessions --------------------------------------------------------------------------------------
 */

static session *
session_find(aco_tls_context *context, const char *key)
{
    for (size_t i = 0; context->sessions != NULL && i < SESSIONS; i++) {
        session *s = &context->sessions[i];
        if (s->key != NULL && strcmp(s->key, key) == 0) return s;
    }
    return NULL;
}

/* The certificate was looked at when the session began; it must still be valid. */
SSL_SESSION *
aco_tls_context_session(aco_tls_context *context, const char *key)
{
    session *s = session_find(context, key);

    if (s == NULL) return NULL;
    const X509 *peer = SSL_SESSION_get0_peer(s->session);
    bool valid = SSL_SESSION_is_resumable(s->session) == 1 &&
                 (peer == NULL || context->config.insecure ||
                  X509_cmp_current_time(X509_get0_notAfter(peer)) > 0);
    if (!valid) {
        session_fini(s);
        return NULL;
    }
    s->used = ++context->uses;
    return s->session;
}

bool
aco_tls_context_keep(aco_tls_context *context, const char *key, SSL_SESSION *kept)
{
    session *place = session_find(context, key);
    char *copy = strdup(key);

    if (context->sessions == NULL) context->sessions = calloc(SESSIONS, sizeof *context->sessions);
    if (context->sessions == NULL || copy == NULL) {
        free(copy);
        return false;
    }
    for (size_t i = 0; place == NULL && i < SESSIONS; i++)
        if (context->sessions[i].key == NULL) place = &context->sessions[i];
    if (place == NULL) { /* the one that was not used for the longest time goes */
        place = context->sessions;
        for (size_t i = 1; i < SESSIONS; i++)
            if (context->sessions[i].used < place->used) place = &context->sessions[i];
    }
    session_fini(place);
    *place = (session){.key = copy, .session = kept, .used = ++context->uses};
    return true;
}

void
aco_tls_context_forget(aco_tls_context *context, const char *key)
{
    session *s = session_find(context, key);

    if (s != NULL) session_fini(s);
}
