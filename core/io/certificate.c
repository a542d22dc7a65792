/* SPDX-License-Identifier: MIT */
#include "core/io/certificate.h"
#include "core/base/error.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* What is in one --------------------------------------------------------------------------------
 */

static void
name_text(const X509_NAME *name, char text[ACO_CERTIFICATE_TEXT])
{
    BIO *bio = BIO_new(BIO_s_mem());
    int size = -1;

    if (bio != NULL &&
        X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0)
        size = BIO_read(bio, text, ACO_CERTIFICATE_TEXT - 1);
    text[size > 0 ? size : 0] = '\0';
    BIO_free(bio);
    if (size <= 0) memcpy(text, "(no name)", sizeof "(no name)");
}

void
aco_certificate_subject(const X509 *cert, char text[ACO_CERTIFICATE_TEXT])
{
    name_text(X509_get_subject_name(cert), text);
}

void
aco_certificate_issuer(const X509 *cert, char text[ACO_CERTIFICATE_TEXT])
{
    name_text(X509_get_issuer_name(cert), text);
}

static int64_t
time_of(const ASN1_TIME *at)
{
    struct tm tm;

    return ASN1_TIME_to_tm(at, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

void
aco_certificate_span(const X509 *cert, int64_t *from, int64_t *to)
{
    *from = time_of(X509_get0_notBefore(cert));
    *to = time_of(X509_get0_notAfter(cert));
}

bool
aco_certificate_pin(const X509 *cert, uint8_t hash[ACO_CERTIFICATE_HASH])
{
    unsigned char *der = NULL;
    int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    bool done = size > 0 && EVP_Digest(der, (size_t)size, hash, NULL, EVP_sha256(), NULL) == 1;

    OPENSSL_free(der);
    return done;
}

bool
aco_certificate_hash(const X509 *cert, uint8_t hash[ACO_CERTIFICATE_HASH])
{
    return X509_digest(cert, EVP_sha256(), hash, NULL) == 1;
}

/* Loading ---------------------------------------------------------------------------------------
 */

ACO_PRINTF(3, 4)
static int
complain(char **error, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (vasprintf(error, format, args) < 0) *error = NULL;
    va_end(args);
    ERR_clear_error();
    return *error != NULL ? err : ACO_ENOMEM;
}

static bool
is_pem(const char *given)
{
    return strstr(given, "-----BEGIN ") != NULL;
}

/* How messages call it: its path, never its contents. */
static const char *
shown(const char *given)
{
    return is_pem(given) ? "(text)" : given;
}

/* What was given, to read from; NULL, and the error. */
static BIO *
source_open(const char *what, const char *given, int *err, char **error)
{
    if (is_pem(given)) {
        BIO *bio = BIO_new_mem_buf(given, -1);
        if (bio == NULL) *err = ACO_ENOMEM;
        return bio;
    }
    errno = 0;
    BIO *bio = BIO_new_file(given, "r");
    if (bio == NULL) {
        int errnum = errno != 0 ? errno : EIO;
        *err =
            complain(error, aco_err_from_errno(errnum), "%s %s: %s", what, given, strerror(errnum));
    }
    return bio;
}

/* In place of OpenSSL's own, which asks at the terminal. */
static int
give_password(char *to, int size, int writing, void *password)
{
    size_t length = password != NULL ? strlen(password) : 0;

    (void)writing;
    if (length == 0 || length > (size_t)size) return 0;
    memcpy(to, password, length);
    return (int)length;
}

/* The first certificate is the context's, the others its chain. How many there were, -1: OpenSSL
 * refuses one. */
static int
use_chain(SSL_CTX *ctx, BIO *bio)
{
    X509 *cert;
    int count = 0;

    while ((cert = PEM_read_bio_X509(bio, NULL, give_password, NULL)) != NULL) {
        bool done = count == 0 ? SSL_CTX_use_certificate(ctx, cert) == 1
                               : SSL_CTX_add1_chain_cert(ctx, cert) == 1;
        X509_free(cert);
        if (!done) return -1;
        count++;
    }
    return count;
}

static int
use_key(SSL_CTX *ctx, const char *given, const char *password, char **error)
{
    int err = ACO_OK;
    BIO *bio = source_open("key", given, &err, error);

    if (bio == NULL) return err;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, give_password, (void *)password);
    BIO_free(bio);
    if (key == NULL)
        return complain(error, ACO_EINVALID,
                        "key %s: no private key in it that can be read (PEM expected%s)",
                        shown(given), password != NULL ? ", and its password" : "");
    bool fits = SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;
    EVP_PKEY_free(key);
    if (fits) return ACO_OK;
    return complain(error, ACO_EINVALID, "key %s: it does not belong to the certificate",
                    shown(given));
}

int
aco_certificate_use(SSL_CTX *ctx, const char *certificate, const char *key, const char *password,
                    char **error)
{
    int err = ACO_OK;
    BIO *bio = source_open("certificate", certificate, &err, error);

    if (bio == NULL) return err;
    int count = use_chain(ctx, bio);
    unsigned long why = ERR_peek_last_error();
    BIO_free(bio);
    if (count < 0) {
        const char *reason = ERR_reason_error_string(why);
        return complain(error, ACO_EINVALID, "certificate %s: %s", shown(certificate),
                        reason != NULL ? reason : "refused by OpenSSL");
    }
    if (count == 0)
        return complain(error, ACO_EINVALID, "certificate %s: no certificate in it (PEM expected)",
                        shown(certificate));
    ERR_clear_error();
    return use_key(ctx, key != NULL ? key : certificate, password, error);
}

/* How many certificates were added; those that are there already count. */
static int
trust_all(SSL_CTX *ctx, BIO *bio)
{
    X509 *cert;
    int count = 0;

    while ((cert = PEM_read_bio_X509(bio, NULL, give_password, NULL)) != NULL) {
        if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert) == 1) count++;
        SSL_CTX_add_client_CA(ctx, cert); /* what a server says it knows */
        X509_free(cert);
    }
    ERR_clear_error();
    return count;
}

