"""The machine as a whole: power on, reset, and a frame."""

from typing import Any

from mario_env.nes import cpu, ppu
from mario_env.nes.compiling import leaf
from mario_env.nes.state import FRAME_CYCLES, FRAME_DOTS


@leaf
def reset(m: Any, c: Any) -> None:
    """The reset button. RAM keeps what it holds."""
    cpu.reset(m, c)
    ppu.reset(m)


@leaf
def run_frame(m: Any, c: Any, words: Any, pixels: Any, buttons: int, draw: bool) -> None:
    """Run one frame with these buttons held (bit 0: A, then B, select, start, up, down, left, right).

    A frame that is drawn fills the whole screen: it lasts one dot longer than the PPU's, so it reaches every pixel. A
    frame that is not drawn is otherwise the same.
    """
    m.buttons = buttons
    if draw and not m.drawing:
        ppu.advance(m, c, words, pixels, 0)  # the dots before this frame are not drawn
    m.drawing = draw
    while True:
        event = ppu.next_event(m)
        stop = min((event + 2) // 3 - 1, FRAME_CYCLES)
        if m.clock < stop:
            cpu.run(m, c, words, pixels, stop)
        if event > FRAME_DOTS:
            break
        ppu.advance(m, c, words, pixels, event)
        if m.nmi:
            m.nmi = 0
            cpu.interrupt(m, c)
    if draw:
        ppu.advance(m, c, words, pixels, FRAME_DOTS)
    m.clock -= FRAME_CYCLES
    m.cycles += FRAME_CYCLES
    ppu.frame_is_over(m)
