"""The 6502 once more, as plainly as it can be written: what the tests expect of each instruction.

Written from the NESdev wiki's description, not from the emulator: one instruction, on a dictionary of memory. The cycles
and what is special to the NES are left out; BRK is not here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class State:
    """Registers, flags as booleans, memory by address."""

    a: int = 0
    x: int = 0
    y: int = 0
    sp: int = 0xFD
    pc: int = 0
    n: bool = False
    v: bool = False
    z: bool = False
    c: bool = False
    memory: dict[int, int] = field(default_factory=dict)
    crossed: bool = False
    taken: bool = False

    def read(self, address: int) -> int:
        address &= 0xFFFF
        return self.memory.get(address & 0x7FF if address < 0x2000 else address, 0)

    def write(self, address: int, value: int) -> None:
        if address < 0x2000:
            self.memory[address & 0x7FF] = value & 0xFF

    def set_nz(self, value: int) -> int:
        value &= 0xFF
        self.n, self.z = value >= 0x80, value == 0
        return value

    def push(self, value: int) -> None:
        self.memory[0x100 + self.sp] = value & 0xFF
        self.sp = (self.sp - 1) % 256

    def pull(self) -> int:
        self.sp = (self.sp + 1) % 256
        return self.read(0x100 + self.sp)


def _word(state: State, address: int) -> int:
    return state.read(address) + 256 * state.read(address + 1)


def effective_address(state: State, mode: str) -> int:
    """The operand's address; `state.pc` is at the operand."""
    byte, word = state.read(state.pc), _word(state, state.pc)
    if mode in ("imm", "rel"):
        return state.pc
    if mode == "zp":
        return byte
    if mode == "zpx":
        return (byte + state.x) % 256
    if mode == "zpy":
        return (byte + state.y) % 256
    if mode == "abs":
        return word
    if mode == "ind":
        low, high = word, (word & 0xFF00) + (word + 1) % 256  # the well-known mistake
        return state.read(low) + 256 * state.read(high)
    if mode == "indx":
        pointer = (byte + state.x) % 256
        return state.read(pointer) + 256 * state.read((pointer + 1) % 256)
    base = state.read(byte) + 256 * state.read((byte + 1) % 256) if mode == "indy" else word
    index = state.x if mode == "absx" else state.y
    state.crossed = base // 256 != (base + index) // 256
    return (base + index) % 65536


def _adc(state: State, value: int) -> None:
    total = state.a + value + state.c
    signed = (state.a ^ 0x80) - 0x80 + (value ^ 0x80) - 0x80 + state.c
    state.c, state.v = total > 255, not -128 <= signed <= 127
    state.a = state.set_nz(total)


def _compare(state: State, register: int, value: int) -> None:
    state.c = register >= value
    state.set_nz(register - value)


def _bit(state: State, value: int) -> None:
    state.n, state.v, state.z = value >= 0x80, bool(value & 0x40), value & state.a == 0


def _set(register: str) -> Callable[[State, int], None]:
    return lambda state, value: setattr(state, register, state.set_nz(value))


def _logic(combine: Callable[[int, int], int]) -> Callable[[State, int], None]:
    return lambda state, value: setattr(state, "a", state.set_nz(combine(state.a, value)))


READS: dict[str, Callable[[State, int], None]] = {
    "LDA": _set("a"),
    "LDX": _set("x"),
    "LDY": _set("y"),
    "ADC": _adc,
    "SBC": lambda state, value: _adc(state, 255 - value),
    "CMP": lambda state, value: _compare(state, state.a, value),
    "CPX": lambda state, value: _compare(state, state.x, value),
    "CPY": lambda state, value: _compare(state, state.y, value),
    "AND": _logic(lambda a, b: a & b),
    "ORA": _logic(lambda a, b: a | b),
    "EOR": _logic(lambda a, b: a ^ b),
    "BIT": _bit,
}
STORES = {"STA": "a", "STX": "x", "STY": "y"}
BRANCHES = {
    "BPL": ("n", False), "BMI": ("n", True), "BVC": ("v", False), "BVS": ("v", True),
    "BCC": ("c", False), "BCS": ("c", True), "BNE": ("z", False), "BEQ": ("z", True),
}  # fmt: skip
TRANSFERS = {"TAX": ("a", "x"), "TAY": ("a", "y"), "TXA": ("x", "a"), "TYA": ("y", "a"), "TSX": ("sp", "x")}
COUNTS = {"INX": ("x", 1), "INY": ("y", 1), "DEX": ("x", -1), "DEY": ("y", -1)}


def modify(state: State, mnemonic: str, value: int) -> int:
    """The result of a read-modify-write instruction."""
    if mnemonic in ("INC", "DEC"):
        return state.set_nz(value + (1 if mnemonic == "INC" else -1))
    carry = state.c
    if mnemonic in ("ASL", "ROL"):
        state.c = value >= 0x80
        return state.set_nz(value * 2 + (carry if mnemonic == "ROL" else 0))
    state.c = value % 2 == 1
    return state.set_nz(value // 2 + (0x80 if carry and mnemonic == "ROR" else 0))


def execute(state: State, mnemonic: str, mode: str, length: int) -> None:
    """Execute the instruction at `state.pc`."""
    following = (state.pc + length) % 65536
    state.pc += 1
    address = effective_address(state, mode) if mode not in ("imp", "acc") else 0
    state.pc = following
    if mnemonic in READS:
        READS[mnemonic](state, state.read(address))
    elif mnemonic in STORES:
        state.write(address, getattr(state, STORES[mnemonic]))
    elif mnemonic in BRANCHES:
        flag, wanted = BRANCHES[mnemonic]
        if getattr(state, flag) is wanted:
            offset = state.read(address)
            target = (following + (offset - 256 if offset >= 128 else offset)) % 65536
            state.taken, state.crossed, state.pc = True, target // 256 != following // 256, target
    elif mode == "acc":
        state.a = modify(state, mnemonic, state.a)
    elif mnemonic in ("ASL", "LSR", "ROL", "ROR", "INC", "DEC"):
        state.write(address, modify(state, mnemonic, state.read(address)))
    elif mnemonic in TRANSFERS:
        source, target_register = TRANSFERS[mnemonic]
        setattr(state, target_register, state.set_nz(getattr(state, source)))
    elif mnemonic in COUNTS:
        register, step = COUNTS[mnemonic]
        setattr(state, register, state.set_nz(getattr(state, register) + step))
    else:
        _others(state, mnemonic, address)


def _others(state: State, mnemonic: str, address: int) -> None:
    match mnemonic:
        case "TXS":
            state.sp = state.x
        case "CLC" | "SEC":
            state.c = mnemonic == "SEC"
        case "CLV":
            state.v = False
        case "PHA":
            state.push(state.a)
        case "PLA":
            state.a = state.set_nz(state.pull())
        case "JMP":
            state.pc = address
        case "JSR":
            state.push((state.pc - 1) // 256)
            state.push((state.pc - 1) % 256)
            state.pc = address
        case "RTS":
            low = state.pull()
            state.pc = (low + 256 * state.pull() + 1) % 65536
        case "NOP" | "CLD" | "SED" | "CLI" | "SEI":
            pass
        case _:
            raise NotImplementedError(mnemonic)