static bool
is_hashed(const char *name) /* as c_rehash makes them: 8 digits, a dot, a number */
{
    for (int i = 0; i < 8; i++)
        if (!isxdigit((unsigned char)name[i])) return false;
    return name[8] == '.' && isdigit((unsigned char)name[9]);
}

/* A folder that c_rehash has seen is looked into when need be; of another all is read now. */
static int
trust_folder(SSL_CTX *ctx, const char *path, char **error)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    char file[4096];
    int count = 0;
    bool hashed = false;

    if (folder == NULL)
        return complain(error, aco_err_from_errno(errno), "ca %s: %s", path, strerror(errno));
    while (!hashed && (entry = readdir(folder)) != NULL)
        hashed = is_hashed(entry->d_name);
    rewinddir(folder);
    while (!hashed && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.') continue;
        if ((size_t)snprintf(file, sizeof file, "%s/%s", path, entry->d_name) >= sizeof file)
            continue;
        BIO *bio = BIO_new_file(file, "r");
        if (bio != NULL) count += trust_all(ctx, bio);
        BIO_free(bio);
    }
    closedir(folder);
    ERR_clear_error();
    if (hashed) return SSL_CTX_load_verify_locations(ctx, NULL, path) == 1 ? ACO_OK : ACO_ENOMEM;
    if (count > 0) return ACO_OK;
    return complain(error, ACO_EINVALID, "ca %s: no certificate in this folder (PEM expected)",
                    path);
}

