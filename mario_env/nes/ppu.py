"""The time and the registers of the picture processing unit (PPU); `picture` draws.

The PPU runs behind the CPU. It catches up when the CPU reads or writes a register, and at the two dots of a frame at which it
acts by itself (`next_event`). Between those its registers are constant, so whole lines are passed in one step. They are drawn
only if the frame will be shown.

Time: `position` counts the dots of a PPU frame, from dot 1 of the pre-render line (0) over the 240 visible lines and 21 further
lines to 89 341. `dots` counts those of the emulator's frame (3 a CPU cycle). That frame is one dot longer, so the two drift.

Where nes-py departs from a real PPU, this follows nes-py:
 * the instruction at CPU cycle i acts after 3 (i + 1) dots of its frame;
 * an odd frame is a dot shorter only if background *and* sprites are shown at dot 340 of the pre-render line; they must
   both be shown for the horizontal and the vertical copy too;
 * tiles are fetched when they are drawn, and there is no sprite overflow flag;
 * the sprites of a line are chosen at the end of the line before, from the OAM of that moment, and drawn with the OAM of the
   moment of drawing; line 0 takes the list of line 239;
 * a sprite-0 hit counts at x = 255; turning NMIs on during vblank fires none; writes take effect at once;
 * nes-py 8, not 9: addresses do not wrap at 0x4000, nametable addresses from 0x3000 to 0x3EFE are the fourth nametable, and
   of the palette's 32 bytes only 0x3F10 is a mirror. A cartridge's `wraps` says which of the two is followed: the one that is
   installed. They differ in a few pixels of line 0, when tile 0 is drawn there from the rows before its first.
"""

from typing import Any

from mario_env.nes import picture
from mario_env.nes.compiling import leaf
from mario_env.nes.state import FRAME_CYCLES
from mario_env.nes.vram import after_lines, next_row, read_vram, start_of_line, step_columns, write_vram

LINE_DOTS = 341
VISIBLE_START, VISIBLE_END = LINE_DOTS, 241 * LINE_DOTS
VBLANK = 242 * LINE_DOTS  # dot 1 of line 241
FRAME_END = 262 * LINE_DOTS
SKIP = 339  # dot 340 of the pre-render line
ROW_DOT, COPY_DOT = 256, 257  # dots 257 and 258 of a line, counted from 0
BOTH = 0x18  # PPUMASK: background and sprites are shown
BACKGROUND = 0x08


@leaf
def reset(m: Any) -> None:
    """Reset the registers. The first frame has one more dot, in front."""
    m.ppuctrl, m.ppumask, m.vblank, m.nmi = 0, BOTH | 0x06, 0, 0
    m.v, m.t, m.fine_x, m.w, m.oamaddr = 0, 0, 0, 0, 0
    m.position, m.dots, m.odd_frame = -1, 0, 0
    m.frozen_line, m.frozen_count = 0, 0


@leaf
def next_event(m: Any) -> int:
    """How many dots of this frame will have passed after the next dot at which the PPU acts by itself."""
    if m.position <= SKIP:
        return m.dots + SKIP - m.position + 1
    if m.position <= VBLANK:
        return m.dots + VBLANK - m.position + 1
    return m.dots + FRAME_END - m.position + SKIP + 1


@leaf
def catch_up(m: Any, c: Any, words: Any, pixels: Any, now: int) -> None:
    """Bring the PPU to where the instruction at cycle `now` finds it."""
    target = 3 * (now + 1)
    if m.position <= VBLANK or target - m.dots + m.position >= FRAME_END:  # within vblank nothing happens
        advance(m, c, words, pixels, target)


@leaf
def advance(m: Any, c: Any, words: Any, pixels: Any, target: int) -> None:
    """Bring the PPU to where `target` dots of this frame have passed."""
    while m.dots < target:
        dots = target - m.dots
        if m.position < VISIBLE_START:
            _pre_render(m, min(VISIBLE_START, m.position + dots))
        elif m.position < VISIBLE_END:
            _visible(m, c, words, pixels, min(VISIBLE_END, m.position + dots))
        else:
            _rest(m, min(FRAME_END, m.position + dots))


