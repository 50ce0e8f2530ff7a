/* The human monitor's view of a processor: registers, linear memory, instructions. */
#include <Zydis/Zydis.h>
#include <inttypes.h>
#include <string.h>

#include <mem/dma.h>

#include "accel/accel.h"
#include "accel/x86/cpu.h"
#include "accel/x86/exec.h"
#include "monitor/hmp-cpu.h"

static const char *const reg_names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                         "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
static const char *const seg_names[] = { "ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR" };

/* ---- on the vCPU's thread ---- */

static X86Cpu *current_cpu(Vcpu *vcpu)
{
    const AccelClass *accel = accel_class(vcpu->accel);
    if (accel->state_fetch)
        accel->state_fetch(vcpu);
    return X86_CPU(vcpu);
}

static void copy_state(Vcpu *vcpu, void *opaque)
{
    memcpy(opaque, &current_cpu(vcpu)->st, sizeof(X86State));
}

typedef struct ReadRequest {
    uint64_t lin;
    uint8_t *buf;
    size_t len, done;
} ReadRequest;

static void read_pages(Vcpu *vcpu, void *opaque)
{
    ReadRequest *r = opaque;
    X86Cpu *cpu = current_cpu(vcpu);
    while (r->done < r->len) {
        X86Translation tr;
        uint64_t at = r->lin + r->done, n = MIN(r->len - r->done, 4096 - (at & 4095));
        if (!x86_mmu_translate(cpu, at, X86_READ | X86_PROBE | X86_SUPERVISOR, &tr) ||
            dma_read(vcpu->mem, tr.gpa, r->buf + r->done, n) != MEMTX_OK)
            return;
        r->done += n;
    }
}

/* ---- for the monitor ---- */

static Vcpu *chosen(QmpContext *ctx, GError **err)
{
    if (ctx->cpu_index < ctx->machine->nr_vcpus && ctx->machine->vcpus[ctx->cpu_index]->accel)
        return ctx->machine->vcpus[ctx->cpu_index];
    error_set(err, "there is no CPU");
    return NULL;
}

size_t hmp_read_linear(QmpContext *ctx, uint64_t lin, void *buf, size_t len, GError **err)
{
    Vcpu *vcpu = chosen(ctx, err);
    ReadRequest r = { .lin = lin, .buf = buf, .len = len };
    if (!vcpu)
        return 0;
    vcpu_run_on(vcpu, read_pages, &r, true);
    if (r.done < len)
        error_set(err, "no memory is mapped at linear address 0x%" PRIx64, lin + r.done);
    return r.done;
}

