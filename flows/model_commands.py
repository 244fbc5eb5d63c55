"""The commands of `mario` about trained models.

Heavy packages are imported in the commands that need them.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from configs import CHECKOUT, ConfigError, Settings
from flows import usage
from flows.game_command import Models, Player, Warps, is_game, print_game, team_choice
from flows.tables import print_table

model_app = typer.Typer()
console = Console(markup=False)

Overrides = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be repeated")]
Model = Annotated[str, typer.Argument(help="a name in models/, a path, a run id, or models:/NAME@ALIAS")]
Sha256 = Annotated[
    str | None, typer.Option("--sha256", help="SHA-256 of the manifest of a model from elsewhere, as its author names it")
]
TrustModel = Annotated[bool, typer.Option("--trust", help="load a model file from elsewhere without a SHA-256")]
Name = Annotated[str | None, typer.Option("--as", help="name of the copy; default: the level or the preset")]

# `keep` and `ship` write to the checkout, to be committed, or else to the working directory.
_KEPT_IN = CHECKOUT or Path()


@model_app.command()
def evaluate(
    model: Player,
    overrides: Overrides = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", callback=usage.output_file, help="write the figures to this file")
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="episodes per protocol")] = None,
    experiment: Annotated[str | None, typer.Option(help="continue this evaluation, or start one with this name")] = None,
    models: Models = None,
    warps: Warps = True,
    video: Annotated[
        Path | None, typer.Option(callback=usage.output_file, help="game: write the game that got furthest to this MP4 file")
    ] = None,
    sha256: Sha256 = None,
    trust: TrustModel = False,
) -> None:
    """Evaluate a model under every protocol, with a random policy for reference; or all levels' policies on the full game.

    The figures of a shipped model are compared with those it was shipped with. They are not compared if --set changes what is
    played (for example --set environment.stage=2).

    `mario evaluate game` plays 100 full games with three lives, stochastically, each level by its own policy.
    """
    from flows.evaluating import describe_confirmation, evaluate_model
    from flows.models import Trust

    settings, changed = Settings.from_environment(), overrides or []
    if is_game(model, models, warps, sha256, video):
        from flows.evaluating_game import evaluate_game

        figures = evaluate_game(team_choice(models, warps, trust), episodes, settings, experiment, changed, video)
        print_game(figures, console)
        _print_files({"figures": _written(figures, json_file), "video": video})
        return
    table, figures = evaluate_model(model, episodes, settings, Trust(sha256, trust), experiment, changed)
    print_table(table, model, console)
    _print_files({"figures": _written(figures, json_file)})
    if (found := figures.get("confirmation")) is not None:
        console.print(describe_confirmation(found), soft_wrap=True)
        if found["contradicted"]:
            raise typer.Exit(1)
    elif changed:
        console.print(
            f"played with {' '.join(changed)}: not compared with the figures that the model was shipped with", soft_wrap=True
        )


def _written(figures: Mapping[str, Any], file: Path | None) -> Path | None:
    """The file, after the figures were written to it."""
    if file is not None:
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return file


def _print_files(files: Mapping[str, Path | None]) -> None:
    for name, file in files.items():
        if file is not None:
            console.print(f"{name}: {file}", soft_wrap=True)


@model_app.command()
def watch(
    model: Annotated[
        str | None,
        typer.Argument(help="a name in models/, a path, a run id, or models:/NAME@ALIAS; or `game`: all levels' policies"),
    ] = None,
    episode: Annotated[int | None, typer.Option(help="id of a stored episode to replay")] = None,
    video: Annotated[Path | None, typer.Option(callback=usage.output_file, help="write an MP4 file, open no window")] = None,
    stochastic: Annotated[bool, typer.Option(help="sample actions as in training")] = False,
    seed: Annotated[int, typer.Option(min=0, help="seed for --stochastic")] = 0,
    observation: Annotated[bool, typer.Option("--observation", help="show what the agent sees beside the game")] = False,
    models: Models = None,
    warps: Warps = True,
    sha256: Sha256 = None,
    trust: TrustModel = False,
) -> None:
    """Watch a model play, or all levels' policies play the full game (`mario watch game`); or replay a stored episode."""
    from flows.models import Trust
    from flows.watching import episode_frames, model_frames, show

    if (model is None) == (episode is None):
        raise ConfigError("name a model, or an episode with --episode ID (`mario episodes` lists them)")
    settings = Settings.from_environment()
    if episode is not None:
        frames = episode_frames(episode, settings, observation=observation)
    elif is_game(str(model), models, warps, sha256, None):
        from flows.whole_game import game_frames

        choice = team_choice(models, warps, trust)
        frames = game_frames(choice, settings, stochastic=stochastic, seed=seed, observation=observation)
    else:
        trusted = Trust(sha256, trust)
        frames = model_frames(str(model), settings, trusted, stochastic=stochastic, seed=seed, observation=observation)
    written = show(frames, video, observation=observation)
    if written is not None:
        console.print(f"video: {written}", soft_wrap=True)


