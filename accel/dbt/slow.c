/*
 * What translated code calls when an access misses the TLB: fill it, or have the operand go through a buffer when it is not plain
 * memory in one page. Guest registers are exact in X86State; vector registers may be the guest's.
 */
#include "accel/dbt/dbt.h"

Block *dbt_sync_at(DbtVcpu *v, uint64_t ret)
{
    Block *b = dbt_block_at_host(v, ret);
    X86State *st = &v->cpu->st;
    st->rip = b->pc + (v->ctx->meta & META_PC_MASK);
    if (key_bits(b->key) != 64)
        st->rip = key_bits(b->key) == 32 ? (uint32_t)st->rip : (uint16_t)st->rip;
    flags_to_state(v->ctx);
    return b;
}

void dbt_leave(DbtVcpu *v)
{
    __builtin_longjmp(v->exit_jmp, 1);
}

void dbt_report_write(DbtVcpu *v, RamBlock *ram, uint64_t offset, uint64_t len)
{
    dbt_fpu_out(v->cpu);
    ram_watch_hit(ram, offset, len);
}

void dbt_after_write(DbtVcpu *v, uint64_t ret)
{
    Block *b = dbt_block_at_host(v, ret);
    if (atomic_load_explicit(&v->cpu->vcpu.exit_request, memory_order_relaxed))
        v->ctx->exit_flag = EXIT_FLAG;
    if (!b->valid)
        dbt_block_cut(v, b, v->ctx->meta & META_PC_MASK);
}

static bool read_operand(X86Cpu *cpu, uint64_t lin, uint8_t *data, unsigned size, unsigned access)
{
    if (size <= 8 && !(size & (size - 1))) {
        st64(data, x86_ld(cpu, lin, size, access));
        return true;
    }
    for (unsigned i = 0; i < size; i += 8) {
        unsigned n = MIN(8u, size - i);
        if (n == 8)
            st64(data + i, x86_ld(cpu, lin + i, 8, access));
        else
            x86_ld_bytes(cpu, lin + i, data + i, n, access);
    }
    return true;
}

/* #SS or #GP, by the segment of the memory operand of the instruction at rip. */
int dbt_segment_fault(DbtVcpu *v)
{
    Insn insn;
    uint8_t bytes[15];
    dbt_fpu_out(v->cpu);
    unsigned n = x86_fetch(v->cpu, bytes);
    if (dbt_decode(v, &insn, bytes, n, x86_code_bits(&v->cpu->st)) <= 0)
        return EXC_GP;
    bool stack = insn.kind == T_RET || insn.kind == T_CALL || insn.kind == T_PUSH_R || insn.kind == T_PUSH_I ||
                 insn.kind == T_POP_R || insn.kind == T_LEAVE;
    if (insn.seg >= 0)
        stack |= insn.seg == SEG_SS;
    else
        stack |= insn.base == R_RSP || insn.base == R_RBP;
    return stack ? EXC_SS : EXC_GP;
}

/* The operand goes through ctx->bounce. ret is moved to the part of the stub that commits. */
static uint64_t through_buffer(DbtVcpu *v, uint64_t lin, unsigned size, uint32_t meta, uint64_t *ret)
{
    DbtCtx *ctx = v->ctx;
    uint8_t *data = ctx->bounce.data + (lin & 63); /* alignment faults need the guest's alignment */
    dbt_sync_at(v, *ret);
    unsigned access = meta & META_W ? X86_WRITE : X86_READ;
    ctx->bounce.lin = lin;
    ctx->bounce.size = size;
    ctx->bounce.ram = NULL;
    if (meta & META_W)
        x86_probe(v->cpu, lin, size, X86_WRITE);
    if (meta & META_R)
        read_operand(v->cpu, lin, data, size, access);
    if (meta & META_W)
        *ret += 5;
    if (atomic_load_explicit(&v->cpu->vcpu.exit_request, memory_order_relaxed))
        ctx->exit_flag = EXIT_FLAG;
    dbt_fpu_in(v);
    return (uint64_t)(uintptr_t)data;
}