@leaf
def _move(m: Any, position: int) -> None:
    m.dots += position - m.position
    m.position = position


@leaf
def _pre_render(m: Any, end: int) -> None:
    """Pass dots of the pre-render line up to position `end`."""
    start, rendering = m.position, m.ppumask & BOTH == BOTH
    if start <= 0 < end:
        m.vblank, m.sprite0_hit = 0, 0
    if rendering and start <= COPY_DOT < end:
        m.v = (m.v & ~0x41F) | (m.t & 0x41F)
    if rendering and start <= 303 and end > 280:
        m.v = (m.v & ~0x7BE0) | (m.t & 0x7BE0)
    if m.odd_frame and rendering and start <= SKIP < end:
        _move(m, SKIP + 1)
        m.position = VISIBLE_START  # dot 341 is left out
    else:
        _move(m, end)


@leaf
def _rest(m: Any, end: int) -> None:
    """Pass dots of the lines below the picture up to position `end`."""
    if m.position <= VBLANK < end:
        m.vblank = 1
        m.nmi = m.ppuctrl >> 7 & 1
    _move(m, end)
    if end == FRAME_END:
        m.position = 0
        m.odd_frame ^= 1


@leaf
def _visible(m: Any, c: Any, words: Any, pixels: Any, end: int) -> None:
    """Pass dots of the visible lines up to position `end`."""
    if not m.sprite0_hit and m.ppumask & BOTH == BOTH and sprite0_hit_position(m, c, end) >= 0:
        m.sprite0_hit = 1
    while m.position < end:
        line, dot = m.position // LINE_DOTS - 1, m.position % LINE_DOTS
        lines = (end - m.position) // LINE_DOTS
        if dot == 0 and lines and m.ppumask & BOTH != BACKGROUND:
            if m.drawing:
                picture.draw_lines(m, c, words, pixels, line, lines)
            if m.ppumask & BOTH == BOTH:
                m.v = after_lines(m.v, m.t, lines)
            _move(m, m.position + lines * LINE_DOTS)
        else:
            _part_of_line(m, c, words, pixels, line, dot, min(LINE_DOTS, dot + end - m.position))
    if m.frozen_line < m.position // LINE_DOTS - 1:
        m.frozen_line = -1


@leaf
def _part_of_line(m: Any, c: Any, words: Any, pixels: Any, line: int, dot: int, end: int) -> None:
    if dot < 256:
        right = min(end, 256)
        if m.drawing:
            picture.draw_part(m, c, words, pixels, line, dot, right)
        if m.ppumask & BACKGROUND:
            m.v = step_columns(m.v, ((m.fine_x + right) >> 3) - ((m.fine_x + dot) >> 3))
    if m.ppumask & BACKGROUND and dot <= ROW_DOT < end:
        m.v = next_row(m.v)
    if m.ppumask & BOTH == BOTH and dot <= COPY_DOT < end:
        m.v = (m.v & ~0x41F) | (m.t & 0x41F)
    _move(m, m.position + end - dot)


