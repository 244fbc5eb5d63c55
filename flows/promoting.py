"""`mario promote`: run the promotion's flow in this process."""

from collections.abc import Sequence
from typing import cast, get_args

from configs import ConfigError, Settings
from configs.schema import Protocol
from flows import faults
from flows.project_logs import show_project_logs
from flows.promote_mario import DEFAULT_EPISODES, promote_mario
from flows.running import require_reachable_server


def run_promotion(model: str, version: int | None, protocols: Sequence[str] | None, episodes: int | None) -> str:
    """Run the flow, and return its decision in a sentence.

    Raises:
        ConfigError: a protocol does not exist.
        PromotionError: the promotion is refused.
    """
    if unknown := [name for name in protocols or () if name not in get_args(Protocol)]:
        raise ConfigError(f"there is no protocol {unknown[0]!r}; there are {', '.join(get_args(Protocol))}")
    require_reachable_server()
    faults.hide_external_tracebacks(Settings.from_environment().home)
    show_project_logs()
    chosen = cast("list[Protocol] | None", None if protocols is None else list(protocols))
    return str(promote_mario(model, version, chosen, episodes or DEFAULT_EPISODES)["words"])
