/*
 * Stack accesses whose register changes only when all of them went well.
 */
#include "accel/x86/internal.h"

Stack x86_stack(X86Cpu *cpu)
{
    const X86State *st = &cpu->st;
    bool flat = x86_code64(st);
    uint64_t mask = flat ? UINT64_MAX : st->seg[SEG_SS].attr & SEG_ATTR_DB ? 0xffffffffu : 0xffffu;
    return (Stack) { .ss = st->seg[SEG_SS], .sp = st->gpr[R_RSP], .mask = mask, .flat = flat };
}

static uint64_t stack_lin(X86Cpu *cpu, const Stack *s, uint64_t sp, unsigned size, unsigned access)
{
    if (!s->flat)
        return x86_seg_check(cpu, &s->ss, true, sp, size, access, s->error);
    if (!x86_canonical(sp) || !x86_canonical(sp + size - 1))
        x86_fault(cpu, EXC_SS, s->error);
    return sp;
}

void x86_stack_push(X86Cpu *cpu, Stack *s, uint64_t value, unsigned size)
{
    uint64_t sp = (s->sp - size) & s->mask;
    uint64_t lin = stack_lin(cpu, s, sp, size, X86_WRITE);
    x86_st(cpu, lin, value, size, s->access);
    s->sp = (s->sp & ~s->mask) | sp;
}

uint64_t x86_stack_pop(X86Cpu *cpu, Stack *s, unsigned size)
{
    uint64_t sp = s->sp & s->mask;
    uint64_t value = x86_ld(cpu, stack_lin(cpu, s, sp, size, X86_READ), size, s->access | X86_READ);
    s->sp = (s->sp & ~s->mask) | ((sp + size) & s->mask);
    return value;
}

void x86_stack_commit(X86Cpu *cpu, const Stack *s)
{
    /* A 16-bit stack pointer leaves the upper bits alone; a 32-bit one is written like any 32-bit register. */
    uint64_t *rsp = &cpu->st.gpr[R_RSP];
    if (s->mask == 0xffff)
        *rsp = (*rsp & ~0xffffull) | (s->sp & 0xffff);
    else
        *rsp = s->sp & s->mask;
}
