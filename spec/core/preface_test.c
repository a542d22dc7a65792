/* SPDX-License-Identifier: MIT */
/* The first eight bytes of a connection, and those that answer them. */
#include "core/net/preface.h"

#include "check.h"

#include <string.h>

static void
test_preface(void)
{
    static const uint8_t expected[] = {'A', 'C', 'O', 1, 'M', 'S', 0x12, 0x34};
    uint8_t bytes[ACO_PREFACE_SIZE];
    struct aco_preface p;

    aco_preface_write(bytes, ACO_PREFACE_MESSAGES, 'S', 0x1234);
    CHECK(memcmp(bytes, expected, sizeof bytes) == 0);
    CHECK(aco_preface_read(bytes, &p) == ACO_PREFACE_OK);
    CHECK(p.kind == 'M' && p.mode == 'S' && p.server == 0x1234);
    bytes[4] = 'F';
    CHECK(aco_preface_read(bytes, &p) == ACO_PREFACE_OK && p.kind == ACO_PREFACE_FILE);
    bytes[4] = 'X';
    CHECK(aco_preface_read(bytes, &p) == ACO_PREFACE_KIND);
    bytes[3] = 2; /* another version may mean anything by the rest */
    CHECK(aco_preface_read(bytes, &p) == ACO_PREFACE_VERSION);
    for (int i = 0; i < 3; i++) {
        memcpy(bytes, expected, sizeof bytes);
        bytes[i] ^= 0x20;
        CHECK(aco_preface_read(bytes, &p) == ACO_PREFACE_FOREIGN);
    }
    CHECK(aco_preface_read((const uint8_t *)"GET / HT", &p) == ACO_PREFACE_FOREIGN);
}

static void
test_answer(void)
{
    static const uint8_t expected[] = {'A', 'C', 'O', 1, ACO_PREFACE_MODE, 'C', 0, 0};
    uint8_t bytes[ACO_PREFACE_SIZE], status, mode;

    aco_preface_answer(bytes, ACO_PREFACE_MODE, 'C');
    CHECK(memcmp(bytes, expected, sizeof bytes) == 0);
    CHECK(aco_preface_read_answer(bytes, &status, &mode));
    CHECK(status == ACO_PREFACE_MODE && mode == 'C');
    bytes[4] = 200; /* of a later version: an answer all the same */
    CHECK(aco_preface_read_answer(bytes, &status, &mode) && status == 200);
    CHECK(!aco_preface_read_answer((const uint8_t *)"HTTP/1.1", &status, &mode));
}

/* Each refusal says something of its own. */
static void
test_texts(void)
{
    static const char modes[] = {'K', 'S', 'C', 'X'};
    const char *texts[32];
    size_t count = 0;

    for (uint8_t status = 0; status <= ACO_PREFACE_KIND + 1; status++)
        if (status != ACO_PREFACE_MODE) texts[count++] = aco_preface_text(status, 2, 'S', 'S');
    texts[count++] = aco_preface_text(ACO_PREFACE_VERSION, 0, 'S', 'S');
    for (size_t i = 0; i < sizeof modes; i++)
        texts[count++] = aco_preface_text(ACO_PREFACE_MODE, 1, 'K', (uint8_t)modes[i]);
    texts[count++] = aco_preface_text(ACO_PREFACE_MODE, 1, 'C', 'S');
    texts[count++] = aco_preface_text(ACO_PREFACE_MODE, 1, 'S', 'C');
    for (size_t i = 0; i < count; i++) {
        CHECK(texts[i] != NULL && strlen(texts[i]) > 8);
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(texts[i], texts[j]) != 0);
    }
}

int
main(void)
{
    test_preface();
    test_answer();
    test_texts();
    return 0;
}
