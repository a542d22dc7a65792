/* SPDX-License-Identifier: MIT */
/* link.h -- an intrusive doubly linked list.
 *
 * A list is a sentinel link; an element that is in no list has `next == NULL`, so that taking it
 * out twice is harmless. Nothing here allocates or fails. */
#ifndef ACO_LINK_H
#define ACO_LINK_H

#include "core/base/defs.h"

typedef struct aco_link {
    struct aco_link *prev, *next;
} aco_link;

static inline void
aco_list_init(aco_link *list)
{
    list->prev = list->next = list;
}

static inline bool
aco_list_empty(const aco_link *list)
{
    return list->next == list;
}

static inline bool
aco_link_in_list(const aco_link *link)
{
    return link->next != NULL;
}

static inline void
aco_list_append(aco_link *list, aco_link *link)
{
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

static inline void
aco_link_remove(aco_link *link)
{
    if (link->next == NULL) return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->prev = link->next = NULL;
}

#endif
