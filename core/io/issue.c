/* SPDX-License-Identifier: MIT */
#include "core/io/issue.h"
#include "core/base/error.h"
#include "core/io/address.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A clock that is a little behind finds it valid all the same (seconds); bits of a serial number;
 * bytes of a host name, and of a common name. */
enum { EARLY = 3600, SERIAL = 127, HOST = 253, LABEL = 63, COMMON = 64 };

/* Names ---------------------------------------------------------------------------------------- */

static bool
is_address(const char *name)
{
    aco_address address;

    return strchr(name, '%') == NULL && aco_address_parse(&address, name, 0) == ACO_OK;
}

/* Letters, digits and inner hyphens between dots; the first label may be a "*". */
static bool
is_host(const char *name)
{
    size_t label = 0;

    if (strlen(name) > HOST) return false;
    if (name[0] == '*' && name[1] == '.') name += 2;
    for (const char *at = name;; at++) {
        if (*at == '.' || *at == '\0') {
            if (label == 0 || label > LABEL) return false;
            if (*at == '\0') return true;
            label = 0;
        } else if ((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                   (*at >= '0' && *at <= '9') ||
                   (*at == '-' && label > 0 && at[1] != '.' && at[1] != '\0')) {
            label++;
        } else {
            return false;
        }
    }
}

/* "DNS:a.example,IP:10.0.0.1", for the caller to free. */
static int
names_text(const struct aco_issue *issue, char **text, char **why)
{
    size_t size = 1;

    if (issue->count == 0)
        return aco_err_why(why, ACO_EINVALID, "a host name or an address is expected");
    for (size_t i = 0; i < issue->count; i++)
        size += strlen(issue->names[i]) + sizeof "DNS:,";
    char *at = *text = malloc(size);
    if (at == NULL) return ACO_ENOMEM;
    for (size_t i = 0; i < issue->count; i++) {
        const char *name = issue->names[i];
        bool address = is_address(name);
        if (!address && !is_host(name)) {
            free(*text);
            *text = NULL;
            return aco_err_why(why, ACO_EINVALID, "'%s' is neither a host name nor an address",
                               name);
        }
        at += sprintf(at, "%s%s:%s", i > 0 ? "," : "", address ? "IP" : "DNS", name);
    }
    return ACO_OK;
}

/* The authority -------------------------------------------------------------------------------- */

typedef struct authority {
    X509 *cert; /* NULL: what is issued is one itself */
    EVP_PKEY *key;
} authority;

static void
authority_free(authority *a)
{
    X509_free(a->cert);
    EVP_PKEY_free(a->key);
}

static BIO *
text_bio(const char *text)
{
    return BIO_new_mem_buf(text, -1);
}

/* A key that is locked has no password here, and none is asked for. */
static int
no_password(char *out, int size, int writes, void *arg)
{
    (void)out, (void)size, (void)writes, (void)arg;
    return 0;
}

static int
authority_check(const authority *a, char **why)
{
    if (a->cert == NULL)
        return aco_err_why(why, ACO_EINVALID,
                           "ca.pem has no certificate in it: `asyncoro cert ca` makes one");
    if (a->key == NULL)
        return aco_err_why(why, ACO_EINVALID,
                           "ca.key has no key in it that can be read without a password: `asyncoro "
                           "cert ca` makes one");
    if (X509_check_ca(a->cert) != 1)
        return aco_err_why(
            why, ACO_EINVALID,
            "ca.pem is not the certificate of an authority: `asyncoro cert ca` makes one");
    if (X509_check_private_key(a->cert, a->key) != 1)
        return aco_err_why(
            why, ACO_EINVALID,
            "ca.key is not the key of ca.pem: both are made together, by `asyncoro cert ca`");
    if (X509_cmp_current_time(X509_get0_notAfter(a->cert)) < 0)
        return aco_err_why(
            why, ACO_EINVALID,
            "the authority has expired: make a new one (asyncoro cert ca), and give it to all");
    return ACO_OK;
}

static int
authority_open(authority *a, const struct aco_issue *issue, char **why)
{
    BIO *cert = text_bio(issue->ca), *key = text_bio(issue->ca_key);
    int err = cert != NULL && key != NULL ? ACO_OK : ACO_ENOMEM;

    if (err == ACO_OK) {
        a->cert = PEM_read_bio_X509(cert, NULL, no_password, NULL);
        a->key = PEM_read_bio_PrivateKey(key, NULL, no_password, NULL);
        err = authority_check(a, why);
    }
    BIO_free(cert);
    BIO_free(key);
    return err;
}

/* The certificate ------------------------------------------------------------------------------ */

static EVP_PKEY *
key_make(void)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
    EVP_PKEY *key = NULL;

    if (ctx == NULL || EVP_PKEY_keygen_init(ctx) != 1 ||
        EVP_PKEY_CTX_set_ec_paramgen_curve_nid(ctx, NID_X9_62_prime256v1) != 1 ||
        EVP_PKEY_CTX_set_ec_param_enc(ctx, OPENSSL_EC_NAMED_CURVE) != 1 ||
        EVP_PKEY_keygen(ctx, &key) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static bool
serial_set(X509 *cert)
{
    BIGNUM *number = BN_new();
    bool done = number != NULL &&
                BN_rand(number, SERIAL, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
                BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;

    BN_free(number);
    return done;
}

static bool
subject_set(X509 *cert, const struct aco_issue *issue, const authority *a)
{
    X509_NAME *name = X509_get_subject_name(cert);

    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                      (const unsigned char *)issue->subject, -1, -1, 0) == 1 &&
           X509_set_issuer_name(cert, a->cert != NULL ? X509_get_subject_name(a->cert) : name) == 1;
}

static bool
span_set(X509 *cert, const struct aco_issue *issue, const authority *a)
{
    ASN1_TIME *end = X509_getm_notAfter(cert);
    int days, seconds;

    if (X509_gmtime_adj(X509_getm_notBefore(cert), -EARLY) == NULL ||
        X509_time_adj_ex(end, issue->days, 0, NULL) == NULL)
        return false;
    if (a->cert == NULL) return true;
    if (ASN1_TIME_diff(&days, &seconds, end, X509_get0_notAfter(a->cert)) != 1) return false;
    return (days >= 0 && seconds >= 0) ||
           X509_set1_notAfter(cert, X509_get0_notAfter(a->cert)) == 1;
}

static bool
extend(X509 *cert, const authority *a, int nid, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, a->cert != NULL ? a->cert : cert, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool done = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return done;
}

static bool
extend_all(X509 *cert, const authority *a, const char *names)
{
    if (!extend(cert, a, NID_subject_key_identifier, "hash")) return false;
    if (a->cert == NULL)
        return extend(cert, a, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
               extend(cert, a, NID_key_usage, "critical,keyCertSign,cRLSign");
    return extend(cert, a, NID_authority_key_identifier, "keyid:always") &&
           extend(cert, a, NID_basic_constraints, "critical,CA:FALSE") &&
           extend(cert, a, NID_key_usage, "critical,digitalSignature") &&
           extend(cert, a, NID_ext_key_usage, "serverAuth,clientAuth") &&
           extend(cert, a, NID_subject_alt_name, names);
}

/* What a memory BIO holds, as a string for the caller to free. */
static char *
bio_text(BIO *bio)
{
    char *data;
    long size = BIO_get_mem_data(bio, &data);
    char *text = size > 0 ? malloc((size_t)size + 1) : NULL;

    if (text == NULL) return NULL;
    memcpy(text, data, (size_t)size);
    text[size] = '\0';
    return text;
}

static int
pem_write(X509 *cert, EVP_PKEY *key, char **cert_text, char **key_text)
{
    BIO *one = BIO_new(BIO_s_mem()), *other = BIO_new(BIO_s_secmem());
    bool written = one != NULL && other != NULL && PEM_write_bio_X509(one, cert) == 1 &&
                   PEM_write_bio_PKCS8PrivateKey(other, key, NULL, NULL, 0, NULL, NULL) == 1;

    if (written) {
        *cert_text = bio_text(one);
        *key_text = bio_text(other);
    }
    BIO_free(one);
    BIO_free(other);
    if (written && *cert_text != NULL && *key_text != NULL) return ACO_OK;
    free(*cert_text);
    free(*key_text);
    *cert_text = *key_text = NULL;
    return ACO_ENOMEM;
}

static int
cert_make(const struct aco_issue *issue, const authority *a, const char *names, char **cert_text,
          char **key_text)
{
    X509 *cert = X509_new();
    EVP_PKEY *key = key_make();
    int err = ACO_EUNSUPPORTED;

    if (cert != NULL && key != NULL && X509_set_version(cert, 2) == 1 && serial_set(cert) &&
        subject_set(cert, issue, a) && span_set(cert, issue, a) &&
        X509_set_pubkey(cert, key) == 1 && extend_all(cert, a, names) &&
        X509_sign(cert, a->key != NULL ? a->key : key, EVP_sha256()) > 0)
        err = pem_write(cert, key, cert_text, key_text);
    X509_free(cert);
    EVP_PKEY_free(key);
    return err;
}

int
aco_issue(const struct aco_issue *issue, char **cert, char **key, char **why)
{
    authority a = {NULL, NULL};
    char *names = NULL;
    int err = ACO_OK;

    *cert = *key = *why = NULL;
    ERR_clear_error();
    if (issue->subject[0] == '\0' || strlen(issue->subject) > COMMON)
        return aco_err_why(why, ACO_EINVALID, "a name of 1 to %d bytes is expected", COMMON);
    if (issue->ca != NULL) {
        err = names_text(issue, &names, why);
        if (err == ACO_OK) err = authority_open(&a, issue, why);
    }
    if (err == ACO_OK) err = cert_make(issue, &a, names, cert, key);
    if (err == ACO_EUNSUPPORTED) err = aco_err_why(why, err, "OpenSSL cannot make the certificate");
    authority_free(&a);
    free(names);
    ERR_clear_error();
    return err;
}
