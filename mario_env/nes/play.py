"""Decisions of an agent in compiled code: frames, facts, reward and ends.

The wrappers of `mario_env` define what is computed: ActionDelay, FrameSkip, MemoryFacts, MemoryReward, LifeLossTermination,
StallTruncation, TimeLimit. The tests compare the two.
"""

from typing import Any, Final

import numpy as np
from numba import int64

from mario_env.memory import FACTS
from mario_env.nes import game
from mario_env.nes.compiling import leaf
from mario_env.wrappers.facts import COUNTS
from mario_env.wrappers.reward import REWARD_COMPONENTS

INFO: Final = (*FACTS, *COUNTS)
"""What the info of a decision has by these names."""

OUTCOME_FIELDS: Final = (*INFO, "frames", "end_reason", "terminated", "truncated")
OUTCOME: Final = np.dtype([(name, np.int64) for name in OUTCOME_FIELDS])
"""What a decision comes to, but for its reward and its observation. `end_reason` is a position in END_REASONS."""

COMPONENTS: Final = np.dtype(
    {
        # Each component by its name, and all of them as an array: the same memory.
        "names": [*REWARD_COMPONENTS, "all"],
        "formats": [*(np.float64 for _ in REWARD_COMPONENTS), (np.float64, len(REWARD_COMPONENTS))],
        "offsets": [*(8 * i for i, _ in enumerate(REWARD_COMPONENTS)), 0],
    },
    align=True,
)
"""The reward of a decision by components, weighted and scaled."""

END_REASONS: Final = ("", "died", "timed_out", "game_over", "completed", "life_lost", "stalled")
NONE, DIED, TIMED_OUT, GAME_OVER, COMPLETED, LIFE_LOST, STALLED = range(7)
PLACES: Final = 256  # areas that one episode can visit: more than the whole game has
FASTEST: Final = 8  # pixels a frame; see mario_env.wrappers.facts

EPISODE: Final = np.dtype(
    [
        ("frame_count", np.int64),
        ("progress", np.int64),
        ("distance", np.int64),
        ("deaths", np.int64),
        ("time_ups", np.int64),
        ("levels_completed", np.int64),
        ("x", np.int64),
        ("level", np.int64),
        ("places", np.int64),  # how many areas were visited
        ("place", np.int64),  # which of them the player is in
        ("place_number", np.int32, PLACES),  # of each visited area: game.place
        ("furthest", np.int32, PLACES),  # of each visited area
        ("held", np.int64),  # the buttons of the last action that took hold
        ("held_before", np.int64),  # the same before the last decision
        # after the last decision
        ("paid_progress", np.int64),
        ("paid_deaths", np.int64),
        ("paid_completed", np.int64),
        ("paid_time", np.int64),
        ("paid_score", np.int64),
        ("paid", np.float64, len(REWARD_COMPONENTS)),  # the sums of the reward's components
        ("steps", np.int64),
        ("idle", np.int64),
        ("reached_distance", np.int64),
        ("reached_completed", np.int64),
    ],
    align=True,
)

RULES: Final = np.dtype(
    [
        ("one_level", np.bool_),
        ("world", np.int64),
        ("stage", np.int64),
        ("area", np.int64),
        ("frame_skip", np.int64),
        ("life_loss_ends_episode", np.bool_),
        ("stall_after", np.int64),  # 0: never
        ("max_steps", np.int64),  # 0: never
        ("progress_limit", np.int64),
        ("weights", np.float64, len(REWARD_COMPONENTS)),
        ("scale", np.float64),
    ],
    align=True,
)


