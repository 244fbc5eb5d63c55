"""The 6502: an interpreter whose source is written from tables, once for each handler that `decode` names.

The interpreter is one function: a loop over one `switch`, because numba keeps registers in local variables only within a
function. The tables below are its parts: what each operation does, and how each operand is reached.

Where nes-py departs from a real 6502, this follows nes-py:
 * an instruction has all its effects at its first cycle;
 * a pushed status byte has its flags in reverse order: N is bit 0, C is bit 7;
 * BRK takes 14 cycles, and an opcode that does not exist is a one-byte instruction of one cycle.
"""

import linecache
from typing import Any, Final

from numba import int64

from mario_env.nes import bus, ppu
from mario_env.nes.compiling import leaf
from mario_env.nes.decode import HANDLERS, decode

NMI_VECTOR, RESET_VECTOR, IRQ_VECTOR = 0xFFFA, 0xFFFC, 0xFFFE

# How each access reaches `value` (for reading) or `address` (for writing).
POINTER_X: Final = "address = int64(ram[(operand + x) & 0xFF]) | int64(ram[(operand + x + 1) & 0xFF]) << 8"
POINTER_Y: Final = "address = int64(ram[operand & 0xFF]) | int64(ram[(operand + 1) & 0xFF]) << 8"
FROM_BUS: Final = """
if address < 0x2000:
    value = int64(ram[address & 0x7FF])
elif address >= 0x8000:
    value = int64(prg[address & 0x7FFF])
else:
    value = read_register(m, c, words, pixels, address, now)
"""
TO_BUS: Final = """
if address < 0x2000:
    ram[address & 0x7FF] = value
elif address < 0x8000:
    clock += write_register(m, c, words, pixels, address, value, now)
"""
CROSS_X: Final = "clock += ((operand & 0xFF) + x) >> 8"
CROSS_Y: Final = "clock += ((operand & 0xFF) + y) >> 8"
CROSS_POINTER: Final = "clock += ((address & 0xFF) + y) >> 8\naddress = (address + y) & 0xFFFF"

LOADS: Final = {
    "imm": "value = operand",
    "zp": "value = int64(ram[operand])",
    "ram": "value = int64(ram[operand])",
    "zpx": "value = int64(ram[(operand + x) & 0xFF])",
    "zpy": "value = int64(ram[(operand + y) & 0xFF])",
    "ramx": CROSS_X + "\nvalue = int64(ram[(operand + x) & 0x7FF])",
    "ramy": CROSS_Y + "\nvalue = int64(ram[(operand + y) & 0x7FF])",
    "romx": CROSS_X + "\nvalue = int64(prg[(operand + x) & 0x7FFF])",
    "romy": CROSS_Y + "\nvalue = int64(prg[(operand + y) & 0x7FFF])",
    "bus": "address = operand" + FROM_BUS,
    "busx": CROSS_X + "\naddress = (operand + x) & 0xFFFF" + FROM_BUS,
    "busy": CROSS_Y + "\naddress = (operand + y) & 0xFFFF" + FROM_BUS,
    "indx": POINTER_X + FROM_BUS,
    "indy": POINTER_Y + "\n" + CROSS_POINTER + FROM_BUS,
}
STORES: Final = {
    "zp": "ram[operand] = value",
    "ram": "ram[operand] = value",
    "zpx": "ram[(operand + x) & 0xFF] = value",
    "zpy": "ram[(operand + y) & 0xFF] = value",
    "ramx": "ram[(operand + x) & 0x7FF] = value",
    "ramy": "ram[(operand + y) & 0x7FF] = value",
    "bus": "address = operand" + TO_BUS,
    "busx": "address = (operand + x) & 0xFFFF" + TO_BUS,
    "busy": "address = (operand + y) & 0xFFFF" + TO_BUS,
    "indx": POINTER_X + TO_BUS,
    "indy": POINTER_Y + "\naddress = (address + y) & 0xFFFF" + TO_BUS,
}

ADD: Final = """
total = a + value + carry
carry = total >> 8
overflow = ((a ^ total) & (value ^ total)) >> 7 & 1
a = total & 0xFF
nz = a
"""
COMPARE: Final = "\ntotal = {register} - value\ncarry = int64(total >= 0)\nnz = total & 0xFF"