int
aco_certificate_trust(SSL_CTX *ctx, const char *ca, char **error)
{
    struct stat about;
    int err = ACO_OK;

    /* Who is named is trusted, also when another has issued its certificate. */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    if (!is_pem(ca) && stat(ca, &about) == 0 && S_ISDIR(about.st_mode))
        return trust_folder(ctx, ca, error);
    BIO *bio = source_open("ca", ca, &err, error);
    if (bio == NULL) return err;
    int count = trust_all(ctx, bio);
    BIO_free(bio);
    if (count > 0) return ACO_OK;
    return complain(error, ACO_EINVALID, "ca %s: no certificate in it (PEM expected)", shown(ca));
}

/* Saying what is wrong --------------------------------------------------------------------------
 */

static void
date_text(const ASN1_TIME *at, char text[32])
{
    struct tm tm;

    text[0] = '\0';
    if (ASN1_TIME_to_tm(at, &tm) == 1) strftime(text, 32, "%Y-%m-%d", &tm);
}

/* Whom it is for: "a.example, b.example, 10.0.0.1". */
static void
owners_text(const X509 *cert, char text[ACO_CERTIFICATE_TEXT])
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    size_t size = 0;

    text[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        char address[64] = "";
        const char *shown_name = address;
        int length = 0;
        if (name->type == GEN_DNS) {
            shown_name = (const char *)ASN1_STRING_get0_data(name->d.dNSName);
            length = ASN1_STRING_length(name->d.dNSName);
        } else if (name->type == GEN_IPADD) {
            const unsigned char *b = ASN1_STRING_get0_data(name->d.iPAddress);
            if (ASN1_STRING_length(name->d.iPAddress) == 4)
                length = snprintf(address, sizeof address, "%d.%d.%d.%d", b[0], b[1], b[2], b[3]);
            else
                length = snprintf(address, sizeof address, "an IPv6 address");
        }
        if (length <= 0) continue;
        if (size + (size_t)length + 8 > ACO_CERTIFICATE_TEXT) {
            memcpy(text + size, " ...", sizeof " ...");
            break;
        }
        size += (size_t)snprintf(text + size, ACO_CERTIFICATE_TEXT - size, "%s%.*s",
                                 size > 0 ? ", " : "", length, shown_name);
    }
    GENERAL_NAMES_free(names);
    if (size == 0) memcpy(text, "no name at all", sizeof "no name at all");
}

ACO_PRINTF(1, 2)
static char *
text_new(const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) text = NULL;
    va_end(args);
    return text;
}

char *
aco_certificate_complaint(X509_STORE_CTX *check, const char *name, const char *ca,
                          const char *advice)
{
    int why = X509_STORE_CTX_get_error(check);
    const X509 *cert = X509_STORE_CTX_get_current_cert(check);
    char subject[ACO_CERTIFICATE_TEXT], other[ACO_CERTIFICATE_TEXT], date[32];

    if (cert == NULL) return text_new("%s", X509_verify_cert_error_string(why));
    aco_certificate_subject(cert, subject);
    switch (why) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        date_text(X509_get0_notAfter(cert), date);
        return text_new("the certificate of %s has expired on %s: its owner must renew it (or the "
                        "clock of this machine is wrong)",
                        subject, date);
    case X509_V_ERR_CERT_NOT_YET_VALID:
        date_text(X509_get0_notBefore(cert), date);
        return text_new("the certificate of %s is not valid before %s: is the clock of this "
                        "machine right?",
                        subject, date);
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        owners_text(cert, other);
        return text_new("the certificate of %s is for %s, not for %s: %s", subject, other,
                        name != NULL ? name : "this name", advice);
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        return text_new("the certificate of %s is signed by itself and not known here: if it is "
                        "to be trusted, give it with the option %s",
                        subject, ca);
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        aco_certificate_issuer(cert, other);
        return text_new("the certificate of %s was issued by %s, who is not known here: if that "
                        "authority is to be trusted, give its certificate with the option %s",
                        subject, other, ca);
    default:
        return text_new("the certificate of %s is refused: %s", subject,
                        X509_verify_cert_error_string(why));
    }
}
