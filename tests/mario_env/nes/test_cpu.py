"""The 6502, opcode by opcode: against expected results, against the plain model, and against Python's integers."""

import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mario_env.nes.machine import Fleet, insert_cartridge, make_rules
from mario_env.nes.opcodes import LENGTHS, OPCODES
from mario_env.nes.rom import Rom

sys.path.insert(0, str(Path(__file__).parent))
from reference_6502 import State, execute

CODE_IN_RAM = 0x0400
CODE_IN_ROM = 0x9000
# A program bank whose bytes are all different from their neighbours, so that wrong addresses show.
PRG = bytes((i * 7 + (i >> 8) * 13 + 5) & 0xFF for i in range(0x8000))


def fleet(prg: bytes = PRG) -> Fleet:
    return Fleet(insert_cartridge(Rom(prg, bytes(0x2000), True)), make_rules(None), 1)


@cache
def shared_fleet() -> Fleet:
    """One machine for all tests, compiled when the first of them runs: not when they are collected, by every worker."""
    return fleet()


def run(games: Fleet, state: State) -> tuple[dict[str, Any], int]:
    """Execute one instruction from `state`; returns registers and flags, and the cycles it took."""
    machine = games.machines[0]
    machine["ram"] = 0
    for address, value in state.memory.items():
        if address < 0x2000:
            machine["ram"][address & 0x7FF] = value
    for name in ("a", "x", "y", "sp", "pc"):
        machine[name] = getattr(state, name)
    machine["nz"], machine["carry"], machine["overflow"] = (0x8000 if state.n else 0) | (not state.z), state.c, state.v
    machine["clock"] = 0
    games.execute(0)
    nz = int(machine["nz"])
    flags = {"n": nz & 0x8080 != 0, "z": nz & 0xFF == 0, "c": machine["carry"] != 0, "v": machine["overflow"] != 0}
    return {name: int(machine[name]) for name in ("a", "x", "y", "sp", "pc")} | flags, int(machine["clock"])