bool hmp_register(QmpContext *ctx, const char *name, uint64_t *value, GError **err)
{
    X86State *st = g_alloca(sizeof(X86State));
    Vcpu *vcpu = chosen(ctx, err);
    if (!vcpu)
        return false;
    vcpu_run_on(vcpu, copy_state, st, true);
    const struct { const char *name; uint64_t value; } others[] = {
        { "rip", st->rip }, { "eip", st->rip }, { "pc", st->rip }, { "eflags", st->rflags }, { "rflags", st->rflags },
        { "cr0", st->cr0 }, { "cr2", st->cr2 }, { "cr3", st->cr3 }, { "cr4", st->cr4 }, { "sp", st->gpr[R_RSP] },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        if (!strcmp(name, others[i].name)) {
            *value = others[i].value;
            return true;
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(reg_names); i++) {
        bool low = name[0] == 'e' && i < 8 && !strcmp(name + 1, reg_names[i] + 1);
        if (low || !strcmp(name, reg_names[i])) {
            *value = low ? (uint32_t)st->gpr[i] : st->gpr[i];
            return true;
        }
    }
    error_set(err, "there is no register '$%s'", name);
    return false;
}

static void print_segment(Hmp *hmp, const char *name, const X86Segment *s)
{
    hmp_print(hmp, "%-3s=%04x %016" PRIx64 " %08x %08x DPL=%u%s%s%s\r\n", name, s->selector, s->base, s->limit, (unsigned)s->attr << 8,
              (s->attr >> SEG_ATTR_DPL_SHIFT) & 3, s->attr & SEG_ATTR_S ? s->attr & SEG_ATTR_CODE ? " CS" : " DS" : "",
              !(s->attr & SEG_ATTR_S) ? "" : s->attr & SEG_ATTR_L ? "64" : s->attr & SEG_ATTR_DB ? "32" : "16", s->attr & SEG_ATTR_P ? "" : " absent");
}

static void print_vectors(Hmp *hmp, const X86State *st)
{
    hmp_print(hmp, "FCW=%04x FSW=%04x FTW=%02x MXCSR=%08x\r\n", ld16(st->xsave + XSAVE_FCW), ld16(st->xsave + XSAVE_FSW),
              st->xsave[XSAVE_FTW], ld32(st->xsave + XSAVE_MXCSR));
    for (unsigned i = 0; i < 8; i++)
        hmp_print(hmp, "FPR%u=%016" PRIx64 " %04x%s", i, ld64(st->xsave + XSAVE_ST0 + i * 16), ld16(st->xsave + XSAVE_ST0 + i * 16 + 8),
                  i & 1 ? "\r\n" : " ");
    for (unsigned i = 0; i < 16; i++)
        hmp_print(hmp, "XMM%02u=%016" PRIx64 " %016" PRIx64 "%s", i, ld64(st->xsave + XSAVE_XMM0 + i * 16 + 8),
                  ld64(st->xsave + XSAVE_XMM0 + i * 16), i & 1 ? "\r\n" : " ");
}

static void print_registers(Hmp *hmp, unsigned index)
{
    X86State *st = g_alloca(sizeof(X86State));
    Vcpu *vcpu = hmp->ctx->machine->vcpus[index];
    vcpu_run_on(vcpu, copy_state, st, true);
    hmp_print(hmp, "\r\nCPU#%u\r\n", index);
    for (unsigned i = 0; i < 16; i++) {
        /* the order that people know: a b c d */
        static const uint8_t order[] = { R_RAX, R_RBX, R_RCX, R_RDX, R_RSI, R_RDI, R_RBP, R_RSP };
        unsigned reg = i < 8 ? order[i] : i;
        g_autofree char *name = g_ascii_strup(reg_names[reg], -1);
        hmp_print(hmp, "%-3s=%016" PRIx64 "%s", name, st->gpr[reg], (i & 3) == 3 ? "\r\n" : " ");
    }
    hmp_print(hmp, "RIP=%016" PRIx64 " RFL=%08x CPL=%u II=%d A20=%d HLT=%d\r\n", st->rip, (unsigned)st->rflags, st->cpl, st->shadow != 0,
              st->a20, vcpu->halted);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        print_segment(hmp, seg_names[i], &st->seg[i]);
    hmp_print(hmp, "GDT=     %016" PRIx64 " %08x\r\nIDT=     %016" PRIx64 " %08x\r\n", st->gdt.base, st->gdt.limit, st->idt.base, st->idt.limit);
    hmp_print(hmp, "CR0=%08" PRIx64 " CR2=%016" PRIx64 " CR3=%016" PRIx64 " CR4=%08" PRIx64 "\r\n", st->cr0, st->cr2, st->cr3, st->cr4);
    hmp_print(hmp, "DR0=%016" PRIx64 " DR1=%016" PRIx64 " DR2=%016" PRIx64 " DR3=%016" PRIx64 "\r\nDR6=%016" PRIx64 " DR7=%016" PRIx64 "\r\n",
              st->dr[0], st->dr[1], st->dr[2], st->dr[3], st->dr[6], st->dr[7]);
    hmp_print(hmp, "EFER=%016" PRIx64 "\r\n", st->efer);
    print_vectors(hmp, st);
}

void hmp_info_registers(Hmp *hmp)
{
    GError *error = NULL;
    if (!chosen(hmp->ctx, &error)) {
        hmp_error(hmp, error);
        return;
    }
    bool all = arg_bool(hmp->args, "-a", false);
    for (unsigned i = all ? 0 : hmp->ctx->cpu_index; i < (all ? hmp->ctx->machine->nr_vcpus : hmp->ctx->cpu_index + 1); i++)
        print_registers(hmp, i);
}

void hmp_disassemble(Hmp *hmp, uint64_t lin, bool physical)
{
    X86State *st = g_alloca(sizeof(X86State));
    GError *error = NULL;
    Vcpu *vcpu = chosen(hmp->ctx, &error);
    if (!vcpu) {
        hmp_error(hmp, error);
        return;
    }
    vcpu_run_on(vcpu, copy_state, st, true);
    unsigned bits = x86_code_bits(st);
    ZydisMachineMode mode = bits == 64 ? ZYDIS_MACHINE_MODE_LONG_64 : bits == 32 ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LEGACY_16;
    for (unsigned i = 0; i < hmp->count; i++) {
        uint8_t code[ZYDIS_MAX_INSTRUCTION_LENGTH];
        size_t n = sizeof(code);
        if (physical)
            n = dma_read(hmp->ctx->machine->mem, lin, code, n) == MEMTX_OK ? n : 0;
        else
            n = hmp_read_linear(hmp->ctx, lin, code, n, NULL);
        ZydisDisassembledInstruction one;
        if (!n || !ZYAN_SUCCESS(ZydisDisassembleATT(mode, lin, code, n, &one))) {
            hmp_print(hmp, n ? "0x%08" PRIx64 ":  (bad)\r\n" : "0x%08" PRIx64 ":  Cannot access memory\r\n", lin);
            return;
        }
        hmp_print(hmp, "0x%08" PRIx64 ":  ", lin);
        for (unsigned b = 0; b < one.info.length; b++)
            hmp_print(hmp, "%02x ", code[b]);
        hmp_print(hmp, "%*s%s\r\n", MAX(0, 24 - 3 * (int)one.info.length), "", one.text);
        lin += one.info.length;
    }
}

typedef struct WalkRequest {
    uint64_t lin;
    X86Translation tr;
    bool ok;
} WalkRequest;

static void walk(Vcpu *vcpu, void *opaque)
{
    WalkRequest *w = opaque;
    w->ok = x86_mmu_translate(current_cpu(vcpu), w->lin, X86_READ | X86_PROBE | X86_SUPERVISOR, &w->tr);
}

void hmp_gva2gpa(Hmp *hmp)
{
    WalkRequest w = { .lin = arg_uint(hmp->args, "addr", 0) };
    GError *error = NULL;
    Vcpu *vcpu = chosen(hmp->ctx, &error);
    if (!vcpu) {
        hmp_error(hmp, error);
        return;
    }
    vcpu_run_on(vcpu, walk, &w, true);
    if (w.ok)
        hmp_print(hmp, "gpa: 0x%" PRIx64 "\r\n", w.tr.gpa);
    else
        hmp_print(hmp, "Unmapped\r\n");
}

void hmp_cpu(Hmp *hmp)
{
    uint64_t index = arg_uint(hmp->args, "index", 0);
    if (index >= hmp->ctx->machine->nr_vcpus)
        hmp_print(hmp, "Error: there is no CPU %" PRIu64 ": this machine has %u\r\n", index, hmp->ctx->machine->nr_vcpus);
    else
        hmp->ctx->cpu_index = index;
}
