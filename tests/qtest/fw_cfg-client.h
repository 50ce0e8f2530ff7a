/* Reading fw_cfg as firmware does: by ports and by DMA. */
#pragma once

#include <qtest-client.h>

#include <string.h>

#define FW_SELECT 0x510
#define FW_DATA 0x511
#define FW_DMA 0x514
#define FW_DMA_ERROR 1u
#define FW_DMA_READ 2u
#define FW_DMA_SKIP 4u
#define FW_DMA_SELECT 8u
#define FW_DMA_WRITE 16u

static inline void fw_cfg_read_port(QtEmu *q, uint16_t key, void *buf, size_t len)
{
    qt_outw(q, FW_SELECT, key);
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = qt_inb(q, FW_DATA);
}

/* One transfer; returns the control word that the device left. */
static inline uint32_t fw_cfg_dma(QtEmu *q, uint32_t control, uint32_t len, uint64_t gpa)
{
    uint64_t at = qt_alloc(q, 16, 16);
    uint8_t desc[16];
    uint32_t word = GUINT32_TO_BE(control), size = GUINT32_TO_BE(len);
    uint64_t addr = GUINT64_TO_BE(gpa);
    memcpy(desc, &word, 4);
    memcpy(desc + 4, &size, 4);
    memcpy(desc + 8, &addr, 8);
    qt_memwrite(q, at, desc, 16);
    qt_outl(q, FW_DMA, GUINT32_TO_BE((uint32_t)(at >> 32)));
    qt_outl(q, FW_DMA + 4, GUINT32_TO_BE((uint32_t)at));
    qt_memread(q, at, &word, 4);
    return GUINT32_FROM_BE(word);
}

/* Key and size of a file; false if there is none. */
static inline bool fw_cfg_find(QtEmu *q, const char *name, uint16_t *key, uint32_t *size)
{
    uint32_t count;
    uint64_t at = qt_alloc(q, 64 * 256, 16);
    fw_cfg_read_port(q, 0x19, &count, 4);
    count = GUINT32_FROM_BE(count);
    g_assert_cmpuint(count, <=, 255);
    g_assert_cmphex(fw_cfg_dma(q, 0x19u << 16 | FW_DMA_SELECT | FW_DMA_READ, 4 + 64 * count, at), ==, 0);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t record[64];
        qt_memread(q, at + 4 + i * 64, record, 64);
        if (strcmp((char *)record + 8, name))
            continue;
        *size = GUINT32_FROM_BE(*(uint32_t *)record);
        *key = GUINT16_FROM_BE(*(uint16_t *)(record + 4));
        return true;
    }
    return false;
}

/* Contents of a file (owned), NULL if there is none. */
static inline uint8_t *fw_cfg_read_file(QtEmu *q, const char *name, size_t *len)
{
    uint16_t key;
    uint32_t size;
    if (!fw_cfg_find(q, name, &key, &size))
        return NULL;
    uint64_t at = qt_alloc(q, size, 16);
    g_assert_cmphex(fw_cfg_dma(q, (uint32_t)key << 16 | FW_DMA_SELECT | FW_DMA_READ, size, at), ==, 0);
    uint8_t *data = g_malloc(size + 1);
    qt_memread(q, at, data, size);
    data[size] = 0;
    *len = size;
    return data;
}
