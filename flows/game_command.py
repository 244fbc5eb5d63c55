"""What `mario evaluate game` and `mario watch game` add to these commands: their options, and how results are printed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from configs import ConfigError
from flows.tables import print_table

if TYPE_CHECKING:
    from flows.whole_game import TeamChoice

GAME: Final = "game"
"""In place of a model's name: the policies of all levels, which play the full game together."""

Player = Annotated[
    str, typer.Argument(help="a name in models/, a path, a run id, or models:/NAME@ALIAS; or `game`: all levels' policies")
]
Models = Annotated[
    Path | None, typer.Option("--models", help="game: folder with the levels' policies, world-1-1.json and so on")
]
Warps = Annotated[bool, typer.Option("--warps/--no-warps", help="game: whether it goes on after a warp, or ends there")]


def is_game(model: str, models: Path | None, warps: bool, sha256: str | None, video: Path | None) -> bool:
    """Whether the full game is played, by all levels' policies; options that mean nothing are refused.

    Raises:
        ConfigError: an option is given that does not go with the model.
    """
    if model == GAME:
        if sha256 is not None:
            raise ConfigError("--sha256 is for one model: `game` loads several, and --trust loads them without one")
        return True
    given = {"--models": models is not None, "--no-warps": not warps, "--video": video is not None}
    if unused := [name for name, is_given in given.items() if is_given]:
        raise ConfigError(f"{', '.join(unused)} is for `game`, the levels' policies together, and not for one model ({model})")
    return False


def team_choice(models: Path | None, warps: bool, trust: bool) -> "TeamChoice":
    """Which policies play; without a folder, those of the project."""
    from flows.whole_game import TeamChoice

    return TeamChoice(**({} if models is None else {"folder": models}), warps=warps, trust=trust)


def print_game(figures: Mapping[str, Any], console: Console) -> None:
    """Print how far the games of :func:`flows.evaluating_game.evaluate_game` got."""
    from tasks.games import describe_games, game_table

    for protocol, own in figures["protocols"].items():
        print_table(game_table(own, figures["policies"]), f"{GAME}, {protocol}", console)
        console.print(describe_games(own), soft_wrap=True)
    if borrowed := figures["borrowed"]:
        named = ", ".join(f"{level} (played by {name})" for level, name in borrowed.items())
        console.print(f"without a policy of their own: {named}", soft_wrap=True)
