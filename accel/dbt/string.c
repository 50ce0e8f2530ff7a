/*
 * MOVS, CMPS, STOS, LODS, SCAS with and without REP, called from translated code. A repetition works page by page: one check for
 * source and destination each, then the host's own string instruction.
 */
#include "accel/dbt/dbt.h"

typedef struct StringOp {
    DbtVcpu *v;
    X86State *st;
    uint64_t ret;
    unsigned opcode, size, seg, rep, adsz, mode;
    uint64_t mask;           /* of the address size */
    int64_t step;            /* bytes an element, negative with DF */
    bool flat;               /* segments have no limits to check */
    bool synced;
} StringOp;

static uint64_t reg(const StringOp *s, unsigned r) { return s->st->gpr[r] & s->mask; }

static void set_reg(StringOp *s, unsigned r, uint64_t value)
{
    if (s->adsz == 2)
        st16(&s->st->gpr[r], value);
    else
        s->st->gpr[r] = value & s->mask;
}

static uint64_t linear(StringOp *s, unsigned seg, unsigned r, unsigned access)
{
    uint64_t off = reg(s, r);
    if (!s->flat)
        return x86_seg_lin(s->v->cpu, seg, off, s->size, access);
    return seg >= SEG_FS ? off + s->st->seg[seg].base : off;
}

/* Faults must find rip; cheap enough to do late. */
static void sync_once(StringOp *s)
{
    if (!s->synced)
        dbt_sync_at(s->v, s->ret);
    s->synced = true;
}

/* Elements that fit on the page of lin in the direction of travel; 0: the first one crosses. */
static uint64_t on_page(const StringOp *s, uint64_t lin)
{
    uint64_t off = lin & 0xfff;
    if (off + s->size > 4096)
        return 0;
    return s->step > 0 ? (4096 - off) / s->size : off / s->size + 1;
}

/* Before the offset wraps at the address size or the segment limit; only flat segments get here. */
static uint64_t before_wrap(const StringOp *s, unsigned r)
{
    if (s->adsz == 8)
        return UINT64_MAX;
    uint64_t off = reg(s, r);
    return s->step > 0 ? (s->mask - off) / s->size + 1 : off / s->size + 1;
}

static uint8_t *place(StringOp *s, uint64_t lin, bool write, DbtPlace *out)
{
    if (s->st->seg[SEG_CS].attr & SEG_ATTR_L && !x86_canonical(lin)) {
        sync_once(s);
        x86_fault(s->v->cpu, EXC_GP, 0);
    }
    dbt_place(s->v, lin, s->mode, write, out);
    if (out->fault) {
        sync_once(s);
        x86_fault_translation(s->v->cpu, &out->tr);
    }
    return out->hva;
}

static void copy(uint8_t *to, const uint8_t *from, uint64_t n, unsigned size, bool down)
{
    if (down)
        __asm__ volatile("std" ::: "memory");
    switch (size) {
    case 1: __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) :: "memory"); break;
    case 2: __asm__ volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(n) :: "memory"); break;
    case 4: __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(n) :: "memory"); break;
    default: __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) :: "memory"); break;
    }
    if (down)
        __asm__ volatile("cld" ::: "memory");
}

static void set(uint8_t *to, uint64_t value, uint64_t n, unsigned size, bool down)
{
    if (down)
        __asm__ volatile("std" ::: "memory");
    switch (size) {
    case 1: __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory"); break;
    case 2: __asm__ volatile("rep stosw" : "+D"(to), "+c"(n) : "a"(value) : "memory"); break;
    case 4: __asm__ volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(value) : "memory"); break;
    default: __asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(value) : "memory"); break;
    }
    if (down)
        __asm__ volatile("cld" ::: "memory");
}

static uint64_t load(const uint8_t *p, unsigned size)
{
    return size == 1 ? *p : size == 2 ? ld16(p) : size == 4 ? ld32(p) : ld64(p);
}

static void compare(StringOp *s, uint64_t a, uint64_t b)
{
    uint64_t flags;
    unsigned shift = 64 - 8 * s->size;
    /* moved to the top, the subtraction sets CF, OF, SF, ZF as at the element's size; AF and PF come from the low byte */
    a <<= shift;
    b <<= shift;
    __asm__("cmp %2, %1\n\tpushfq\n\tpop %0" : "=r"(flags) : "r"(a), "r"(b) : "cc");
    uint64_t low;
    a >>= shift;
    b >>= shift;
    __asm__("cmpb %b2, %b1\n\tpushfq\n\tpop %0" : "=r"(low) : "q"(a), "q"(b) : "cc");
    flags = (flags & (FL_CF | FL_OF | FL_SF | FL_ZF)) | (low & (FL_AF | FL_PF));
    s->v->ctx->flags = (flags & 0xd5) << 8 | (flags >> 11 & 1);
}

static void advance(StringOp *s, bool src, bool dst, uint64_t n)
{
    if (src)
        set_reg(s, R_RSI, s->st->gpr[R_RSI] + s->step * n);
    if (dst)
        set_reg(s, R_RDI, s->st->gpr[R_RDI] + s->step * n);
    if (s->rep)
        set_reg(s, R_RCX, s->st->gpr[R_RCX] - n);
}

