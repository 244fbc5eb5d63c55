"""Learning while the environments play, for algorithms that learn from a replay memory.

Without it one waits for the other: act, play, act, play, ..., update. With it an update that is due waits for the next step of
the environments: the actions are chosen, the environments start, the update runs beside them, their results are fetched. The
update is the same one, of the same transitions in memory; only the actions of the first step after it were chosen by the
network of before. Nothing depends on which of the two is done first, so that one seed still gives one training.

What this hides is one step of all environments for each update: all of the playing where `train_freq` is 1, a quarter where it
is 4. Many environments and a `train_freq` of 1 hide most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from agents.callbacks import StopLearning
from agents.own_state import OwnState


class Meanwhile(VecEnvWrapper):
    """Does something of the algorithm's between `step_async` and `step_wait`. It is of use where `step_async` starts something.

    Attributes:
        task: what is done next time; forgotten before it is done.
    """

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.task: Callable[[], None] | None = None

    def reset(self) -> VecEnvObs:
        """As the wrapped one's."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Do the task, then wait. The environments are waited for even when the task fails."""
        try:
            self.do_task()
        except BaseException:
            self.venv.step_wait()
            raise
        return self.venv.step_wait()

    def do_task(self) -> None:
        """Do what is to be done, now."""
        task, self.task = self.task, None
        if task is not None:
            task()


class MayOverlap(OwnState, OffPolicyAlgorithm):
    """Puts an update off until the environments play, if they are wrapped as `Meanwhile`. To be inherited before an algorithm.

    A checkpoint in the midst of a training is of before the update that is due, and says which it is. At the end of a training,
    and when it is stopped, that update is done before the model is anyone else's.
    """

    # Gradient steps and batch size of the update that is due.
    _due: tuple[int, int] | None = None

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Update now, or when the environments play next."""
        if isinstance(self.env, Meanwhile):
            self._put_off(self.env, (gradient_steps, batch_size))
        else:
            super().train(gradient_steps, batch_size)

    def own_state(self) -> dict[str, Any]:
        """With the update that is due."""
        return {**super().own_state(), "due_update": None if self._due is None else list(self._due)}

    def set_own_state(self, state: Mapping[str, Any]) -> None:
        """With the update that was due."""
        super().set_own_state(state)
        if isinstance(self.env, Meanwhile):
            due = state["due_update"]
            self._put_off(self.env, None if due is None else (due[0], due[1]))

    def _put_off(self, env: Meanwhile, due: tuple[int, int] | None) -> None:
        self._due, env.task = due, None if due is None else self._train_meanwhile

    def _train_meanwhile(self) -> None:
        due, self._due = self._due, None
        assert due is not None
        super().train(*due)
        # As a rollout, in whose midst this is, has set it.
        self.policy.set_training_mode(False)

    def learn(self, *args: Any, **kwargs: Any) -> Self:
        """As the library's; no update is due afterwards."""
        try:
            super().learn(*args, **kwargs)
        except StopLearning:
            self._catch_up()
            raise
        self._catch_up()
        return self

    def _catch_up(self) -> None:
        if isinstance(self.env, Meanwhile):
            self.env.do_task()