# What each instruction is expected to do: code, what is set before, what is found after, cycles.
EXPECTED = [
    ("A9 00", {}, {"a": 0, "z": True, "n": False}, 2),
    ("A9 80", {}, {"a": 0x80, "z": False, "n": True}, 2),
    ("A5 10", {"ram": {0x10: 7}}, {"a": 7}, 3),
    ("B5 F0", {"x": 0x20, "ram": {0x10: 7}}, {"a": 7}, 4),  # wraps in the zero page
    ("B6 F0", {"y": 0x20, "ram": {0x10: 7}}, {"x": 7}, 4),
    ("AD 23 01", {"ram": {0x123: 9}}, {"a": 9}, 4),
    ("AD 23 09", {"ram": {0x123: 9}}, {"a": 9}, 4),  # RAM is mirrored
    ("BD 20 01", {"x": 3, "ram": {0x123: 9}}, {"a": 9}, 4),
    ("BD FF 01", {"x": 1, "ram": {0x200: 9}}, {"a": 9}, 5),  # page crossed
    ("B9 FF 01", {"y": 1, "ram": {0x200: 9}}, {"a": 9}, 5),
    ("BD FF 80", {"x": 1}, {"a": PRG[0x100]}, 5),
    ("AD 34 92", {}, {"a": PRG[0x1234]}, 4),
    ("A1 FE", {"x": 1, "ram": {0xFF: 0x23, 0x00: 0x01, 0x123: 9}}, {"a": 9}, 6),  # the pointer wraps
    ("B1 FF", {"y": 1, "ram": {0xFF: 0x22, 0x00: 0x01, 0x123: 9}}, {"a": 9}, 5),
    ("B1 10", {"y": 1, "ram": {0x10: 0xFF, 0x11: 0x01, 0x200: 9}}, {"a": 9}, 6),
    ("9D FF 01", {"x": 1, "a": 5}, {"ram": {0x200: 5}}, 5),  # a store costs the same
    ("91 10", {"y": 1, "a": 5, "ram": {0x10: 0xFF, 0x11: 0x01}}, {"ram": {0x200: 5}}, 6),
    ("8D 00 90", {"a": 5}, {}, 4),  # ROM does not change
    ("FE FF 01", {"x": 1, "ram": {0x200: 0xFF}}, {"ram": {0x200: 0}, "z": True}, 8),
    ("E6 10", {"ram": {0x10: 0x7F}}, {"ram": {0x10: 0x80}, "n": True}, 5),
    ("C6 10", {}, {"ram": {0x10: 0xFF}, "n": True}, 5),
    ("69 01", {"a": 0x7F}, {"a": 0x80, "v": True, "c": False, "n": True}, 2),
    ("69 01", {"a": 0xFF, "c": True}, {"a": 1, "v": False, "c": True}, 2),
    ("E9 01", {"a": 0x80, "c": True}, {"a": 0x7F, "v": True, "c": True}, 2),
    ("E9 01", {"a": 0, "c": False}, {"a": 0xFE, "c": False}, 2),
    ("C9 40", {"a": 0x40}, {"z": True, "c": True, "n": False}, 2),
    ("C9 41", {"a": 0x40}, {"z": False, "c": False, "n": True}, 2),
    ("24 10", {"a": 1, "ram": {0x10: 0xC0}}, {"n": True, "v": True, "z": True}, 3),
    ("24 10", {"a": 0x40, "ram": {0x10: 0x40}}, {"n": False, "v": True, "z": False}, 3),
    ("0A", {"a": 0x81}, {"a": 2, "c": True}, 2),
    ("6A", {"a": 0x01, "c": True}, {"a": 0x80, "c": True, "n": True}, 2),
    ("2A", {"a": 0x80, "c": False}, {"a": 0, "c": True, "z": True}, 2),
    ("4A", {"a": 0x01}, {"a": 0, "c": True, "z": True}, 2),
    ("D0 10", {"z": True}, {"pc": 2}, 2),
    ("D0 10", {"z": False}, {"pc": 0x12}, 3),
    ("D0 80", {"z": False}, {"pc": 2 - 0x80}, 5),  # nes-py: another page costs 2 more
    ("4C 34 12", {}, {"pc": 0x1234 - CODE_IN_RAM}, 3),
    ("6C FF 02", {"ram": {0x2FF: 0x34, 0x200: 0x12}}, {"pc": 0x1234 - CODE_IN_RAM}, 5),  # the page bug
    ("20 34 12", {"sp": 0xFF}, {"pc": 0x1234 - CODE_IN_RAM, "sp": 0xFD, "ram": {0x1FF: 0x04, 0x1FE: 0x02}}, 6),
    ("60", {"sp": 0xFD, "ram": {0x1FE: 0x33, 0x1FF: 0x12}}, {"pc": 0x1234 - CODE_IN_RAM, "sp": 0xFF}, 6),
    ("48", {"a": 9, "sp": 0}, {"sp": 0xFF, "ram": {0x100: 9}}, 3),
    ("68", {"sp": 0xFF, "ram": {0x100: 0}}, {"a": 0, "sp": 0, "z": True}, 4),
    ("9A", {"x": 0, "z": False}, {"sp": 0, "z": False}, 2),  # no flags
    ("BA", {"sp": 0x80}, {"x": 0x80, "n": True}, 2),
    # nes-py's order of flags: N 01, V 02, (one) 04, D 10, I 20, Z 40, C 80
    ("08", {"n": True, "c": True, "sp": 0xFF, "status": 0x34}, {"ram": {0x1FF: 0xB5}}, 3),
    ("28", {"sp": 0xFE, "ram": {0x1FF: 0x43}}, {"n": True, "v": True, "z": True, "c": False}, 4),
    ("40", {"sp": 0xFC, "ram": {0x1FD: 0x80, 0x1FE: 0x34, 0x1FF: 0x12}}, {"c": True, "pc": 0x1234 - CODE_IN_RAM}, 6),
    ("02", {"a": 3}, {"a": 3, "pc": 1}, 1),  # no such opcode
]  # fmt: skip


@pytest.mark.parametrize(("code", "before", "after", "cycles"), EXPECTED, ids=[f"{e[0]}-{i}" for i, e in enumerate(EXPECTED)])
def test_expected_results(code: str, before: dict[str, Any], after: dict[str, Any], cycles: int) -> None:
    registers = {name: value for name, value in before.items() if name not in ("ram", "status")}
    memory = dict(before.get("ram", {})) | {CODE_IN_RAM + i: byte for i, byte in enumerate(bytes.fromhex(code))}
    games = shared_fleet()
    games.machines[0]["status"] = before.get("status", 0x34)
    result, took = run(games, State(pc=CODE_IN_RAM, memory=memory, **registers))
    result["pc"] -= CODE_IN_RAM
    for name, value in after.items():
        if name == "ram":
            assert {address: games.machines[0]["ram"][address] for address in value} == value
        else:
            assert result[name] == value, name
    assert took == cycles


def test_brk_pushes_as_nes_py_does() -> None:
    games = shared_fleet()
    games.machines[0]["status"] = 0x14
    result, took = run(games, State(pc=CODE_IN_RAM, sp=0xFF, c=True, memory={CODE_IN_RAM: 0}))
    assert bytes(games.machines[0]["ram"][0x1FD:0x200]) == bytes((0xB4, 0x02, 0x04))
    assert (result["pc"], result["sp"], took) == (PRG[0x7FFE] | PRG[0x7FFF] << 8, 0xFC, 14)


def _expect(state: State, code: int) -> int:
    """Run the plain model on a state; returns the cycles nes-py would take."""
    opcode = OPCODES[code]
    execute(state, opcode.mnemonic, opcode.mode, LENGTHS[opcode.mode])
    if opcode.mode == "rel":
        return 2 + state.taken + 2 * state.crossed
    stores = opcode.mnemonic in ("STA", "STX", "STY")
    return opcode.cycles + (state.crossed and not stores)


