/* SPDX-License-Identifier: MIT */
#include "core/io/tls_error.h"
#include "core/base/error.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

struct meaning {
    int reason, err;
    const char *text;
};

/* What the other side said before it broke off. */
static const struct meaning alerts[] = {
    {SSL_AD_BAD_CERTIFICATE, ACO_EAUTH,
     "the other side refuses this side's certificate: it is "
     "not what it expects"},
    {SSL_AD_UNSUPPORTED_CERTIFICATE, ACO_EAUTH,
     "the other side refuses this side's certificate: "
     "it cannot use this kind"},
    {SSL_AD_CERTIFICATE_REVOKED, ACO_EAUTH,
     "the other side refuses this side's certificate: it "
     "has been revoked"},
    {SSL_AD_CERTIFICATE_EXPIRED, ACO_EAUTH,
     "the other side refuses this side's certificate: it "
     "has expired"},
    {SSL_AD_CERTIFICATE_UNKNOWN, ACO_EAUTH, "the other side refuses this side's certificate"},
    {SSL_AD_UNKNOWN_CA, ACO_EAUTH,
     "the other side does not know who issued this side's "
     "certificate"},
    {SSL_AD_ACCESS_DENIED, ACO_EAUTH, "the other side denies access"},
    {SSL_AD_DECRYPT_ERROR, ACO_EAUTH, "the other side could not verify a signature of this side"},
    {TLS13_AD_CERTIFICATE_REQUIRED, ACO_EAUTH,
     "the other side wants a certificate: give one with the options certificate and key"},
    {SSL_AD_HANDSHAKE_FAILURE, ACO_EPROTOCOL,
     "the other side broke off the handshake: no cipher in common, or it wants a certificate"},
    {SSL_AD_PROTOCOL_VERSION, ACO_EPROTOCOL, "the other side wants another version of TLS"},
    {SSL_AD_UNRECOGNIZED_NAME, ACO_EPROTOCOL, "the other side has no certificate for this name"},
    {SSL_AD_NO_APPLICATION_PROTOCOL, ACO_EPROTOCOL,
     "the other side has none of the protocols of the option alpn"}};

#define NO_TLS "the other side does not speak TLS"

/* What this side found. */
static const struct meaning reasons[] = {
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, ACO_EAUTH,
     "the client gave no certificate, and this server wants one"},
    {SSL_R_CERTIFICATE_VERIFY_FAILED, ACO_EAUTH, "the certificate of the other side is refused"},
    {SSL_R_UNSUPPORTED_PROTOCOL, ACO_EPROTOCOL, "the other side has only other versions of TLS"},
    {SSL_R_WRONG_SSL_VERSION, ACO_EPROTOCOL, "the other side has only other versions of TLS"},
    {SSL_R_NO_SHARED_CIPHER, ACO_EPROTOCOL, "no cipher is in common with the other side"},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, ACO_EPROTOCOL,
     "no kind of signature is in common with the other side"},
    {SSL_R_HTTP_REQUEST, ACO_EPROTOCOL, NO_TLS ", but HTTP"},
    {SSL_R_HTTPS_PROXY_REQUEST, ACO_EPROTOCOL, NO_TLS ", but HTTP, as to a proxy"}};

/* In a handshake: the bytes are no record of TLS at all. */
static const int strange[] = {SSL_R_WRONG_VERSION_NUMBER,   SSL_R_PACKET_LENGTH_TOO_LONG,
                              SSL_R_UNKNOWN_PROTOCOL,       SSL_R_BAD_RECORD_TYPE,
                              SSL_R_RECORD_LENGTH_MISMATCH, SSL_R_LENGTH_TOO_SHORT,
                              SSL_R_LENGTH_MISMATCH,        SSL_R_UNEXPECTED_RECORD,
                              SSL_R_UNEXPECTED_MESSAGE,     SSL_R_RECORD_TOO_SMALL};

static const struct meaning *
look_up(const struct meaning *list, size_t count, int reason)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].reason == reason) return &list[i];
    return NULL;
}

static bool
is_strange(int reason)
{
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++)
        if (strange[i] == reason) return true;
    return false;
}

int
aco_tls_error(char **text, bool established)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    const char *words = ERR_reason_error_string(code);
    const struct meaning *found;
    int done;

    if (reason > SSL_AD_REASON_OFFSET)
        found = look_up(alerts, sizeof alerts / sizeof *alerts, reason - SSL_AD_REASON_OFFSET);
    else
        found = look_up(reasons, sizeof reasons / sizeof *reasons, reason);
    if (words == NULL) words = "OpenSSL does not say why";
    if (found != NULL)
        done = asprintf(text, "%s", found->text);
    else if (reason > SSL_AD_REASON_OFFSET)
        done = asprintf(text, "the other side broke off: %s",
                        SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
    else if (!established && is_strange(reason))
        done = asprintf(text, NO_TLS " (%s)", words);
    else
        done = asprintf(text, "TLS: %s", words);
    if (done < 0) *text = NULL;
    ERR_clear_error();
    return found != NULL ? found->err : ACO_EPROTOCOL;
}