# What each operation does with `value`. A read-modify-write leaves its result there, and a store takes it from there.
READ: Final = {
    "LDA": "a = value\nnz = a",
    "LDX": "x = value\nnz = x",
    "LDY": "y = value\nnz = y",
    "ADC": ADD,
    "SBC": "value ^= 0xFF" + ADD,
    "CMP": COMPARE.format(register="a"),
    "CPX": COMPARE.format(register="x"),
    "CPY": COMPARE.format(register="y"),
    "AND": "a &= value\nnz = a",
    "ORA": "a |= value\nnz = a",
    "EOR": "a ^= value\nnz = a",
    "BIT": "nz = (value & 0x80) << 8 | (a & value)\noverflow = value >> 6 & 1",
}
WRITE: Final = {"STA": "value = a", "STX": "value = x", "STY": "value = y"}
MODIFY: Final = {
    "ASL": "carry = value >> 7\nvalue = value << 1 & 0xFF\nnz = value",
    "LSR": "carry = value & 1\nvalue >>= 1\nnz = value",
    "ROL": "value = value << 1 | carry\ncarry = value >> 8\nvalue &= 0xFF\nnz = value",
    "ROR": "value |= carry << 8\ncarry = value & 1\nvalue >>= 1\nnz = value",
    "INC": "value = (value + 1) & 0xFF\nnz = value",
    "DEC": "value = (value - 1) & 0xFF\nnz = value",
}
TAKE: Final = "\n    pc = operand\n    clock += word >> 24"
PUSH: Final = "\nram[0x100 | sp] = {value}\nsp = (sp - 1) & 0xFF\n"
PULL: Final = "\nsp = (sp + 1) & 0xFF\n{target} = int64(ram[0x100 | sp])\n"
PACK: Final = "value = int64((nz & 0x8080) != 0) | overflow << 1 | status | int64((nz & 0xFF) == 0) << 6 | carry << 7"
UNPACK: Final = """
nz = (value & 1) << 15 | (~value >> 6 & 1)
overflow = value >> 1 & 1
status = value & 0x3C
carry = value >> 7
"""
SPIN: Final = (
    "now += spin(m, c, now, stop, 8 + (word >> 24), {hit})\nclock = now + 4\naddress = 0x2002" + FROM_BUS + "a = value\nnz = a"
)
OTHER: Final = {
    "BCC": "if carry == 0:" + TAKE,
    "BCS": "if carry != 0:" + TAKE,
    "BEQ": "if nz & 0xFF == 0:" + TAKE,
    "BNE": "if nz & 0xFF != 0:" + TAKE,
    "BMI": "if nz & 0x8080 != 0:" + TAKE,
    "BPL": "if nz & 0x8080 == 0:" + TAKE,
    "BVC": "if overflow == 0:" + TAKE,
    "BVS": "if overflow != 0:" + TAKE,
    "CLC": "carry = 0",
    "SEC": "carry = 1",
    "CLV": "overflow = 0",
    "CLD": "status &= 0x2C",
    "SED": "status |= 0x10",
    "CLI": "status &= 0x1C",
    "SEI": "status |= 0x20",
    "DEX": "x = (x - 1) & 0xFF\nnz = x",
    "DEY": "y = (y - 1) & 0xFF\nnz = y",
    "INX": "x = (x + 1) & 0xFF\nnz = x",
    "INY": "y = (y + 1) & 0xFF\nnz = y",
    "TAX": "x = a\nnz = x",
    "TAY": "y = a\nnz = y",
    "TXA": "a = x\nnz = a",
    "TYA": "a = y\nnz = a",
    "TSX": "x = sp\nnz = x",
    "TXS": "sp = x",
    "NOP": "value = 0",
    "PHA": PUSH.format(value="a"),
    "PLA": PULL.format(target="a") + "nz = a",
    "PHP": PACK + PUSH.format(value="value"),
    "PLP": PULL.format(target="value") + UNPACK,
    "JMP": "pc = operand",
    "JMP_ram": "pc = int64(ram[operand]) | int64(ram[(operand & 0x700) | ((operand + 1) & 0xFF)]) << 8",
    "JMP_bus": "pc = read_vector(m, c, operand)",
    "JSR": PUSH.format(value="(pc - 1) >> 8") + PUSH.format(value="(pc - 1) & 0xFF") + "pc = operand",
    "RTS": PULL.format(target="pc") + PULL.format(target="value") + "pc = ((pc | value << 8) + 1) & 0xFFFF",
    "RTI": PULL.format(target="value") + UNPACK + PULL.format(target="pc") + PULL.format(target="value") + "pc |= value << 8",
    "BRK": PUSH.format(value="(pc + 1) >> 8 & 0xFF") + PUSH.format(value="(pc + 1) & 0xFF") + PACK
    + PUSH.format(value="value | 0x30") + "status |= 0x20\npc = int64(prg[0x7FFE]) | int64(prg[0x7FFF]) << 8",
    "ILLEGAL": "m.jammed = operand + 1",
    # Loops that wait or fill memory: skip the passes that change nothing else, then go on as usual.
    "IDLE": "clock += max((stop - clock + 2) // 3, 0) * 3\npc = operand",
    "SPIN_hit": SPIN.format(hit=1),
    "SPIN_clear": SPIN.format(hit=0),
    "FILL": """
rounds = min((255 - y) >> 2, (stop - now - 1) // (15 + (word >> 24)))
for _ in range(rounds):
    ram[(operand + y) & 0x7FF] = a
    y += 4
clock += rounds * (15 + (word >> 24))
if rounds > 0:
    nz = y
ram[(operand + y) & 0x7FF] = a
""",
}  # fmt: skip