/* One element by the checked accessors: page crossings, registers, limits. */
static bool one_slowly(StringOp *s, bool src, bool dst)
{
    X86Cpu *cpu = s->v->cpu;
    uint64_t a = 0, b = 0;
    sync_once(s);
    if (src)
        a = x86_ld(cpu, linear(s, s->seg, R_RSI, X86_READ), s->size, X86_READ);
    switch (s->opcode & 0xfe) {
    case 0xa4: x86_st(cpu, linear(s, SEG_ES, R_RDI, X86_WRITE), a, s->size, X86_WRITE); break;
    case 0xaa: x86_st(cpu, linear(s, SEG_ES, R_RDI, X86_WRITE), s->st->gpr[R_RAX] & mask_bytes(s->size), s->size, X86_WRITE); break;
    case 0xa6: case 0xae:
        b = x86_ld(cpu, linear(s, SEG_ES, R_RDI, X86_READ), s->size, X86_READ);
        if (!src)
            a = s->st->gpr[R_RAX] & mask_bytes(s->size);
        compare(s, a, b);
        break;
    default: /* LODS */
        if (s->size == 4)
            s->st->gpr[R_RAX] = a;
        else if (s->size == 8)
            s->st->gpr[R_RAX] = a;
        else if (s->size == 2)
            st16(&s->st->gpr[R_RAX], a);
        else
            *(uint8_t *)&s->st->gpr[R_RAX] = a;
    }
    advance(s, src, dst, 1);
    return (s->opcode & 0xf6) == 0xa6 && s->rep && a == b ? s->rep == 1 : (s->opcode & 0xf6) != 0xa6 || s->rep == 2;
}

/* A run of comparisons; false when the termination condition was met. */
static bool compare_run(StringOp *s, const uint8_t *from, const uint8_t *to, uint64_t n)
{
    uint64_t a = s->st->gpr[R_RAX] & mask_bytes(s->size), b = 0, i = 0;
    bool go_on = true;
    while (i < n && go_on) {
        if (from)
            a = load(from + s->step * (int64_t)i, s->size);
        b = load(to + s->step * (int64_t)i, s->size);
        i++;
        go_on = s->rep == 1 ? a == b : s->rep == 2 ? a != b : false;
    }
    compare(s, a, b);
    advance(s, from, true, i);
    return go_on;
}

static bool some(StringOp *s, bool src, bool dst, uint64_t count)
{
    bool writes = (s->opcode & 0xfe) == 0xa4 || (s->opcode & 0xfe) == 0xaa;
    if (!s->flat)
        return one_slowly(s, src, dst);
    uint64_t n = count, from_lin = 0, to_lin = 0;
    DbtPlace from = { 0 }, to = { 0 };
    if (src) {
        from_lin = linear(s, s->seg, R_RSI, X86_READ);
        n = MIN(n, MIN(on_page(s, from_lin), before_wrap(s, R_RSI)));
    }
    if (dst) {
        to_lin = linear(s, SEG_ES, R_RDI, writes ? X86_WRITE : X86_READ);
        n = MIN(n, MIN(on_page(s, to_lin), before_wrap(s, R_RDI)));
    }
    if (!n || (src && !place(s, from_lin, false, &from)) || (dst && !place(s, to_lin, writes, &to)))
        return one_slowly(s, src, dst);
    bool down = s->step < 0, go_on = true;
    switch (s->opcode & 0xfe) {
    case 0xa4: copy(to.hva, from.hva, n, s->size, down); advance(s, true, true, n); break;
    case 0xaa: set(to.hva, s->st->gpr[R_RAX], n, s->size, down); advance(s, false, true, n); break;
    case 0xa6: case 0xae: go_on = compare_run(s, src ? from.hva : NULL, to.hva, n); break;
    default:
        if (n > 1)
            advance(s, true, false, n - 1); /* only the last one counts */
        return one_slowly(s, true, false);
    }
    if (to.ram && writes)
        dbt_report_write(s->v, to.ram, down ? to.offset - (n - 1) * s->size : to.offset, n * s->size);
    return go_on;
}

void dbt_string(DbtCtx *ctx, uint64_t ret)
{
    DbtVcpu *v = dbt_of(ctx->cpu);
    X86State *st = ctx->st;
    uint32_t info = ctx->exit_info;
    StringOp s = { .v = v, .st = st, .ret = ret, .opcode = info & 0xff, .size = info >> 8 & 0xff, .seg = info >> 16 & 15,
                   .rep = info >> 20 & 3, .adsz = info >> 24, .mode = ctx->meta >> META_MODE_SHIFT & 3 };
    s.mask = mask_bytes(s.adsz);
    s.step = st->rflags & FL_DF ? -(int64_t)s.size : s.size;
    bool src = (s.opcode & 0xfe) == 0xa4 || (s.opcode & 0xfe) == 0xa6 || (s.opcode & 0xfe) == 0xac;
    bool dst = (s.opcode & 0xfe) != 0xac;
    uint32_t need = (src && s.seg == SEG_DS ? KEY_FLAT_DS : 0) | (dst ? KEY_FLAT_ES : 0) |
                    (src && s.seg == SEG_SS ? KEY_FLAT_SS : 0);
    bool odd = src && s.seg != SEG_DS && s.seg != SEG_SS && !(s.seg == SEG_ES && v->key & KEY_FLAT_ES);
    s.flat = key_bits(v->key) == 64 || ((v->key & need) == need && !odd);
    bool go_on = true;
    if (!s.rep) {
        some(&s, src, dst, 1);
    } else {
        uint64_t left;
        while (go_on && (left = reg(&s, R_RCX))) {
            go_on = some(&s, src, dst, left);
            if (go_on && ctx->exit_flag && reg(&s, R_RCX)) { /* rip is at the instruction: it goes on later */
                sync_once(&s);
                dbt_sync_at(v, ret);
                dbt_leave(v);
            }
        }
    }
    dbt_after_write(v, ret);
    dbt_fpu_in(v);
}
