/* SPDX-License-Identifier: MIT */
#include "core/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *word, *text;
} error_table[ACO_ERR_COUNT] = {[ACO_OK] = {"ok", "no error"},
#define X(name, word, text) [ACO_E##name] = {word, text},
                                ACO_ERROR_TABLE(X)
#undef X
};

static bool
error_known(int err)
{
    return err >= 0 && err < ACO_ERR_COUNT;
}

const char *
aco_err_word(int err)
{
    return error_known(err) ? error_table[err].word : "system";
}

const char *
aco_err_text(int err)
{
    return error_known(err) ? error_table[err].text : "unknown error";
}

int
aco_err_from_errno(int errnum)
{
    switch (errnum) {
    case 0:
        return ACO_OK;
    case ETIMEDOUT:
        return ACO_ETIMEOUT;
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
        return ACO_ERESET;
    case EBUSY:
    case EAGAIN:
    case ETXTBSY:
        return ACO_EBUSY;
    case ENOENT:
    case ESRCH:
    case ENXIO:
    case ENODEV:
        return ACO_ENOTFOUND;
    case ECONNREFUSED:
        return ACO_EREFUSED;
    case E2BIG:
    case EMSGSIZE:
    case EFBIG:
    case ENAMETOOLONG:
        return ACO_ETOOLARGE;
    case EEXIST:
    case EADDRINUSE:
    case ENOTEMPTY:
        return ACO_EEXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return ACO_EDENIED;
    case EINVAL:
    case EISDIR:
    case ENOTDIR:
    case EADDRNOTAVAIL:
    case EBADF:
    case ELOOP:
        return ACO_EINVALID;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
        return ACO_EUNREACHABLE;
    case ENOSPC:
    case EDQUOT:
        return ACO_ENOSPACE;
    case EMFILE:
    case ENFILE:
        return ACO_ELIMIT;
    case ENOMEM:
        return ACO_ENOMEM;
    case ENOSYS:
    case EOPNOTSUPP:
    case EAFNOSUPPORT:
    case ENOPROTOOPT:
    case EXDEV:
        return ACO_EUNSUPPORTED;
    default:
        return ACO_ESYSTEM;
    }
}

int
aco_err_why(char **why, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (vasprintf(why, format, args) < 0) *why = NULL;
    va_end(args);
    return err;
}