@model_app.command()
def inspect(
    episode: Annotated[int | None, typer.Option(min=1, help="id of a stored episode (`mario episodes` lists them)")] = None,
    export: Annotated[Path | None, typer.Option(callback=usage.output_file, help="write the episode as one HTML file")] = None,
    model: Annotated[str | None, typer.Option(help="the model that judges it; default: its experiment's own")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="of the server on this machine")] = 4300,
    sha256: Sha256 = None,
    trust: TrustModel = False,
) -> None:
    """Look into episodes: what the agent saw, thought and did, and what it was rewarded for; in a browser, or as a file."""
    from flows.inspecting import Models, export_episode, serve
    from flows.models import Trust

    settings = Settings.from_environment()
    models = Models(settings, model, Trust(sha256, trust))
    if export is None:
        serve(settings, models, port, episode)
        return
    if episode is None:
        raise ConfigError("name the episode to export with --episode ID (`mario episodes` lists them)")
    file, missing = export_episode(episode, export, models)
    if missing is not None:
        console.print(f"without a model's opinion: {missing}", soft_wrap=True)
    console.print(f"episode: {file} ({file.stat().st_size / 1e6:.1f} MB)", soft_wrap=True)


@model_app.command()
def card(
    model: Model,
    figures: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="the figures, as `mario evaluate --json` has written them"),
    ] = None,
    output: Annotated[Path | None, typer.Option(callback=usage.output_file, help="the file; default: print it")] = None,
    sha256: Sha256 = None,
    trust: TrustModel = False,
) -> None:
    """Write a model card in the form of the Hugging Face hub: protocols, intervals, seeds, lineage and limits."""
    from flows.card import model_card, read_figures
    from flows.models import Trust, load

    agent = load(model, Settings.from_environment(), Trust(sha256, trust))
    text = model_card(agent, model, read_figures(figures, agent) if figures is not None else agent.evaluation)
    if output is None:
        typer.echo(text, nl=False)
        return
    output.write_text(text, encoding="utf-8")
    console.print(f"card: {output}", soft_wrap=True)


@model_app.command()
def promote(
    model: Annotated[str, typer.Argument(help="a registered name, such as mario-1-1")],
    version: Annotated[int | None, typer.Option(min=1, help="the candidate; default: the alias `candidate`")] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="episodes per protocol")] = None,
    protocols: Annotated[
        list[str] | None, typer.Option("--protocol", help="may be repeated; default: stochastic, sticky")
    ] = None,
) -> None:
    """Let a candidate and the champion play the same new episodes; the better one is the champion."""
    from flows.promoting import run_promotion

    console.print(run_promotion(model, version, protocols, episodes), soft_wrap=True)


@model_app.command()
def rollback(model: Annotated[str, typer.Argument(help="a registered name, such as mario-1-1")]) -> None:
    """Make the earlier champion of a registered model the champion again."""
    from flows.promote_mario import rollback as roll_back

    console.print(roll_back(model, Settings.from_environment()).describe(), soft_wrap=True)