@leaf
def begin(m: Any, e: Any, outcome: Any) -> None:
    """Start an episode's counts from the machine's present state."""
    e.frame_count, e.progress, e.distance, e.deaths, e.time_ups, e.levels_completed = 0, 0, 0, 0, 0, 0
    e.places, e.place, e.held, e.held_before = 0, 0, 0, 0
    e.steps, e.idle, e.reached_distance, e.reached_completed = 0, 0, 0, 0
    e.paid_progress, e.paid_deaths, e.paid_completed = 0, 0, 0
    for i in range(len(e.paid)):
        e.paid[i] = 0.0
    _arrive(e, m.ram)
    _report(e, m.ram, outcome)
    e.paid_time, e.paid_score = outcome.time, outcome.score
    outcome.frames, outcome.end_reason, outcome.terminated, outcome.truncated = 0, NONE, 0, 0


@leaf
def _report(e: Any, ram: Any, outcome: Any) -> None:
    """Write the facts of some RAM, and the episode's counts."""
    outcome.x_pos, outcome.y_pos = game.x_position(ram), game.y_position(ram)
    outcome.score, outcome.coins = game.digits(ram, game.SCORE, 6), game.digits(ram, game.COINS, 2)
    outcome.time, outcome.life = game.digits(ram, game.CLOCK, 3), game.lives(ram)
    outcome.status = min(int64(ram[game.PLAYER_STATUS]), 2)
    outcome.world, outcome.stage = int64(ram[game.WORLD]) + 1, int64(ram[game.STAGE]) + 1
    outcome.flag_get = int64(game.is_flag_reached(ram))
    outcome.frame_count, outcome.progress, outcome.distance = e.frame_count, e.progress, e.distance
    outcome.deaths, outcome.time_ups, outcome.levels_completed = e.deaths, e.time_ups, e.levels_completed


@leaf
def _reach(e: Any, number: int, x: int) -> None:
    """Note a position in the area of this number. The distance in an area counts from where it was entered first."""
    place = e.place
    if e.places == 0 or e.place_number[place] != number:
        place = 0
        while place < e.places and e.place_number[place] != number:
            place += 1
        if place == PLACES:  # no known play gets here; the last one is overwritten
            place = PLACES - 1
            e.place_number[place], e.furthest[place] = number, x
        elif place == e.places:
            e.places += 1
            e.place_number[place], e.furthest[place] = number, x
        e.place = place
    furthest = int64(e.furthest[place])
    if x > furthest:
        e.distance += x - furthest
        e.furthest[place] = x


@leaf
def _arrive(e: Any, ram: Any) -> None:
    e.x, e.level = game.x_position(ram), game.level(ram)
    _reach(e, game.place(ram), e.x)


@leaf
def _count(e: Any, frame: Any, ram: Any, one_level: bool) -> int:
    """Count what happened in a frame, and return why the episode ends.

    `frame` is the RAM at the end of the frame, `ram` the RAM after the scenes that were skipped.
    """
    e.frame_count += 1
    x, place = game.x_position(frame), game.place(frame)
    if place == e.place_number[e.place] and abs(x - e.x) <= FASTEST:
        e.progress += max(0, x - int64(e.furthest[e.place]))
    _reach(e, place, x)
    reason = _end_reason(e, frame, ram, one_level)
    _arrive(e, ram)
    return reason


@leaf
def _end_reason(e: Any, frame: Any, ram: Any, one_level: bool) -> int:
    if game.is_dying(frame):
        time_up = frame[game.TIMER_EXPIRED] != 0
        e.deaths += 1
        e.time_ups += int64(time_up)
        if one_level:
            return TIMED_OUT if time_up else DIED
        return GAME_OVER if ram[game.LIVES] == 0xFF else NONE
    done = game.is_flag_reached(frame) if one_level else game.is_last_princess_saved(frame)
    if done or game.level(ram) > e.level:
        e.levels_completed += 1
        return COMPLETED if done or one_level else NONE
    return NONE


@leaf
def draw(
    machines: Any, saved: Any, index: int, c: Any, words: Any, pixels: Any, frame: Any, e: Any, rules: Any, buttons: int,
    frames: int,
) -> None:  # fmt: skip
    """Play the last decision again, which had so many frames, to draw its last two. The machine ends in the same state."""
    m, pressed, delay, held = machines[index], buttons & 255, buttons >> 8, e.held_before
    machines[index] = saved[index]
    for i in range(frames):
        now = held if i < delay else pressed
        game.step(m, c, words[i & 1], pixels[i & 1], frame, now, i >= frames - 2, rules.one_level)


