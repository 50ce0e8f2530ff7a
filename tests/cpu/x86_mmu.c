/*
 * Page walks in every paging mode: addresses, permissions, fault codes, accessed and dirty bits.
 */
#include "tests/cpu/x86_rig.h"

static Rig *rig;

static uint64_t *pte(uint64_t gpa) { return (uint64_t *)(rig->ram + gpa); }
static uint32_t *pte32(uint64_t gpa) { return (uint32_t *)(rig->ram + gpa); }

static X86Translation ok(uint64_t lin, unsigned access)
{
    X86Translation tr;
    g_assert_true(x86_mmu_translate(rig->cpu, lin, access, &tr));
    return tr;
}

static uint32_t fault(uint64_t lin, unsigned access)
{
    X86Translation tr;
    g_assert_false(x86_mmu_translate(rig->cpu, lin, access, &tr));
    g_assert_cmpuint(tr.fault_vector, ==, EXC_PF);
    g_assert_cmphex(tr.fault_lin, ==, lin);
    return tr.fault_error;
}

static void test_identity(void)
{
    rig_real(rig, 0, 0);
    g_assert_cmphex(ok(0x123456, X86_READ).gpa, ==, 0x123456);
    rig->st->a20 = false;
    g_assert_cmphex(ok(0x123456, X86_READ).gpa, ==, 0x23456);
}

/* A 4 KiB page at 0x40000000 + 0x5000 through its own page table at 0x120000. */
#define PD1 (RIG_TABLES + 0x3000)
#define PT (RIG_TABLES + 0x4000)
static void map_4k(uint64_t flags)
{
    rig_long(rig, 0x1000);
    *pte(RIG_TABLES + 0x1008) = PD1 | 7;
    *pte(PD1) = PT | 7;
    *pte(PT + 5 * 8) = 0x77000 | flags;
}
#define LIN 0x40005000ull

static void test_long_4k(void)
{
    map_4k(0x7);
    X86Translation tr = ok(LIN + 0x123, X86_READ);
    g_assert_cmphex(tr.gpa, ==, 0x77123);
    g_assert_cmphex(tr.page_size, ==, 0x1000);
    g_assert_cmpuint(tr.perms, ==, X86_PERM_R | X86_PERM_X); /* D is clear: no write yet */
    g_assert_true(tr.user);
    g_assert_cmphex(*pte(PT + 40), ==, 0x77027);
    g_assert_cmphex(*pte(PD1) & 0x60, ==, 0x20);
    g_assert_cmphex(*pte(RIG_TABLES) & 0x60, ==, 0x20);
    tr = ok(LIN, X86_WRITE);
    g_assert_cmpuint(tr.perms, ==, X86_PERM_R | X86_PERM_W | X86_PERM_X);
    g_assert_cmphex(*pte(PT + 40), ==, 0x77067);
    map_4k(0x107);
    ok(LIN, X86_WRITE | X86_PROBE);
    g_assert_cmphex(*pte(PT + 40), ==, 0x77107);
    g_assert_true(ok(LIN, X86_READ).global);
}

static void test_long_faults(void)
{
    map_4k(0x6);
    g_assert_cmphex(fault(LIN, X86_READ), ==, 0);
    g_assert_cmphex(fault(LIN, X86_WRITE), ==, PF_W);
    g_assert_cmphex(fault(LIN, X86_EXEC), ==, PF_I);
    map_4k(0x5); /* read-only */
    g_assert_cmphex(fault(LIN, X86_WRITE), ==, PF_P | PF_W);
    rig->st->cr0 &= ~(uint64_t)CR0_WP;
    ok(LIN, X86_WRITE);
    rig_ring3(rig);
    g_assert_cmphex(fault(LIN, X86_WRITE), ==, PF_P | PF_W | PF_U);
    g_assert_cmpuint(ok(LIN, X86_READ).perms, ==, X86_PERM_R | X86_PERM_X);
    map_4k(0x3); /* supervisor */
    rig_ring3(rig);
    g_assert_cmphex(fault(LIN, X86_READ), ==, PF_P | PF_U);
    ok(LIN, X86_READ | X86_SUPERVISOR);
    map_4k(7 | 1ull << 63);
    g_assert_cmphex(fault(LIN, X86_EXEC), ==, PF_P | PF_I);
    rig->st->efer &= ~(uint64_t)EFER_NXE; /* bit 63 is reserved then */
    g_assert_cmphex(fault(LIN, X86_READ), ==, PF_P | PF_RSVD);
    map_4k(7 | 1ull << 51);
    g_assert_cmphex(fault(LIN, X86_READ), ==, PF_P | PF_RSVD);
    g_assert_cmphex(*pte(PT + 40) & 0x60, ==, 0);
}

