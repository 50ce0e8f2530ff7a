/*
 * A bare guest for engine tests: one vCPU under the dbt accelerator, no board. Its system structures (page tables, IDT, TSS) live in
 * supervisor pages high up, so that low linear addresses are free for the test and can be the same in the host.
 */
#pragma once

#include <string.h>
#include <sys/mman.h>

#include "accel/accel.h"
#include "accel/x86/exec.h"
#include "system/loop_internal.h"
#include "system/machine.h"
#include "system/memory_internal.h"

#define SYS_BASE 0xffff800000000000ull   /* linear address of physical 0, 2 MiB */
#define SYS_IDT 0x10000
#define SYS_HANDLERS 0x11000             /* 16 bytes a vector: HLT */
#define SYS_TSS 0x13000
#define SYS_IST 0x18000                  /* top of the stack for exceptions */
#define TEST_BASE 0x10000000ull          /* 2 MiB with 4 KiB pages, physical the same */
#define TEST_PT 0x5000

typedef struct Guest {
    Machine *m;
    X86Cpu *cpu;
    MemoryRegion ram;
    uint8_t *mem;
} Guest;

static void map_page(Guest *g, uint64_t lin, bool write)
{
    st64(g->mem + TEST_PT + ((lin - TEST_BASE) >> 12) * 8, lin | 0x1 | (write ? 2 : 0) | 0x4);
}

static void build_tables(Guest *g)
{
    uint8_t *m = g->mem;
    st64(m + 0x1000 + 256 * 8, 0x2000 | 3);         /* SYS_BASE */
    st64(m + 0x2000, 0x3000 | 3);
    st64(m + 0x3000, 0x0 | 0x83);
    st64(m + 0x1000, 0x4000 | 7);                   /* TEST_BASE: 256 MiB = entry 128 of the first directory */
    st64(m + 0x4000, 0x6000 | 7);
    st64(m + 0x6000 + 128 * 8, TEST_PT | 7);
    for (unsigned i = 0; i < 32; i++) {
        uint64_t handler = SYS_BASE + SYS_HANDLERS + i * 16;
        m[SYS_HANDLERS + i * 16] = 0xf4;
        st64(m + SYS_IDT + i * 16, (handler & 0xffff) | 8u << 16 | 1ull << 32 | 0x8eull << 40 | (handler >> 16 & 0xffff) << 48);
        st64(m + SYS_IDT + i * 16 + 8, handler >> 32);
    }
    st64(m + 0x7000 + 8, 0x00af9b000000ffffull);    /* GDT: 64-bit code, data */
    st64(m + 0x7000 + 16, 0x00cf93000000ffffull);
    st64(m + SYS_TSS + 36, SYS_BASE + SYS_IST);
}

static void reset_state(Guest *g)
{
    X86State *st = &g->cpu->st;
    x86_cpu_reset(g->cpu, false);
    st->cr0 = CR0_PE | CR0_PG | CR0_MP | CR0_ET | CR0_NE | CR0_WP;
    st->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    st->xcr0 = 7;
    st->cr3 = 0x1000;
    st->efer = EFER_LME | EFER_LMA | EFER_NXE;
    st->cpl = 0;
    st->seg[SEG_CS] = (X86Segment){ .selector = 8, .limit = UINT32_MAX, .attr = 0xa09b };
    for (unsigned i = 0; i < 6; i++)
        if (i != SEG_CS)
            st->seg[i] = (X86Segment){ .selector = 16, .limit = UINT32_MAX, .attr = 0xc093 };
    st->seg[SEG_TR] = (X86Segment){ .selector = 24, .base = SYS_BASE + SYS_TSS, .limit = 103, .attr = 0x8b };
    st->gdt = (X86Table){ SYS_BASE + 0x7000, 63 };
    st->idt = (X86Table){ SYS_BASE + SYS_IDT, 511 };
    st->rflags = 2;
    g->cpu->vcpu.halted = g->cpu->vcpu.wait_sipi = false;
}

static void guest_open(Guest *g, const char *model)
{
    GError *err = NULL;
    memset(g, 0, sizeof(*g));
    g->m = (Machine *)object_new("none-machine", &err);
    g_assert_no_error(err);
    domain_lock(g->m->domain);
    g_assert_true(accel_select(g->m, (const char *[]){ "dbt", NULL }, &err));
    g_assert_true(memory_region_init_ram(&g->ram, NULL, "ram", 512 * MIB, &err));
    memory_region_add(&g->m->mem_root, 0, &g->ram, 0);
    g->mem = g->ram.ram->host;
    g->cpu = x86_cpu_new(g->m, model, 0, &err);
    g_assert_no_error(err);
    Vcpu *v = &g->cpu->vcpu;
    v->accel = g->m->accel;
    v->mem = g->m->mem;
    v->io = g->m->io;
    v->mem_view = address_space_view_ref(v->mem);
    v->io_view = address_space_view_ref(v->io);
    g->m->smp.maxcpus = 1;
    g_assert_true(accel_class(v->accel)->vcpu_init(v->accel, v, &err));
    g_assert_no_error(err);
    build_tables(g);
    domain_unlock(g->m->domain);
}

/* Until HLT; other exits fail the test. */
static void guest_run(Guest *g)
{
    Vcpu *v = &g->cpu->vcpu;
    VcpuExit why;
    while ((why = accel_class(v->accel)->run(v)) == VCPU_EXIT_KICKED)
        v->exit_request = 0;
    g_assert_cmpint(why, ==, VCPU_EXIT_HALTED);
}