@leaf
def decide(
    machines: Any, saved: Any, index: int, c: Any, words: Any, pixels: Any, frame: Any, e: Any, rules: Any, buttons: int,
    draws: bool, outcome: Any, components: Any,
) -> int:  # fmt: skip
    """Play one decision, and return the number of its last frame. With `draws`, its screen is `words[number & 1]`.

    `buttons` has the action's buttons, plus 256 times the number of frames that pass before it takes hold. Until then the
    buttons of the last action that took hold stay pressed (mario_env.wrappers.actions.ActionDelay).
    """
    m, skip, reason, count, lives = machines[index], rules.frame_skip, NONE, 0, -1
    pressed, delay, held = buttons & 255, buttons >> 8, e.held
    saved[index], e.held_before = machines[index], held
    frames = e.frame_count
    for count in range(skip):
        drawn = draws and count >= skip - 2
        now = held if count < delay else pressed
        game.step(m, c, words[count & 1], pixels[count & 1], frame, now, drawn, rules.one_level)
        reason = _count(e, frame, m.ram, rules.one_level)
        if reason == NONE and rules.life_loss_ends_episode and e.deaths:
            reason, lives = TIMED_OUT if e.time_ups else LIFE_LOST, game.lives(m.ram)
        if reason != NONE:
            break
    if draws and count < skip - 1:  # it ended early
        draw(machines, saved, index, c, words, pixels, frame, e, rules, buttons, count + 1)
    if delay <= count:
        e.held = pressed
    if reason != NONE:
        _report(e, frame, outcome)
    else:
        _report(e, m.ram, outcome)
    if lives >= 0:
        outcome.life = lives
    elif reason in (DIED, TIMED_OUT, GAME_OVER):
        outcome.life = max(0, outcome.life - 1)  # the game takes the life only after the frame
    outcome.frames, outcome.end_reason = e.frame_count - frames, reason
    _pay(e, rules, outcome, components)
    _end(e, rules, outcome)
    return count


@leaf
def _pay(e: Any, rules: Any, outcome: Any, components: Any) -> None:
    """Write the components of the reward: what happened since the last decision, weighted and scaled."""
    deaths, completed = e.deaths - e.paid_deaths, e.levels_completed - e.paid_completed
    components.progress = min(e.progress - e.paid_progress, rules.progress_limit)
    components.clock = 0 if deaths or completed else min(0, outcome.time - e.paid_time)
    components.score = outcome.score - e.paid_score
    components.death = deaths
    components.completion = completed
    amounts, weights, paid = components.all, rules.weights, e.paid
    for i in range(len(amounts)):
        amounts[i] = rules.scale * (weights[i] * amounts[i]) + 0.0  # adding 0 turns -0.0 into 0.0
        paid[i] += amounts[i]
    e.paid_progress, e.paid_deaths, e.paid_completed = e.progress, e.deaths, e.levels_completed
    e.paid_time, e.paid_score = outcome.time, outcome.score


@leaf
def _end(e: Any, rules: Any, outcome: Any) -> None:
    """Write whether the episode ends, by the game or by the experiment's choice."""
    terminated, truncated = outcome.end_reason != NONE, False
    e.idle = e.idle + 1 if e.distance == e.reached_distance and e.levels_completed == e.reached_completed else 0
    e.reached_distance, e.reached_completed = e.distance, e.levels_completed
    if rules.stall_after and e.idle >= rules.stall_after and not terminated:
        truncated = True
        outcome.end_reason = STALLED
    e.steps += 1
    if rules.max_steps and e.steps >= rules.max_steps:
        truncated = True
    outcome.terminated, outcome.truncated = int64(terminated), int64(truncated)