static void test_smep_smap(void)
{
    map_4k(7);
    rig->st->cr4 |= CR4_SMEP | CR4_SMAP;
    g_assert_cmphex(fault(LIN, X86_EXEC), ==, PF_P | PF_I);
    g_assert_cmphex(fault(LIN, X86_READ), ==, PF_P);
    rig->st->rflags |= FL_AC;
    g_assert_cmpuint(ok(LIN, X86_WRITE).perms, ==, X86_PERM_R | X86_PERM_W);
    g_assert_cmphex(fault(LIN, X86_READ | X86_SUPERVISOR), ==, PF_P);
    rig_ring3(rig);
    ok(LIN, X86_EXEC);
}

static void test_large(void)
{
    rig_long(rig, 0x1000);
    g_assert_cmphex(ok(0x345678, X86_READ).gpa, ==, 0x345678);
    g_assert_cmphex(ok(0x345678, X86_READ).page_size, ==, 2 * MIB);
    *pte(RIG_TABLES + 0x1010) = 0x40000000 | 0x87; /* 1 GiB page at 2 GiB */
    g_assert_cmphex(ok(0x80000000 + 0x123456, X86_READ).gpa, ==, 0x40123456);
    g_assert_cmphex(ok(0x80000000, X86_READ).page_size, ==, GIB);
    *pte(RIG_TABLES + 0x1010) |= 1 << 13;
    g_assert_cmphex(fault(0x80000000, X86_READ), ==, PF_P | PF_RSVD);
    *pte(RIG_TABLES + 8) = (RIG_TABLES + 0x1000) | 0x87; /* PS in the top level */
    g_assert_cmphex(fault(1ull << 39, X86_READ), ==, PF_P | PF_RSVD);
}

static void test_legacy(void)
{
    rig_protected(rig, 0x1000);
    rig->st->cr0 |= CR0_PG | CR0_WP;
    rig->st->cr3 = RIG_TABLES;
    *pte32(RIG_TABLES + 4) = PT | 7;
    *pte32(PT + 8) = 0x99000 | 5;
    X86Translation tr = ok(0x402abc, X86_READ);
    g_assert_cmphex(tr.gpa, ==, 0x99abc);
    g_assert_cmphex(*pte32(PT + 8), ==, 0x99025);
    g_assert_cmphex(fault(0x402abc, X86_WRITE), ==, PF_P | PF_W);
    g_assert_cmphex(fault(0x402abc + 0x1000, X86_EXEC), ==, 0); /* no NX: no I bit */
    *pte32(RIG_TABLES + 8) = 0x00800000 | 0x87 | 1 << 13; /* PSE-36: bit 32 of the address */
    g_assert_cmphex(fault(0x812345, X86_READ), ==, 0);    /* PSE off: a table at 0x802000, empty */
    rig->st->cr4 |= CR4_PSE;
    tr = ok(0x812345, X86_READ);
    g_assert_cmphex(tr.gpa, ==, 0x100812345ull);
    g_assert_cmphex(tr.page_size, ==, 4 * MIB);
    *pte32(RIG_TABLES + 8) |= 1 << 21;
    g_assert_cmphex(fault(0x812345, X86_READ), ==, PF_P | PF_RSVD);
}

static void test_pae(void)
{
    rig_protected(rig, 0x1000);
    rig->st->cr0 |= CR0_PG | CR0_WP;
    rig->st->cr4 |= CR4_PAE;
    rig->st->efer |= EFER_NXE;
    rig->st->cr3 = RIG_TABLES + 0x20; /* 32-byte aligned */
    *pte(RIG_TABLES + 0x20 + 8) = PD1 | 1;
    *pte(PD1 + 8) = 0x600000 | 0x83 | 1ull << 63;
    X86Translation tr = ok(0x40212345, X86_WRITE);
    g_assert_cmphex(tr.gpa, ==, 0x612345);
    g_assert_cmphex(tr.page_size, ==, 2 * MIB);
    g_assert_cmpuint(tr.perms, ==, X86_PERM_R | X86_PERM_W);
    g_assert_cmphex(*pte(RIG_TABLES + 0x28), ==, PD1 | 1); /* no A bit there */
    g_assert_cmphex(fault(0x40212345, X86_EXEC), ==, PF_P | PF_I);
    *pte(PD1 + 8) |= 1ull << 55;
    g_assert_cmphex(fault(0x40212345, X86_READ), ==, PF_P | PF_RSVD);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    rig = rig_new("max");
    g_test_add_func("/mmu/identity", test_identity);
    g_test_add_func("/mmu/long-4k", test_long_4k);
    g_test_add_func("/mmu/long-faults", test_long_faults);
    g_test_add_func("/mmu/smep-smap", test_smep_smap);
    g_test_add_func("/mmu/large", test_large);
    g_test_add_func("/mmu/legacy", test_legacy);
    g_test_add_func("/mmu/pae", test_pae);
    int result = g_test_run();
    rig_free(rig);
    return result;
}
