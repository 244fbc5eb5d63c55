import json

import pytest

from mario_env import EpisodeStart


def test_start_survives_json() -> None:
    for start in (EpisodeStart(noop_frames=17), EpisodeStart(level="8-4", demonstration=b"\x03\x0a")):
        assert EpisodeStart.from_json(json.loads(json.dumps(start.to_json()))) == start
    assert EpisodeStart(noop_frames=17).to_json() == {"noop_frames": 17}, "as every earlier version wrote it"


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"noop_frames": -1},
        {"noop_frames": True},
        {"noop_frames": 1, "seed": 2},
        {"noop_frames": 1, "level": "9-1"},
        {"noop_frames": 1, "level": None},
        {"noop_frames": 0, "demonstration": "3"},
    ],
)
def test_a_start_that_is_none_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r'^an episode\'s start is \{"noop_frames": <0 or more>\}, with .*, not '):
        EpisodeStart.from_json(value)
