"""The command `mario`.

Heavy packages are imported by the command that needs them: `mario --help` answers at once.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from configs import LOGGERS, PROJECT, ConfigError, Settings, load, preset_names, to_dict
from flows import new_process

app = typer.Typer(
    help="Train, measure and compare agents that play Super Mario Bros.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()
errors = Console(stderr=True)

Overrides = Annotated[list[str] | None, typer.Option("--set", help="section.key=value, as often as needed")]

Model = Annotated[str, typer.Argument(help="a name in models/, a path, a run's id, or models:/NAME@ALIAS")]
Sha256 = Annotated[
    str | None, typer.Option("--sha256", help="of the manifest of a model from elsewhere, as its maker names it")
]
AnyFile = Annotated[bool, typer.Option("--trust", help="load a model file from elsewhere, whatever it is")]
Name = Annotated[str | None, typer.Option("--as", help="its name there; default: the level or the preset")]

_INTERRUPTED = 130  # what a shell reports for a command that SIGINT ended


@app.command()
def run(
    preset: Annotated[str, typer.Argument(help="a preset's name (see `mario presets`) or a YAML file")],
    overrides: Overrides = None,
    experiment: Annotated[str | None, typer.Option(help="go on with this experiment, or begin one of this name")] = None,
    extend: Annotated[int | None, typer.Option(min=1, help="train this experiment to so many steps, more than before")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="begin it at step 0; what is there is kept as NAME-old-1")] = False,
) -> None:
    """Smoke test, integration run, training, evaluation and report, in this process."""
    from flows.running import run_pipeline

    raise typer.Exit(run_pipeline(preset, overrides or [], experiment, restart=restart, extend=extend))


@app.command()
def evaluate(
    model: Model,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures to this file")] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="episodes under each protocol")] = None,
    experiment: Annotated[str | None, typer.Option(help="go on with this evaluation, or begin one of this name")] = None,
    sha256: Sha256 = None,
    trust: AnyFile = False,
) -> None:
    """Let a model play under every protocol, and a random policy for reference; a shipped one's figures are confirmed."""
    from flows.evaluating import evaluate_model
    from flows.models import Trust

    table, figures = evaluate_model(model, episodes, Settings.from_environment(), Trust(sha256, trust), experiment)
    _print_table(table, f"{model}")
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        console.print(f"figures: {json_file}", soft_wrap=True)
    if (found := figures.get("confirmation")) is not None:
        console.print(_confirmed(found), soft_wrap=True)
        if found["contradicted"]:
            raise typer.Exit(1)


def _confirmed(found: Mapping[str, Any]) -> str:
    if found["identical"]:
        return "every figure is the one the model was shipped with"
    if found["contradicted"]:
        return f"NOT what the model was shipped with: {', '.join(found['contradicted'])}"
    return "within the intervals of the figures the model was shipped with"


@app.command()
def keep(
    experiment: Annotated[str, typer.Argument(help="name or id of a run that has ended")],
    name: Name = None,
    folder: Annotated[Path, typer.Option(help="where results are kept")] = PROJECT / "results",
    replace: Annotated[bool, typer.Option("--replace", help="also another run's results of that name")] = False,
) -> None:
    """Keep a run with the project: figures, learning curve, report, configuration and where they come from."""
    from tasks.keeping import keep_experiment

    kept = keep_experiment(experiment, Settings.from_environment(), folder, name, replace_other=replace)
    console.print(f"results: {kept.folder}", soft_wrap=True)
    if kept.notice:
        console.print(kept.notice, soft_wrap=True)


@app.command()
def ship(
    experiment: Annotated[str, typer.Argument(help="name or id of a run that has ended")],
    name: Name = None,
    folder: Annotated[Path, typer.Option(help="where models are kept")] = PROJECT / "models",
) -> None:
    """Keep a run's policy with the project, with the figures of its evaluation."""
    from tasks.keeping import ship_model

    description = ship_model(experiment, Settings.from_environment(), folder, name)
    console.print(f"model: {description.with_suffix('')}.pth, {description.name}", soft_wrap=True)
    digest = hashlib.sha256(description.read_bytes()).hexdigest()
    console.print(f"SHA-256 of {description.name}, which others give to --sha256: {digest}", soft_wrap=True)


@app.command()
def report(
    experiments: Annotated[list[str], typer.Argument(help="names or ids; several are compared")],
    output: Annotated[Path | None, typer.Option(help="folder for the report")] = None,
) -> None:
    """Write the report on one experiment, or one that compares several."""
    from tasks.experiment import load_experiment
    from tasks.report import report_on

    settings = Settings.from_environment()
    loaded = [load_experiment(name, settings) for name in experiments]
    folder = output or (
        loaded[0].directory / "report" if len(loaded) == 1 else settings.home / "reports" / "-".join(experiments)
    )
    paths = report_on(loaded, settings, folder)
    console.print(f"report: {paths.html}", soft_wrap=True)