@model_app.command()
def keep(
    experiment: Annotated[str | None, typer.Argument(help="name or id of a completed run")] = None,
    name: Name = None,
    folder: Annotated[Path, typer.Option(callback=usage.output_folder, help="folder of the results")] = _KEPT_IN / "results",
    replace: Annotated[bool, typer.Option("--replace", help="replace what is there of another run")] = False,
    sweep: Annotated[
        str | None, typer.Option(help="a sweep over levels: keep what is completed of it, and write the table of the levels")
    ] = None,
    level: Annotated[bool, typer.Option("--level", help="keep the run as the result of its level in that table")] = False,
    pages: Annotated[bool, typer.Option("--pages", help="only write the table and the sheet of flags again")] = False,
    ship: Annotated[bool, typer.Option("--ship", help="with --sweep: also ship each policy, in half precision")] = False,
    models: Annotated[Path, typer.Option(callback=usage.output_folder, help="folder of the shipped policies")] = _KEPT_IN
    / "models",
) -> None:
    """Copy a run's results into the project: figures, learning curve, report, configuration and provenance."""
    if sum((experiment is not None, sweep is not None, pages)) != 1:
        raise ConfigError("name one of: an experiment, a sweep over levels (--sweep), or --pages to write its pages again")
    if ship and sweep is None:
        raise ConfigError("--ship belongs to --sweep; for one experiment there is `mario ship EXPERIMENT --half`")
    settings = Settings.from_environment()
    if sweep is not None:
        _keep_sweep(sweep, settings, folder, models if ship else None, replace=replace)
    elif pages:
        _write_level_pages(folder / "levels")
    elif level:
        from tasks.keeping import keep_level_of

        result = keep_level_of(str(experiment), settings, folder / "levels", name, replace_other=replace)
        _print_kept(result.folder, result.notice)
        _write_level_pages(folder / "levels")
    else:
        from tasks.keeping import keep_experiment

        kept = keep_experiment(str(experiment), settings, folder, name, replace_other=replace)
        _print_kept(kept.folder, kept.notice)


def _print_kept(folder: Path, notice: str) -> None:
    console.print(f"results: {folder}", soft_wrap=True)
    if notice:
        console.print(notice, soft_wrap=True)


def _keep_sweep(reference: str, settings: Settings, folder: Path, models: Path | None, *, replace: bool) -> None:
    """Keep a sweep into the folder of its name, and print what became of each run."""
    from flows.keeping_sweep import Places, keep_sweep, sweep_of_levels

    described, runs = sweep_of_levels(reference)
    results = folder / described.name
    refused = 0
    for outcome in keep_sweep(described, runs, settings, Places(results, models, replace)):
        console.print(f"{outcome.level}: {outcome.done}", highlight=False, soft_wrap=True)
        refused += outcome.refused
    _write_level_pages(results)
    if refused:
        raise ConfigError(f"{refused} of {len(runs)} runs were not kept: the lines above say why")


def _write_level_pages(results: Path) -> None:
    from flows.keeping_sweep import readme_of
    from reports.levels.page import describe_size, write_pages

    for path in write_pages(results, readme_of(results)):
        console.print(f"written: {path}", highlight=False, soft_wrap=True)
    console.print(f"{results}: {describe_size(results)}", highlight=False, soft_wrap=True)


@model_app.command()
def ship(
    experiment: Annotated[str, typer.Argument(help="name or id of a completed run")],
    name: Name = None,
    folder: Annotated[Path, typer.Option(callback=usage.output_folder, help="folder of the models")] = _KEPT_IN / "models",
    half: Annotated[bool, typer.Option("--half", help="round the weights to half the size, and evaluate them again")] = False,
) -> None:
    """Copy a run's policy into the project, with the figures of its evaluation."""
    from flows.shipping import ship_rounded
    from tasks.keeping import ship_model

    write = ship_rounded if half else ship_model
    description = write(experiment, Settings.from_environment(), folder, name)
    console.print(f"model: {description.with_suffix('')}.pth, {description.name}", soft_wrap=True)
    digest = hashlib.sha256(description.read_bytes()).hexdigest()
    console.print(f"SHA-256 of {description.name}, for others to pass to --sha256: {digest}", soft_wrap=True)