uint64_t dbt_slow(DbtCtx *ctx, uint64_t ret)
{
    DbtVcpu *v = dbt_of(ctx->cpu);
    uint64_t *ret_slot = (uint64_t *)ctx - 1, lin = ctx->slow_addr;
    uint32_t meta = ctx->meta;
    unsigned size = meta >> META_SIZE_SHIFT & META_SIZE_MASK, mode = meta >> META_MODE_SHIFT & 3;
    v->n_slow++;
    if (!x86_canonical(lin)) {
        dbt_sync_at(v, ret);
        x86_fault(v->cpu, dbt_segment_fault(v), 0);
    }
    if ((lin & 0xfff) + size > 4096)
        return through_buffer(v, lin, size, meta, ret_slot);
    DbtPlace place;
    dbt_place(v, lin, mode, meta & META_W, &place);
    if (place.fault) {
        dbt_sync_at(v, ret);
        x86_fault_translation(v->cpu, &place.tr);
    }
    if (!place.hva)
        return through_buffer(v, lin, size, meta, ret_slot);
    if (place.ram && (__atomic_load_n((uint8_t *)&place.ram->watch[place.offset >> 12], __ATOMIC_RELAXED) != RAM_WATCH_CODE ||
                      dbt_smc_hits(v->dbt, place.ram, place.offset, size))) {
        ctx->bounce.ram = place.ram;
        ctx->bounce.offset = place.offset;
        ctx->bounce.size = size;
        *ret_slot += 5;
    }
    return (uint64_t)(uintptr_t)place.hva;
}

void dbt_commit(DbtCtx *ctx, uint64_t ret)
{
    DbtVcpu *v = dbt_of(ctx->cpu);
    X86Cpu *cpu = ctx->cpu;
    if (ctx->bounce.ram) {
        dbt_report_write(v, ctx->bounce.ram, ctx->bounce.offset, ctx->bounce.size);
    } else {
        unsigned size = ctx->bounce.size;
        const uint8_t *data = ctx->bounce.data + (ctx->bounce.lin & 63);
        dbt_sync_at(v, ret);
        if (size <= 8 && !(size & (size - 1)))
            x86_st(cpu, ctx->bounce.lin, ld64(data), size, X86_WRITE);
        else if ((ctx->bounce.lin & 0xfff) + size > 4096 || size & 7)
            x86_st_bytes(cpu, ctx->bounce.lin, data, size, X86_WRITE);
        else
            for (unsigned i = 0; i < size; i += 8)
                x86_st(cpu, ctx->bounce.lin + i, ld64(data + i), 8, X86_WRITE);
    }
    dbt_after_write(v, ret);
    dbt_fpu_in(v);
}

/* Makes the page of the stack run at ctx->slow_addr the stack page, or sends the run to the careful block. */
void dbt_guard(DbtCtx *ctx, uint64_t ret)
{
    DbtVcpu *v = dbt_of(ctx->cpu);
    uint64_t *ret_slot = (uint64_t *)ctx - 1, lin = ctx->slow_addr;
    unsigned size = ctx->meta >> META_SIZE_SHIFT & META_SIZE_MASK, mode = ctx->meta >> META_MODE_SHIFT & 3;
    DbtPlace place = { .fault = true };
    if ((lin & 0xfff) + size <= 4096 && x86_canonical(lin))
        dbt_place(v, lin, mode, true, &place);
    if (place.fault || !place.hva || place.ram) {
        *ret_slot += 5;
        return;
    }
    ctx->sp[mode].tag = lin & ~0xfffull;
    ctx->sp[mode].delta = (uint64_t)(uintptr_t)place.hva - lin;
}

/* The host address of a group's range, or the careful block for it. */
uint64_t dbt_group(DbtCtx *ctx, uint64_t ret)
{
    DbtVcpu *v = dbt_of(ctx->cpu);
    uint64_t *ret_slot = (uint64_t *)ctx - 1, lin = ctx->slow_addr;
    unsigned size = ctx->meta >> META_SIZE_SHIFT & META_SIZE_MASK, mode = ctx->meta >> META_MODE_SHIFT & 3;
    DbtPlace place = { .fault = true };
    if ((lin & 0xfff) + size <= 4096 && x86_canonical(lin))
        dbt_place(v, lin, mode, ctx->meta & META_W, &place);
    if (!place.fault && place.hva && !place.ram)
        return (uint64_t)(uintptr_t)place.hva;
    *ret_slot += 5;
    return 0;
}
