"""Decodes instructions ahead of time: a program in ROM never changes, so each address is decoded once, when it is loaded.

A decoded instruction is a 32-bit word:

    bits  0-7   handler: which piece of the interpreter executes it (see `cpu`)
    bits  8-23  operand: a constant, an address, or a branch's target
    bits 24-27  cycles
    bits 28-29  length in bytes
    bits 30-31  cycles a branch costs on top when it is taken: 1, or 3 when it leaves the page

What is known ahead is folded in: an absolute address in RAM is the same handler as the zero page, one in ROM is a constant.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mario_env.nes.opcodes import OPCODES, Opcode

READS: Final = ("LDA", "LDX", "LDY", "ADC", "SBC", "CMP", "CPX", "CPY", "AND", "ORA", "EOR", "BIT")
WRITES: Final = ("STA", "STX", "STY")
MODIFIES: Final = ("ASL", "LSR", "ROL", "ROR", "INC", "DEC")

# How operands are decoded: the kinds of addressing modes.
PLAIN, BYTE, RELATIVE, ABSOLUTE, ABSOLUTE_READ, INDEXED, ILLEGAL = range(7)
RAM, ROM, BUS = range(3)  # where an absolute address points

# The ways handlers reach their operand, by addressing mode and by where an absolute address points.
_ACCESS: Final = {
    "acc": ("acc", "acc", "acc"),
    "imm": ("value", "value", "value"),
    "zp": ("ram", "ram", "ram"),
    "abs": ("ram", "value", "bus"),
    "absx": ("ramx", "romx", "busx"),
    "absy": ("ramy", "romy", "busy"),
    "ind": ("ram", "bus", "bus"),
}
# A store to ROM has no effect and a read-modify-write neither, but both take the general way.
_ON_BUS: Final = {"value": "bus", "romx": "busx", "romy": "busy"}

_KINDS: Final = {
    "imp": PLAIN, "acc": PLAIN, "imm": BYTE, "zp": BYTE, "zpx": BYTE, "zpy": BYTE, "indx": BYTE, "indy": BYTE,
    "rel": RELATIVE, "abs": ABSOLUTE, "ind": ABSOLUTE, "absx": INDEXED, "absy": INDEXED,
}  # fmt: skip

SPINS: Final = ("SPIN_hit", "SPIN_clear")  # LDA $2002 at the head of a loop that waits for the sprite-0 flag
IDLE: Final = "IDLE"  # JMP to itself


def _handler_names(opcode: Opcode) -> tuple[str, str, str]:
    """The handlers of an opcode whose absolute address points to RAM, ROM and anything else."""
    if opcode.mnemonic in READS + WRITES + MODIFIES or opcode.mode == "ind":
        accesses = list(_ACCESS.get(opcode.mode, (opcode.mode,) * 3))
        if opcode.mnemonic not in READS:
            accesses = [_ON_BUS.get(access, access) for access in accesses]
        names = [f"{opcode.mnemonic}_{access}" for access in accesses]
        return names[0], names[1], names[2]
    return (opcode.mnemonic,) * 3


def _all_handlers() -> dict[str, int]:
    names = dict.fromkeys(name for opcode in OPCODES.values() for name in _handler_names(opcode))
    return {name: number for number, name in enumerate([*names, *SPINS, IDLE, "ILLEGAL"])}


HANDLERS: Final = _all_handlers()


def decoding_tables() -> tuple[list[list[int]], list[int], list[int]]:
    """Handler by opcode and region, kind by opcode, base cycles by opcode."""
    handlers, kinds, cycles = [[HANDLERS["ILLEGAL"]] * 3 for _ in range(256)], [ILLEGAL] * 256, [1] * 256
    for code, opcode in OPCODES.items():
        handlers[code] = [HANDLERS[name] for name in _handler_names(opcode)]
        kinds[code] = _KINDS[opcode.mode]
        if kinds[code] == ABSOLUTE and opcode.mnemonic in READS:
            kinds[code] = ABSOLUTE_READ
        # BRK: nes-py counts the 7 cycles of the interrupt on top of the opcode's 7
        cycles[code] = opcode.cycles * 2 if opcode.mnemonic == "BRK" else opcode.cycles
    return handlers, kinds, cycles


def decode(handlers: Any, kinds: Any, cycles: Any, prg: Any, pc: int, opcode: int, low: int, high: int) -> int:
    """Decode the instruction at `pc`, of which three bytes are given. Runs in Python and, compiled, for code in RAM."""
    kind, region, operand, length, taken = kinds[opcode], BUS, low, 2, 0
    if kind == PLAIN:
        operand, length = 0, 1
    elif kind == ILLEGAL:
        operand, length = opcode, 1
    elif kind == RELATIVE:
        target = (pc + 2 + low - ((low & 0x80) << 1)) & 0xFFFF
        taken = 1 if (target ^ (pc + 2)) & 0xFF00 == 0 else 3
        operand = target
    elif kind != BYTE:
        operand, length = low | high << 8, 3
        last = operand + 0xFF if kind == INDEXED else operand
        if last < 0x2000:
            region = RAM
            if kind == ABSOLUTE_READ or (kind == ABSOLUTE and handlers[opcode][RAM] != handlers[opcode][BUS]):
                operand &= 0x7FF  # not JMP and JSR, whose operand is no address of data
        elif operand >= 0x8000 and last <= 0xFFFF:
            region = ROM
            if kind == ABSOLUTE_READ:
                operand = prg[operand & 0x7FFF]
    return handlers[opcode][region] | operand << 8 | cycles[opcode] << 24 | length << 28 | taken << 30


def decode_program(prg: Sequence[int]) -> npt.NDArray[np.uint32]:
    """The decoded word of each address; 0 outside of ROM, where an instruction is decoded when it is met. Shape (0x10004,)."""
    handlers, kinds, cycles = decoding_tables()
    code = np.zeros(0x10004, np.uint32)
    words = [
        decode(handlers, kinds, cycles, prg, 0x8000 + i, prg[i], prg[i + 1], prg[i + 2]) for i in range(0x8000 - 2)
    ]
    code[0x8000 : 0x8000 + len(words)] = words
    _mark_idle_loops(code, prg)
    return code


def _mark_idle_loops(code: npt.NDArray[np.uint32], prg: Sequence[int]) -> None:
    """Give the loops that only wait handlers of their own, which skip ahead."""
    program = bytes(prg)
    for opcode, handler in ((0xF0, SPINS[0]), (0xD0, SPINS[1])):  # BEQ waits for a hit, BNE for its end
        loop = bytes((0xAD, 0x02, 0x20, 0x29, 0x40, opcode, 0xF9))  # LDA $2002; AND #$40; Bxx back to LDA
        at = program.find(loop)
        while at >= 0:
            branch = int(code[0x8000 + at + 5])
            word = int(code[0x8000 + at])
            # The loop's period depends on the branch: the LDA carries the branch's extra cycles.
            code[0x8000 + at] = (word & ~0xFF & 0x3FFFFFFF) | HANDLERS[handler] | (branch >> 30) << 30
            at = program.find(loop, at + 1)
    for i in range(0x8000 - 2):
        if program[i] == 0x4C and program[i + 1] | program[i + 2] << 8 == 0x8000 + i:
            code[0x8000 + i] = (int(code[0x8000 + i]) & ~0xFF) | HANDLERS[IDLE]
