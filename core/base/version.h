/* SPDX-License-Identifier: MIT */
/* version.h -- what this build is and which libraries it runs on. */
#ifndef ACO_VERSION_H
#define ACO_VERSION_H

/** asyncoro's own version ("0.1.0"); set by the build. */
const char *aco_version(void);

/** The version of the libevent that is loaded ("2.1.12-stable"). */
const char *aco_version_libevent(void);

/** The version of the OpenSSL that is loaded ("3.0.22"). */
const char *aco_version_openssl(void);

#endif