@app.command()
def watch(
    model: Annotated[str | None, typer.Argument(help="a name in models/, a path, a run's id, or models:/NAME@ALIAS")] = None,
    episode: Annotated[int | None, typer.Option(help="play a stored episode again, exactly")] = None,
    video: Annotated[Path | None, typer.Option(help="write an MP4 file instead of opening a window")] = None,
    stochastic: Annotated[bool, typer.Option(help="let the model choose at random, as in training")] = False,
    seed: Annotated[int, typer.Option(min=0, help="of the stochastic choices")] = 0,
    sha256: Sha256 = None,
    trust: AnyFile = False,
) -> None:
    """See a model play, or any stored episode again."""
    from flows.models import Trust
    from flows.watching import episode_frames, model_frames, show

    if (model is None) == (episode is None):
        raise ConfigError("name a model, or an episode with --episode ID (`mario episodes` lists them)")
    settings = Settings.from_environment()
    if episode is not None:
        frames = episode_frames(episode, settings)
    else:
        frames = model_frames(str(model), settings, Trust(sha256, trust), stochastic=stochastic, seed=seed)
    written = show(frames, video)
    if written is not None:
        console.print(f"video: {written}", soft_wrap=True)


@app.command()
def episodes(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="how many")] = 20,
    experiment: Annotated[str | None, typer.Option(help="of this experiment only")] = None,
) -> None:
    """The latest episodes."""
    from tasks.experiment import open_store

    with open_store(Settings.from_environment()) as store:
        latest = store.latest(count, None if experiment is None else store.experiment(experiment).id)
    rows = [
        {
            "id": row["id"],
            "experiment": row["experiment"],
            "played as": row["protocol"] if row["phase"] == "evaluate" else row["phase"],
            "step": row["global_step"],
            "level": f"{row['world']}-{row['stage']}",
            "pixels": row["distance_traveled"],
            "reward": f"{row['reward']:.1f}",
            "ended": row["end_reason"],
        }
        for row in latest.to_dict("records")
    ]
    _print_table(rows, "latest episodes")


@app.command()
def check(
    preset: Annotated[str, typer.Argument(help="the preset whose needs are checked")] = "dqn",
    overrides: Overrides = None,
) -> None:
    """The smoke test alone: everything that could fail later, in seconds."""
    from tasks.checks import run_checks

    results = run_checks(load(preset, overrides or []), Settings.from_environment())
    rows = [
        {"check": each.name, "": "ok" if each.passed else "FAILED", "found": each.detail, "seconds": f"{each.seconds:.1f}"}
        for each in results
    ]
    _print_table(rows, f"smoke test of {preset}")
    if not all(each.passed for each in results):
        raise typer.Exit(1)


@app.command()
def presets(name: Annotated[str | None, typer.Argument(help="show this one whole")] = None) -> None:
    """List the presets, or show one with every key."""
    import yaml

    if name is not None:
        console.print(yaml.safe_dump(to_dict(load(name)), sort_keys=False), markup=False, highlight=False)
        return
    loaded = [(each, load(each)) for each in preset_names()]
    rows = [
        {
            "preset": each,
            "algorithm": config.agent.algorithm,
            "steps": f"{config.train.total_steps:,}",
            "description": config.description,
        }
        for each, config in loaded
    ]
    _print_table(rows, "presets")


@app.command()
def ui(
    prefect_port: Annotated[int, typer.Option(min=1, max=65535)] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Prefect server, its worker and the MLflow server, on loopback, until Ctrl-C."""
    from flows.servers import Ports, serve

    serve(Settings.from_environment(), Ports(prefect_port, mlflow_port))


@app.command()
def stop() -> None:
    """Stop the embedded Postgres (it starts again by itself)."""
    from episodes import stop_embedded

    stopped = stop_embedded(Settings.from_environment().home)
    console.print("the embedded Postgres is stopped" if stopped else "no embedded Postgres is running")


@app.command()
def database() -> None:
    """Print the command that opens the episode database with psql."""
    from episodes import psql_command
    from tasks.experiment import open_store

    settings = Settings.from_environment()
    with open_store(settings):
        command = 'psql "$DATABASE_URL"' if settings.database_url else psql_command(settings.home)
    console.print(command, markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Entry point: faults that a person can mend are printed as one message, without a traceback."""
    new_process.prepare()
    settings = Settings.from_environment()
    settings.create_home()
    settings.apply()
    try:
        # In this mode the code of `typer.Exit` is returned, not raised.
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        errors.print("interrupted")
        sys.exit(_INTERRUPTED)
    except Exception as error:
        _explain(error)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> None:
    """Print what a person can act on, and leave everything else to a traceback."""
    import click

    if isinstance(error, click.ClickException):
        error.show()
        sys.exit(error.exit_code)
    # Our own errors are written for people; what is none of ours is a fault of the program and shows its traceback.
    if type(error).__module__.split(".")[0] in LOGGERS:
        errors.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    raise error


def _print_table(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    if not rows:
        console.print(f"{title}: none yet")
        return
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)