@leaf
def sprite0_hit_position(m: Any, c: Any, end: int) -> int:
    """The first position before `end` at which sprite 0 meets the background; -1 if there is none.

    Background and sprites are shown, and no register changes.
    """
    current, dot = m.position // LINE_DOTS - 1, m.position % LINE_DOTS
    height = 16 if m.ppuctrl & 0x20 else 8
    first = max(current, int(m.oam[0]) + 1)
    if current in (0, m.frozen_line):
        first = current  # a list made from an earlier OAM, or for another line than the one above
    last = min((end - 1) // LINE_DOTS - 1, max(int(m.oam[0]) + height, m.frozen_line, 0))
    left = int(m.oam[3])
    left_edge = 8 if m.ppumask & 0x06 != 0x06 else 0
    for line in range(first, last + 1):
        if not picture.has_sprite0(m, line):
            continue
        v = _line_start(m, line - current, dot)
        hits = picture.sprite_row(m, c, 0, line)
        hits = (hits | hits >> 8) & 0xFF & picture.background_row(m, c, v, left)
        for i in range(8):
            x = left + i
            position = (line + 1) * LINE_DOTS + x
            if hits >> (7 - i) & 1 and left_edge <= x < 256 and m.position <= position < end:
                return position
    return -1


@leaf
def _line_start(m: Any, lines: int, dot: int) -> int:
    """What `v` would be at the left edge, `lines` lines below that of the present dot."""
    if lines == 0:
        return start_of_line(m.v, m.fine_x, dot)
    v = next_row(m.v) if dot <= ROW_DOT else m.v
    if dot <= COPY_DOT:
        v = (v & ~0x41F) | (m.t & 0x41F)
    return after_lines(v, m.t, lines - 1)


@leaf
def spin(m: Any, c: Any, now: int, stop: int, period: int, hit: int) -> int:
    """For how many cycles a loop that waits for the sprite-0 flag to become `hit` can be skipped, from its read at cycle `now`.

    These are whole periods, in which every read finds the flag unchanged. The next read is still before the cycle `stop`.
    """
    change = (stop + 1) * 3  # the dot at which the flag changes
    if hit:
        if m.sprite0_hit or m.position < VISIBLE_START:
            return 0
        if m.position < VISIBLE_END and m.ppumask & BOTH == BOTH:
            position = sprite0_hit_position(m, c, VISIBLE_END)
            if position >= 0:
                change = m.dots + position - m.position + 1
    else:
        if not m.sprite0_hit or m.position < VISIBLE_START:
            return 0
        change = m.dots + FRAME_END - m.position + 1
    limit = min(stop - 1, (change + 2) // 3 - 1)
    return max(0, (limit - now) // period) * period


@leaf
def freeze_sprite_list(m: Any) -> None:
    """Keep the sprite list that is already chosen for a line. Called before the OAM, or how it is read, changes."""
    line = m.position // LINE_DOTS - 1
    if line < 0 or line >= 240:
        line = 0
    if m.frozen_line != line:
        m.frozen_count = picture.choose_sprites(m, line)
        m.frozen_line = line


@leaf
def read(m: Any, c: Any, register: int) -> int:
    """Read register 0x2000 + `register`."""
    if register == 2:
        status = m.sprite0_hit << 6 | m.vblank << 7
        m.vblank, m.w = 0, 0
        return status
    if register == 4:
        return int(m.oam[m.oamaddr & 0xFF])
    if register == 7:
        value, before = read_vram(m, c, m.v), m.v & 0x3FFF
        m.v = (m.v + (32 if m.ppuctrl & 4 else 1)) & 0xFFFF
        if (before if c.wraps else m.v) < 0x3F00:
            value, m.read_buffer = m.read_buffer, value
        return value
    return 0


@leaf
def write(m: Any, c: Any, register: int, value: int) -> None:
    """Write to register 0x2000 + `register`."""
    if register == 0:
        if (m.ppuctrl ^ value) & 0x20:
            freeze_sprite_list(m)
        m.ppuctrl = value
        m.t = (m.t & ~0xC00) | (value & 3) << 10
    elif register == 1:
        m.ppumask = value
    elif register == 3:
        if m.oamaddr != value:
            freeze_sprite_list(m)
        m.oamaddr = value
    elif register == 4:
        freeze_sprite_list(m)
        m.oam[m.oamaddr & 0xFF] = value
        m.oamaddr = (m.oamaddr + 1) & 0xFF
    elif register == 5:
        _scroll(m, value)
    elif register == 6:
        if m.w == 0:
            m.t = (m.t & 0xFF) | (value & 0x3F) << 8
        else:
            m.t = (m.t & 0xFF00) | value
            m.v = m.t
        m.w ^= 1
    elif register == 7:
        write_vram(m, c, m.v, value)
        m.v = (m.v + (32 if m.ppuctrl & 4 else 1)) & 0xFFFF


@leaf
def _scroll(m: Any, value: int) -> None:
    if m.w == 0:
        m.t = (m.t & ~0x1F) | value >> 3
        m.fine_x = value & 7
    else:
        m.t = (m.t & ~0x73E0) | (value & 7) << 12 | (value & 0xF8) << 2
    m.w ^= 1


@leaf
def frame_is_over(m: Any) -> None:
    """Count dots from the start of the next frame."""
    m.dots -= 3 * FRAME_CYCLES
