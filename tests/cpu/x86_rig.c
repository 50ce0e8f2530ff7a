#include "tests/cpu/x86_rig.h"

#include <string.h>

#include "accel/accel.h"

/* No run function: the vCPU gets its views and no thread. */
static const AccelClass table_accel = { .name = "table-accel", .parent = TYPE_ACCEL, .accel_name = "table" };
REGISTER_OBJECT(table_accel)

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
    Rig *rig = opaque;
    rig->mmio_reads++;
    return rig->mmio_value;
}

static void window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Rig *rig = opaque;
    rig->mmio_writes++;
    rig->mmio_last = value;
}
static const MemoryRegionOps window_ops = { .read = window_read, .write = window_write, .max_access = 8 };

/* What vcpu_start does, less the thread. */
static void start(Rig *rig)
{
    g_autoptr(GError) err = NULL;
    Vcpu *v = &rig->cpu->vcpu;
    v->accel = rig->machine->accel;
    v->mem = rig->machine->mem;
    v->io = rig->machine->io;
    v->mem_view = address_space_view_ref(v->mem);
    v->io_view = address_space_view_ref(v->io);
    const AccelClass *klass = accel_class(v->accel);
    if (klass->vcpu_init && !klass->vcpu_init(v->accel, v, &err))
        g_error("%s", err->message);
}

Rig *rig_new(const char *cpu_type) { return rig_new_accel(cpu_type, "table"); }

Rig *rig_new_accel(const char *cpu_type, const char *accel)
{
    g_autoptr(GError) err = NULL;
    Rig *rig = g_new0(Rig, 1);
    rig->machine = (Machine *)object_new("none-machine", &err);
    g_assert_no_error(err);
    domain_lock(rig->machine->domain);
    g_assert_true(accel_select(rig->machine, (const char *[]) { accel, NULL }, &err));
    g_assert_true(memory_region_init_ram(&rig->region, NULL, "ram", RIG_RAM, &err));
    memory_region_add(&rig->machine->mem_root, 0, &rig->region, 0);
    memory_region_init_io(&rig->window, NULL, rig->machine->domain, &window_ops, rig, "window", 0x1000);
    memory_region_add(&rig->machine->mem_root, RIG_MMIO, &rig->window, 0);
    rig->cpu = x86_cpu_new(rig->machine, cpu_type, 0, &err);
    g_assert_no_error(err);
    start(rig);
    domain_unlock(rig->machine->domain);
    rig->st = &rig->cpu->st;
    rig->ram = rig->region.ram->host;
    return rig;
}

void rig_free(Rig *rig)
{
    domain_lock(rig->machine->domain);
    const AccelClass *klass = accel_class(rig->cpu->vcpu.accel);
    if (klass->vcpu_destroy)
        klass->vcpu_destroy(&rig->cpu->vcpu);
    mem_view_unref(rig->cpu->vcpu.mem_view);
    mem_view_unref(rig->cpu->vcpu.io_view);
    rig->cpu->vcpu.mem_view = rig->cpu->vcpu.io_view = NULL;
    device_unrealize(&rig->cpu->vcpu.dev);
    memory_region_clear(&rig->window);
    memory_region_clear(&rig->region);
    domain_unlock(rig->machine->domain);
    object_unref(OBJECT(rig->machine));
    g_free(rig);
}

void rig_reset(Rig *rig)
{
    memset(rig->ram, 0, RIG_RAM);
    x86_cpu_reset(rig->cpu, false);
    rig->cpu->vcpu.halted = rig->cpu->vcpu.wait_sipi = false;
    rig->mmio_writes = rig->mmio_reads = 0;
}

void rig_put(Rig *rig, uint64_t gpa, const void *bytes, size_t len)
{
    g_assert_cmpuint(gpa + len, <=, RIG_RAM);
    memcpy(rig->ram + gpa, bytes, len);
}

uint64_t rig_desc(uint32_t base, uint32_t limit, uint8_t type, uint8_t flags)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)type << 40 |
           (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)flags << 52 | (uint64_t)(base >> 24) << 56;
}

void rig_gdt(Rig *rig, unsigned selector, uint64_t value)
{
    st64(rig->ram + RIG_GDT + (selector & ~7u), value);
}

void rig_real(Rig *rig, uint16_t cs, uint16_t ip)
{
    rig_reset(rig);
    rig->st->seg[SEG_CS].selector = cs;
    rig->st->seg[SEG_CS].base = cs << 4;
    rig->st->rip = ip;
    rig->st->gpr[R_RSP] = 0x7000;
    rig->st->idt.limit = 0x3ff;
}

static X86Segment flat(uint16_t sel, uint16_t attr)
{
    return (X86Segment) { .limit = 0xffffffffu, .selector = sel, .attr = attr };
}

