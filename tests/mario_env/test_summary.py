import json

import pytest

from mario_env import EpisodeStart


def test_start_survives_json() -> None:
    start = EpisodeStart(noop_frames=17)
    assert EpisodeStart.from_json(json.loads(json.dumps(start.to_json()))) == start


@pytest.mark.parametrize("value", [{}, {"noop_frames": -1}, {"noop_frames": True}, {"noop_frames": 1, "seed": 2}])
def test_a_start_that_is_none_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r'^an episode\'s start is \{"noop_frames": <0 or more>\}, not '):
        EpisodeStart.from_json(value)