LOOP: Final = '''
def run(m, c, words, pixels, stop):
    """Execute the instructions that act before cycle `stop` of this frame."""
    ram, code, prg = m.ram, c.code, c.prg
    pc, sp, a, x, y, clock = m.pc, m.sp, m.a, m.x, m.y, m.clock
    nz, carry, overflow, status = m.nz, m.carry, m.overflow, m.status
    while clock < stop:
        word = int64(code[pc & 0xFFFF])
        if word == 0:
            word = int64(fetch(m, c, pc & 0xFFFF))
        handler, operand = word & 0xFF, word >> 8 & 0xFFFF
        {dispatch}
    m.pc, m.sp, m.a, m.x, m.y, m.clock = pc, sp, a, x, y, clock
    m.nz, m.carry, m.overflow, m.status = nz, carry, overflow, status
'''


def _body(name: str) -> str:
    """The statements of one handler."""
    if name in OTHER:
        return OTHER[name]
    mnemonic, access = name.split("_")
    if mnemonic in READ:
        return LOADS[access] + "\n" + READ[mnemonic]
    if mnemonic in WRITE:
        return WRITE[mnemonic] + "\n" + STORES[access]
    if access == "acc":
        return f"value = a\n{MODIFY[mnemonic]}\na = value"
    return LOADS[access] + "\n" + MODIFY[mnemonic] + "\n" + STORES[access]


def _source() -> str:
    lines: list[str] = []
    for name, handler in HANDLERS.items():
        body = _body(name)
        lines.append(f"{'el' if lines else ''}if handler == {handler.number}:  # {name}")
        if "now" in body:
            lines.append("    now = clock")  # when the instruction acts
        lines.append(f"    pc += {handler.length}")
        lines.append(f"    clock += {handler.cycles}")
        lines += ["    " + line for line in body.splitlines() if line]
    return LOOP.format(dispatch="\n        ".join(lines))


@leaf
def fetch(m: Any, c: Any, pc: int) -> int:
    """Decode the instruction at `pc` when it is not in ROM."""
    opcode, low, high = bus.peek(m, c, pc), bus.peek(m, c, pc + 1), bus.peek(m, c, pc + 2)
    return decode_compiled(c.handlers, c.kinds, pc, opcode, low, high)


@leaf
def read_vector(m: Any, c: Any, address: int) -> int:
    """The target of an indirect jump. Its high byte comes from the same page, as on the real 6502."""
    return bus.peek(m, c, address) | bus.peek(m, c, (address & 0xFF00) | ((address + 1) & 0xFF)) << 8


@leaf
def push(m: Any, value: int) -> None:
    """Push a byte."""
    m.ram[0x100 | m.sp] = value & 0xFF
    m.sp = (m.sp - 1) & 0xFF


@leaf
def interrupt(m: Any, c: Any) -> None:
    """Enter the NMI handler: the next instruction is seven cycles later."""
    m.pc &= 0xFFFF
    push(m, m.pc >> 8)
    push(m, m.pc)
    n, z = int64((m.nz & 0x8080) != 0), int64((m.nz & 0xFF) == 0)
    push(m, n | m.overflow << 1 | m.status | z << 6 | m.carry << 7 | 0x20)
    m.status |= 0x20
    m.pc = bus.peek(m, c, NMI_VECTOR) | bus.peek(m, c, NMI_VECTOR + 1) << 8
    m.clock += 7


@leaf
def reset(m: Any, c: Any) -> None:
    """The reset line: registers as nes-py sets them; RAM keeps what it holds."""
    m.a, m.x, m.y, m.sp = 0, 0, 0, 0xFD
    m.nz, m.carry, m.overflow, m.status = 1, 0, 0, 0x34
    m.pc = bus.peek(m, c, RESET_VECTOR) | bus.peek(m, c, RESET_VECTOR + 1) << 8
    m.clock, m.cycles = 0, 0


decode_compiled = leaf(decode)


def _compile() -> Any:
    source, name = _source(), "<mario_env.nes.cpu.run>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # for tracebacks
    names: dict[str, Any] = {
        "int64": int64, "fetch": fetch, "read_vector": read_vector, "spin": ppu.spin,
        "read_register": bus.read_register, "write_register": bus.write_register,
    }  # fmt: skip
    exec(compile(source, name, "exec"), names)
    return leaf(names["run"])


run = _compile()
