/* Encoding classes: what an opcode means, learned from the Zydis tables when an encoding is first seen. */
#pragma once

#include "accel/dbt/dbt.h"

void dbt_classes_init(DbtVcpu *v);
/* Forgets all; no Insn may be in use. */
void dbt_classes_reset(DbtVcpu *v);
const OpClass *dbt_class_find(DbtVcpu *v, const Insn *insn, unsigned bits);
/*
 * Learns the class of an instruction whose immediate starts at imm_pos. Returns as dbt_decode(): 0 when more bytes are needed, -1 for
 * an undefined one, else positive.
 */
int dbt_class_learn(DbtVcpu *v, const Insn *insn, const uint8_t *p, unsigned max, unsigned bits, unsigned imm_pos,
                    const OpClass **out);
