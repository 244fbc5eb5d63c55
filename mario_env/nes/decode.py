"""Decodes instructions ahead of time. A program in ROM never changes, so each address is decoded once, when it is loaded.

A decoded instruction is a 32-bit word:

    bits  0-7   handler: which piece of the interpreter executes it (see `cpu`); 0 is none
    bits  8-23  operand: a constant, an address, or a branch's target
    bits 24-25  further cycles of a branch that is taken: 1, or 3 when it leaves the page

The handler depends on what is known ahead: an absolute address in RAM, for example, does not involve the bus. Length and cycles
are constants of the handler, so that the next instruction's address never waits for the word to be loaded.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mario_env.nes.opcodes import LENGTHS, OPCODES, Opcode

READS: Final = ("LDA", "LDX", "LDY", "ADC", "SBC", "CMP", "CPX", "CPY", "AND", "ORA", "EOR", "BIT")
WRITES: Final = ("STA", "STX", "STY")
MODIFIES: Final = ("ASL", "LSR", "ROL", "ROR", "INC", "DEC")

# How operands are decoded: the kinds of addressing modes.
BYTE, RELATIVE, ABSOLUTE, INDEXED, ILLEGAL = range(5)
RAM, ROM, BUS = range(3)  # where an absolute address points

# The ways handlers reach their operand, by addressing mode and by where an absolute address points.
_ACCESS: Final = {
    "abs": ("ram", "bus", "bus"),
    "absx": ("ramx", "romx", "busx"),
    "absy": ("ramy", "romy", "busy"),
    "ind": ("ram", "bus", "bus"),
}
# Neither a store nor a read-modify-write changes ROM. Both use the general access.
_ON_BUS: Final = {"romx": "busx", "romy": "busy"}

_KINDS: Final = {
    "imp": BYTE, "acc": BYTE, "imm": BYTE, "zp": BYTE, "zpx": BYTE, "zpy": BYTE, "indx": BYTE, "indy": BYTE,
    "rel": RELATIVE, "abs": ABSOLUTE, "ind": ABSOLUTE, "absx": INDEXED, "absy": INDEXED,
}  # fmt: skip

SPINS: Final = ("SPIN_hit", "SPIN_clear")  # LDA $2002 at the head of a loop that waits for the sprite-0 flag
IDLE: Final = "IDLE"  # JMP to itself
FILL: Final = "FILL"  # STA abs,Y at the head of a loop that fills every fourth byte of RAM
TAKEN_SHIFT: Final = 24


class Handler(NamedTuple):
    """A piece of the interpreter."""

    number: int
    length: int
    cycles: int


def _handler_names(opcode: Opcode) -> tuple[str, str, str]:
    """The handlers of an opcode whose absolute address points to RAM, ROM and anything else."""
    if opcode.mnemonic in READS + WRITES + MODIFIES or opcode.mode == "ind":
        accesses = list(_ACCESS.get(opcode.mode, (opcode.mode,) * 3))
        if opcode.mnemonic not in READS:
            accesses = [_ON_BUS.get(access, access) for access in accesses]
        names = [f"{opcode.mnemonic}_{access}" for access in accesses]
        return names[0], names[1], names[2]
    return (opcode.mnemonic,) * 3


def _all_handlers() -> dict[str, Handler]:
    handlers: dict[str, Handler] = {}

    def add(name: str, length: int, cycles: int) -> None:
        handlers.setdefault(name, Handler(len(handlers) + 1, length, cycles))

    for opcode in OPCODES.values():
        for name in _handler_names(opcode):
            # BRK: nes-py counts the 7 cycles of the interrupt on top of the opcode's 7
            add(name, LENGTHS[opcode.mode], 14 if opcode.mnemonic == "BRK" else opcode.cycles)
    for name in SPINS:
        add(name, 3, 4)
    add(IDLE, 3, 3)
    add(FILL, 3, 5)
    add("ILLEGAL", 1, 1)
    return handlers


HANDLERS: Final = _all_handlers()


def decoding_tables() -> tuple[list[list[int]], list[int]]:
    """Handler by opcode and region, kind by opcode."""
    handlers, kinds = [[HANDLERS["ILLEGAL"].number] * 3 for _ in range(256)], [ILLEGAL] * 256
    for code, opcode in OPCODES.items():
        handlers[code] = [HANDLERS[name].number for name in _handler_names(opcode)]
        kinds[code] = _KINDS[opcode.mode]
    return handlers, kinds


def decode(handlers: Any, kinds: Any, pc: int, opcode: int, low: int, high: int) -> int:
    """Decode the instruction at `pc`, of which three bytes are given. Runs in Python and, compiled, for code in RAM."""
    kind, region, operand, taken = kinds[opcode], BUS, low, 0
    if kind == ILLEGAL:
        operand = opcode
    elif kind == RELATIVE:
        operand = (pc + 2 + low - ((low & 0x80) << 1)) & 0xFFFF
        taken = 1 if (operand ^ (pc + 2)) & 0xFF00 == 0 else 3
    elif kind in (ABSOLUTE, INDEXED):
        operand = low | high << 8
        last = operand + 0xFF if kind == INDEXED else operand
        if last < 0x2000:
            region = RAM
            if kind == ABSOLUTE and handlers[opcode][RAM] != handlers[opcode][BUS]:
                operand &= 0x7FF  # not JMP and JSR, whose operand is no address of data
        elif operand >= 0x8000 and last <= 0xFFFF:
            region = ROM
    return handlers[opcode][region] | operand << 8 | taken << TAKEN_SHIFT


def decode_program(prg: Sequence[int]) -> npt.NDArray[np.uint32]:
    """The decoded word of each address, shape (0x10000,). Outside ROM it is 0: instructions are decoded as they are met."""
    handlers, kinds = decoding_tables()
    padded = bytes(prg) + bytes(2)  # the vectors at the very end are not executed
    code = np.zeros(0x10000, np.uint32)
    code[0x8000:] = [decode(handlers, kinds, 0x8000 + i, padded[i], padded[i + 1], padded[i + 2]) for i in range(0x8000)]
    _mark_loops(code, bytes(prg))
    return code


def _mark_loops(code: npt.NDArray[np.uint32], program: bytes) -> None:
    """Mark the heads of loops that can be skipped with handlers of their own."""
    for opcode, handler in ((b"\xf0", SPINS[0]), (b"\xd0", SPINS[1])):  # BEQ waits for a hit, BNE for its end
        # LDA $2002; AND #$40; Bxx back to LDA
        for match in re.finditer(rb"\xad\x02\x20\x29\x40" + re.escape(opcode) + rb"\xf9", program):
            _replace(code, match.start(), 5, handler)
    # STA abs,Y; INY; INY; INY; INY; BNE back to STA
    for match in re.finditer(rb"\x99[\x00-\xff][\x00-\x06]\xc8\xc8\xc8\xc8\xd0\xf7", program):
        _replace(code, match.start(), 7, FILL)
    for match in re.finditer(rb"\x4c..", program, re.DOTALL):
        if match.group()[1] | match.group()[2] << 8 == 0x8000 + match.start():
            _replace(code, match.start(), 0, IDLE)


def _replace(code: npt.NDArray[np.uint32], at: int, branch: int, handler: str) -> None:
    """Set the handler at the head of the loop at `at`. Its period depends on what the branch `branch` bytes on costs."""
    taken = int(code[0x8000 + at + branch]) >> TAKEN_SHIFT << TAKEN_SHIFT
    code[0x8000 + at] = (int(code[0x8000 + at]) & 0xFFFF00) | HANDLERS[handler].number | taken
