/* SPDX-License-Identifier: MIT */
/* signals.h -- signals by their names ("TERM", "USR1"), as kill -l knows them. Any thread. */
#ifndef ACO_SIGNALS_H
#define ACO_SIGNALS_H

/** The number; 0 when there is none of this name. */
int aco_signal_number(const char *name);

/** The name; NULL of a number that has none. */
const char *aco_signal_name(int number);

#endif