static void tables(Rig *rig)
{
    X86State *st = rig->st;
    rig_gdt(rig, RIG_CODE0, rig_desc(0, 0xfffff, 0x9b, 0xc));
    rig_gdt(rig, RIG_DATA0, rig_desc(0, 0xfffff, 0x93, 0xc));
    rig_gdt(rig, RIG_CODE3, rig_desc(0, 0xfffff, 0xfb, 0xc));
    rig_gdt(rig, RIG_DATA3, rig_desc(0, 0xfffff, 0xf3, 0xc));
    rig_gdt(rig, RIG_CODE64, rig_desc(0, 0xfffff, 0x9b, 0xa));
    rig_gdt(rig, RIG_CODE64_3, rig_desc(0, 0xfffff, 0xfb, 0xa));
    rig_gdt(rig, RIG_TSS_SEL, rig_desc(RIG_TSS, 0x2067, 0x8b, 0));
    st->gdt = (X86Table) { RIG_GDT, 0xfff };
    st->idt = (X86Table) { RIG_IDT, 0xfff };
    st->seg[SEG_TR] = (X86Segment) { .base = RIG_TSS, .limit = 0x2067, .selector = RIG_TSS_SEL, .attr = 0x8b };
    st->seg[SEG_LDTR] = (X86Segment) { 0 };
    st16(rig->ram + RIG_TSS + 102, 104);
    memset(rig->ram + RIG_TSS + 104, 0xff, 0x2000);
}

static void ring0(Rig *rig, uint16_t code, uint16_t code_attr)
{
    X86State *st = rig->st;
    st->seg[SEG_CS] = flat(code, code_attr);
    static const uint8_t data[] = { SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS };
    for (unsigned i = 0; i < G_N_ELEMENTS(data); i++)
        st->seg[data[i]] = flat(RIG_DATA0, 0xc093);
    st->gpr[R_RSP] = 0x7000;
}

void rig_protected(Rig *rig, uint32_t eip)
{
    rig_reset(rig);
    tables(rig);
    ring0(rig, RIG_CODE0, 0xc09b);
    rig->st->cr0 = CR0_PE | CR0_ET | CR0_NE;
    rig->st->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
    rig->st->rip = eip;
    st32(rig->ram + RIG_TSS + 4, 0x6000);
    st16(rig->ram + RIG_TSS + 8, RIG_DATA0);
}

void rig_long(Rig *rig, uint64_t rip)
{
    X86State *st = rig->st;
    rig_reset(rig);
    tables(rig);
    ring0(rig, RIG_CODE64, 0xa09b);
    uint8_t *pml4 = rig->ram + RIG_TABLES, *pdpt = pml4 + 0x1000, *pd = pml4 + 0x2000;
    st64(pml4, (RIG_TABLES + 0x1000) | 7);
    st64(pdpt, (RIG_TABLES + 0x2000) | 7);
    for (unsigned i = 0; i < 32; i++)
        st64(pd + i * 8, (uint64_t)i << 21 | 0x87);
    st->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG | CR0_WP;
    st->cr3 = RIG_TABLES;
    st->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    if (x86_has(rig->cpu, X86_FEAT_XSAVE)) {
        st->cr4 |= CR4_OSXSAVE;
        st->xcr0 = x86_has(rig->cpu, X86_FEAT_AVX) ? 7 : 3;
    }
    st->efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
    st->rip = rip;
    st64(rig->ram + RIG_TSS + 4, 0x6000);   /* RSP0 */
    st64(rig->ram + RIG_TSS + 36, 0x5000);  /* IST1 */
}

void rig_ring3(Rig *rig)
{
    X86State *st = rig->st;
    bool wide = st->efer & EFER_LMA;
    st->seg[SEG_CS] = flat(wide ? RIG_CODE64_3 : RIG_CODE3, wide ? 0xa0fb : 0xc0fb);
    st->seg[SEG_SS] = st->seg[SEG_DS] = st->seg[SEG_ES] = flat(RIG_DATA3, 0xc0f3);
    st->cpl = 3;
}

void rig_gate(Rig *rig, unsigned vector, uint16_t sel, uint64_t offset, uint8_t type, unsigned ist)
{
    bool wide = rig->st->efer & EFER_LMA;
    uint8_t *gate = rig->ram + RIG_IDT + vector * (wide ? 16 : 8);
    st64(gate, (offset & 0xffff) | (uint64_t)sel << 16 | (uint64_t)ist << 32 | (uint64_t)type << 40 |
                   (offset >> 16 & 0xffff) << 48);
    if (wide)
        st64(gate + 8, offset >> 32);
}

void rig_step(Rig *rig, unsigned n)
{
    while (n--) {
        X86StepResult result = x86_step(rig->cpu);
        g_assert_cmpint(result, !=, X86_STEP_SHUTDOWN);
        g_assert_cmpint(result, !=, X86_STEP_UNKNOWN);
    }
}

X86Event rig_catch(Rig *rig, void (*f)(Rig *rig))
{
    void *jmp[5];
    void **outer = rig->cpu->fault_jmp;
    static X86Event event;
    event = (X86Event) { .vector = 255 };
    if (__builtin_setjmp(jmp) == 0) {
        rig->cpu->fault_jmp = jmp;
        f(rig);
    } else {
        event = *rig->cpu->fault;
    }
    rig->cpu->fault_jmp = outer;
    return event;
}