BYTE = st.integers(0, 255)
MODELLED = sorted(code for code, opcode in OPCODES.items() if opcode.mnemonic not in ("BRK", "PHP", "PLP", "RTI"))
REGISTERS = st.fixed_dictionaries(
    {"a": BYTE, "x": BYTE, "y": BYTE, "sp": BYTE} | {flag: st.booleans() for flag in "nvc"} | {"z": st.booleans()}
)


def _compare(games: Fleet, code: int, registers: dict[str, Any], memory: dict[int, int], pc: int) -> None:
    registers = registers | {"n": registers["n"] and not registers["z"]}
    before = State(pc=pc, memory=dict(memory), **registers)
    after = State(pc=pc, memory=dict(memory), **registers)
    cycles = _expect(after, code)
    result, took = run(games, before)
    assert result == {name: getattr(after, name) for name in result} | {"pc": after.pc}, OPCODES[code]
    assert took == cycles, OPCODES[code]
    ram = games.machines[0]["ram"]
    for address in after.memory.keys() | before.memory.keys():
        if address < 0x2000:
            assert ram[address & 0x7FF] == after.memory.get(address, 0), OPCODES[code]


def _points_to_memory(state: State, code: int) -> bool:
    """Whether the operand is in RAM or ROM: registers of the PPU have tests of their own."""
    from reference_6502 import effective_address

    opcode = OPCODES[code]
    state.pc += 1
    address = 0 if opcode.mode in ("imp", "acc", "imm", "rel") else effective_address(state, opcode.mode)
    return address < 0x2000 or address >= 0x8000


@given(code=st.sampled_from(MODELLED), registers=REGISTERS, low=BYTE, high=BYTE, page=st.binary(min_size=256, max_size=256))
@settings(max_examples=1500, deadline=None)
def test_every_opcode_like_the_plain_model(code: int, registers: dict[str, Any], low: int, high: int, page: bytes) -> None:
    memory = {i + base: byte for base in (0, 0x100, 0x200, 0x700) for i, byte in enumerate(page)}
    memory |= {0x8000 + i: byte for i, byte in enumerate(PRG)}
    memory |= {CODE_IN_RAM: code, CODE_IN_RAM + 1: low, CODE_IN_RAM + 2: high}
    if _points_to_memory(State(pc=CODE_IN_RAM, memory=memory, **registers), code):
        _compare(shared_fleet(), code, registers, memory, CODE_IN_RAM)


def test_every_opcode_in_rom_like_the_plain_model() -> None:
    """In ROM, where instructions are decoded ahead and what is known of their operand is folded in."""
    operands = [(0x34, 0x01), (0xFF, 0x02), (0x10, 0x92), (0xFF, 0xFF), (0x00, 0x00), (0xFE, 0x1F), (0x80, 0x80)]
    program = bytearray(PRG)
    for i, (code, (low, high)) in enumerate((code, operand) for code in MODELLED for operand in operands):
        program[0x1000 + 4 * i : 0x1004 + 4 * i] = bytes((code, low, high, 0xEA))
    games = fleet(bytes(program))
    memory = {i: (i * 37 + 11) & 0xFF for i in range(0x800)} | {0x8000 + i: byte for i, byte in enumerate(program)}
    for i, code in enumerate(code for code in MODELLED for _ in operands):
        for x, y, carry in ((0, 1, False), (0xFF, 0x80, True)):
            registers = {"a": 0x5A, "x": x, "y": y, "sp": 0x80, "n": False, "v": False, "z": False, "c": carry}
            pc = CODE_IN_ROM + 4 * i
            if _points_to_memory(State(pc=pc, memory=memory, **registers), code):
                _compare(games, code, registers, memory, pc)


@given(a=BYTE, value=BYTE, carry=st.booleans())
@settings(max_examples=300, deadline=None)
def test_arithmetic_like_integers(a: int, value: int, carry: bool) -> None:
    def immediate(code: int) -> dict[str, Any]:
        return run(shared_fleet(), State(pc=CODE_IN_RAM, a=a, c=carry, memory={CODE_IN_RAM: code, CODE_IN_RAM + 1: value}))[0]

    def signed(byte: int) -> int:
        return byte - 256 if byte >= 128 else byte

    total, difference = a + value + carry, a - value - (not carry)
    sums, differences, comparison = immediate(0x69), immediate(0xE9), immediate(0xC9)
    assert (sums["a"], sums["c"]) == (total % 256, total > 255)
    assert sums["v"] == (not -128 <= signed(a) + signed(value) + carry <= 127)
    assert (differences["a"], differences["c"]) == (difference % 256, difference >= 0)
    assert differences["v"] == (not -128 <= signed(a) - signed(value) - (not carry) <= 127)
    assert (comparison["z"], comparison["c"], comparison["n"]) == (a == value, a >= value, (a - value) % 256 >= 128)
