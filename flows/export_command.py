"""The command `mario export`.

Heavy packages are imported in the command.
"""

from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from configs import ConfigError, Settings

export_app = typer.Typer()
console = Console(markup=False)
errors = Console(stderr=True, markup=False)


@export_app.command()
def export(
    experiment: Annotated[str, typer.Argument(help="name or id")],
    minari: Annotated[bool, typer.Option("--minari", help="as a dataset of Minari, Farama's standard")] = False,
    observation: Annotated[
        Literal["frames", "tiles", "ram"] | None,
        typer.Option(help="ram: the console's 2048 bytes; default: what the agent saw"),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="id; default: super-mario-bros/EXPERIMENT-OBSERVATION-v0")] = None,
    phase: Annotated[str | None, typer.Option(help="only of this phase: integration, train or evaluate")] = None,
    protocol: Annotated[str | None, typer.Option(help="only of this protocol, such as training, greedy or sticky")] = None,
    level: Annotated[str | None, typer.Option(help="only those that ended on this level, such as 1-2")] = None,
    completed: Annotated[
        bool | None, typer.Option("--completed/--not-completed", help="only those that completed a level, or did not")
    ] = None,
    count: Annotated[int | None, typer.Option("-n", "--count", min=1, help="at most so many, the newest; default: all")] = None,
) -> None:
    """Write an experiment's stored episodes as a dataset for offline reinforcement learning."""
    from flows.exporting import Wanted, describe_left_out, prepare_minari
    from flows.servers import stop_on_signals
    from tasks.experiment import open_store

    if not minari:
        raise ConfigError("name the form of the dataset: --minari")
    stop_on_signals()
    with open_store(Settings.from_environment()) as store:
        prepared = prepare_minari(store, experiment, Wanted(phase, protocol, level, completed, count), observation, dataset)
        found = prepared.episodes
        console.print(
            f"{len(found.ids):,} episodes, {found.decisions:,} decisions, observation {prepared.observation}: about "
            f"{prepared.megabytes:,.1f} MB",
            soft_wrap=True,
        )
        if found.without_actions:
            console.print(f"left out: {found.without_actions:,} whose actions are not stored", soft_wrap=True)
        with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
            task = progress.add_task("playing them again", total=found.decisions)
            for decisions in prepared.write(store):
                progress.advance(task, decisions)
    if prepared.left_out:
        console.print(describe_left_out(prepared.left_out), soft_wrap=True)
    size = sum(file.stat().st_size for file in prepared.folder.rglob("*") if file.is_file()) / 1e6
    console.print(f"dataset: {prepared.folder} ({size:,.1f} MB)", soft_wrap=True)
    console.print(f'it is loaded with minari.load_dataset("{prepared.dataset_id}")', soft_wrap=True, highlight=False)
