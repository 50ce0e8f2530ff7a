/*
 * The architectural state of one x86-64 vCPU: shared by every accelerator, the debugger, snapshots and migration.
 *
 * Layout rules: what translated code touches comes first, so that it is reached with 8-bit displacements from a base in
 * the middle; vector and x87 registers are kept in the host's XSAVE standard format.
 * Source: Intel SDM vol. 1 ch. 3, 13; vol. 3A ch. 2, 3; AMD APM vol. 2.
 */
#pragma once

#include <rhea/base.h>

enum { R_RAX, R_RCX, R_RDX, R_RBX, R_RSP, R_RBP, R_RSI, R_RDI, R_R8, R_R9, R_R10, R_R11, R_R12, R_R13, R_R14, R_R15 };
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT }; /* first six: instruction encoding */

/* Segment register with its hidden part. attr: bits 8..23 of the descriptor's high half >> 8, plus unusable. */
typedef struct X86Segment {
    uint64_t base;
    uint32_t limit;      /* bytes, granularity applied */
    uint16_t selector;
    uint16_t attr;       /* type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15 */
} X86Segment;

#define SEG_ATTR_TYPE 0x000f
#define SEG_ATTR_A    0x0001
#define SEG_ATTR_RW   0x0002 /* code: readable; data: writable */
#define SEG_ATTR_CE   0x0004 /* code: conforming; data: expand down */
#define SEG_ATTR_CODE 0x0008
#define SEG_ATTR_S    0x0010
#define SEG_ATTR_DPL_SHIFT 5
#define SEG_ATTR_P    0x0080
#define SEG_ATTR_L    0x2000
#define SEG_ATTR_DB   0x4000
#define SEG_ATTR_G    0x8000

typedef struct X86Table { uint64_t base; uint32_t limit; } X86Table;

/* EFLAGS */
#define FL_CF 0x1u
#define FL_PF 0x4u
#define FL_AF 0x10u
#define FL_ZF 0x40u
#define FL_SF 0x80u
#define FL_TF 0x100u
#define FL_IF 0x200u
#define FL_DF 0x400u
#define FL_OF 0x800u
#define FL_IOPL 0x3000u
#define FL_NT 0x4000u
#define FL_RF 0x10000u
#define FL_VM 0x20000u
#define FL_AC 0x40000u
#define FL_VIF 0x80000u
#define FL_VIP 0x100000u
#define FL_ID 0x200000u
#define FL_ARITH (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

/* Control registers */
#define CR0_PE 0x1u
#define CR0_MP 0x2u
#define CR0_EM 0x4u
#define CR0_TS 0x8u
#define CR0_ET 0x10u
#define CR0_NE 0x20u
#define CR0_WP 0x10000u
#define CR0_AM 0x40000u
#define CR0_NW 0x20000000u
#define CR0_CD 0x40000000u
#define CR0_PG 0x80000000u
#define CR4_VME 0x1u
#define CR4_PVI 0x2u
#define CR4_TSD 0x4u
#define CR4_DE 0x8u
#define CR4_PSE 0x10u
#define CR4_PAE 0x20u
#define CR4_MCE 0x40u
#define CR4_PGE 0x80u
#define CR4_PCE 0x100u
#define CR4_OSFXSR 0x200u
#define CR4_OSXMMEXCPT 0x400u
#define CR4_UMIP 0x800u
#define CR4_LA57 0x1000u
#define CR4_FSGSBASE 0x10000u
#define CR4_PCIDE 0x20000u
#define CR4_OSXSAVE 0x40000u
#define CR4_SMEP 0x100000u
#define CR4_SMAP 0x200000u
#define CR4_PKE 0x400000u
#define EFER_SCE 0x1u
#define EFER_LME 0x100u
#define EFER_LMA 0x400u
#define EFER_NXE 0x800u

/* Exception vectors */
enum {
    EXC_DE, EXC_DB, EXC_NMI, EXC_BP, EXC_OF, EXC_BR, EXC_UD, EXC_NM, EXC_DF, EXC_CSO, EXC_TS, EXC_NP, EXC_SS, EXC_GP, EXC_PF,
    EXC_MF = 16, EXC_AC, EXC_MC, EXC_XM
};
#define PF_P 0x1u
#define PF_W 0x2u
#define PF_U 0x4u
#define PF_RSVD 0x8u
#define PF_I 0x10u

/* Interrupt shadow: after STI, or MOV/POP SS, one instruction runs before interrupts are taken. */
#define SHADOW_STI 1
#define SHADOW_SS  2

/* XSAVE area, standard format: legacy region 512 bytes, header 64, AVX (YMM high halves) 256 at 576. */
#define X86_XSAVE_SIZE 832
#define XSAVE_FCW 0
#define XSAVE_FSW 2
#define XSAVE_FTW 4
#define XSAVE_FOP 6
#define XSAVE_FIP 8
#define XSAVE_FDP 16
#define XSAVE_MXCSR 24
#define XSAVE_ST0 32
#define XSAVE_XMM0 160
#define XSAVE_HEADER 512
#define XSAVE_YMMH 576

typedef struct X86State {
    uint64_t gpr[16];
    uint64_t rip;
    uint64_t rflags;
    X86Segment seg[SEG_COUNT];
    X86Table gdt, idt;
    uint64_t cr0, cr2, cr3, cr4;
    uint64_t efer;
    uint64_t xcr0;
    uint8_t cpl;
    uint8_t shadow;          /* SHADOW_* */
    bool nmi_masked;         /* until IRET */
    bool a20;                /* address line 20 open */
    uint8_t cr8;             /* without a local APIC; else the APIC's TPR is the truth */
    /* MSRs */
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, misc_enable, debugctl, feature_control;
    uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
    uint64_t mcg_status, mcg_ctl, mc[10][4];  /* ctl, status, addr, misc */
    int64_t tsc_offset;      /* guest TSC = host TSC scaled + offset */
    uint64_t tsc_adjust;
    uint64_t xss;
    uint64_t kvmclock_system, kvmclock_wall, kvm_async_pf, kvm_steal, kvm_eoi; /* paravirtual MSRs as written */
    uint64_t dr[8];          /* 4, 5 unused */
    /* An exception that was raised while another was being delivered, SDM 3A 6.15 table 6-5. */
    int32_t delivering;      /* vector or -1 */
    /* Not on 64 bytes (objects come from malloc): XSAVE and XRSTOR go through an aligned copy. */
    _Alignas(16) uint8_t xsave[X86_XSAVE_SIZE];
} X86State;
