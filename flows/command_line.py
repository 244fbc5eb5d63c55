"""The command `mario`.

Heavy packages are imported in the commands that need them, so that `mario --help` is fast.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from configs import CHECKOUT, LOGGERS, ConfigError, Protocol, Settings, load, preset_names, to_dict
from flows import faults, new_process, usage
from flows.database_command import database_app
from flows.prefect_access import MARIO_PROCESS
from flows.tables import print_table

app = typer.Typer(
    help="Train, measure and compare agents that play Super Mario Bros.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(database_app, name="database")
console = Console()
errors = Console(stderr=True)

Overrides = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be repeated")]

Model = Annotated[str, typer.Argument(help="a name in models/, a path, a run id, or models:/NAME@ALIAS")]
Sha256 = Annotated[
    str | None, typer.Option("--sha256", help="SHA-256 of the manifest of a model from elsewhere, as its author names it")
]
TrustModel = Annotated[bool, typer.Option("--trust", help="load a model file from elsewhere without a SHA-256")]
Name = Annotated[str | None, typer.Option("--as", help="name of the copy; default: the level or the preset")]

Status = Literal["running", "gone", "completed", "failed", "interrupted"]

# `keep` and `ship` write to the checkout, to be committed, or else to the working directory.
_KEPT_IN = CHECKOUT or Path()

_INTERRUPTED = 130  # the exit code that shells report for a command ended by SIGINT

# These commands write nothing: they work on a full disk too, where `stop` may help.
_READ_ONLY = ("presets", "stop", "watch")


@app.callback()
def prepare(context: typer.Context) -> None:
    """Check the home folder, and set the variables that Prefect and MLflow read when they are imported."""
    settings = Settings.from_environment()
    # Printing a command's help writes nothing either.
    if context.invoked_subcommand not in _READ_ONLY and "--help" not in sys.argv[1:]:
        if CHECKOUT is None and not os.environ.get("MARIO_HOME") and not settings.home.exists():
            errors.print(f"runs write to {settings.home} (set MARIO_HOME for another folder)", soft_wrap=True)
        settings.check_home()
    settings.apply()


@app.command()
def run(
    preset: Annotated[str, typer.Argument(help="name of a preset (see `mario presets`), or a YAML file")],
    overrides: Overrides = None,
    experiment: Annotated[str | None, typer.Option(help="continue this experiment, or start one with this name")] = None,
    extend: Annotated[int | None, typer.Option(min=1, help="train the experiment further, to this number of steps")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="start at step 0; the old state is kept as NAME-old-1")] = False,
) -> None:
    """Run the whole pipeline in this process: smoke test, integration run, training, evaluation, report."""
    from flows.running import run_pipeline

    raise typer.Exit(run_pipeline(preset, overrides or [], experiment, restart=restart, extend=extend))


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="a YAML file with presets, levels, seeds and overrides")],
    local: Annotated[
        int | None, typer.Option(min=1, help="run it in so many processes on this machine, not on Prefect's workers")
    ] = None,
) -> None:
    """Run every combination of presets, levels, variants and seeds; started again, it goes on."""
    from flows.sweeping import run_sweep

    raise typer.Exit(run_sweep(file, local))


@app.command()
def evaluate(
    model: Model,
    overrides: Overrides = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", callback=usage.output_file, help="write the figures to this file")
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="episodes per protocol")] = None,
    experiment: Annotated[str | None, typer.Option(help="continue this evaluation, or start one with this name")] = None,
    sha256: Sha256 = None,
    trust: TrustModel = False,
) -> None:
    """Evaluate a model under every protocol, with a random policy for reference.

    The figures of a shipped model are compared with those it was shipped with. They are not compared if --set changes what is
    played (for example --set environment.stage=2).
    """
    from flows.evaluating import describe_confirmation, evaluate_model
    from flows.models import Trust

    settings, changed = Settings.from_environment(), overrides or []
    table, figures = evaluate_model(model, episodes, settings, Trust(sha256, trust), experiment, changed)
    print_table(table, model, console)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        console.print(f"figures: {json_file}", soft_wrap=True)
    if (found := figures.get("confirmation")) is not None:
        console.print(describe_confirmation(found), soft_wrap=True)
        if found["contradicted"]:
            raise typer.Exit(1)
    elif changed:
        console.print(
            f"played with {' '.join(changed)}: not compared with the figures that the model was shipped with", soft_wrap=True
        )


@app.command()
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


@app.command()
def rollback(model: Annotated[str, typer.Argument(help="a registered name, such as mario-1-1")]) -> None:
    """Make the earlier champion of a registered model the champion again."""
    from flows.promote_mario import rollback as roll_back

    console.print(roll_back(model, Settings.from_environment()).describe(), soft_wrap=True)


@app.command()
def keep(
    experiment: Annotated[str, typer.Argument(help="name or id of a completed run")],
    name: Name = None,
    folder: Annotated[Path, typer.Option(callback=usage.output_folder, help="folder of the results")] = _KEPT_IN / "results",
    replace: Annotated[bool, typer.Option("--replace", help="replace the results of another run with the same name")] = False,
) -> None:
    """Copy a run's results into the project: figures, learning curve, report, configuration and provenance."""
    from tasks.keeping import keep_experiment

    kept = keep_experiment(experiment, Settings.from_environment(), folder, name, replace_other=replace)
    console.print(f"results: {kept.folder}", soft_wrap=True)
    if kept.notice:
        console.print(kept.notice, soft_wrap=True)


@app.command()
def ship(
    experiment: Annotated[str, typer.Argument(help="name or id of a completed run")],
    name: Name = None,
    folder: Annotated[Path, typer.Option(callback=usage.output_folder, help="folder of the models")] = _KEPT_IN / "models",
) -> None:
    """Copy a run's policy into the project, with the figures of its evaluation."""
    from tasks.keeping import ship_model

    description = ship_model(experiment, Settings.from_environment(), folder, name)
    console.print(f"model: {description.with_suffix('')}.pth, {description.name}", soft_wrap=True)
    digest = hashlib.sha256(description.read_bytes()).hexdigest()
    console.print(f"SHA-256 of {description.name}, for others to pass to --sha256: {digest}", soft_wrap=True)


@app.command()
def report(
    experiments: Annotated[list[str], typer.Argument(help="names or ids; two or more are compared")],
    output: Annotated[Path | None, typer.Option(callback=usage.output_folder, help="folder for the report")] = None,
) -> None:
    """Write a report on one experiment, or on a comparison of several."""
    from tasks.experiment import load_experiment
    from tasks.report import comparison_folder, report_on

    settings = Settings.from_environment()
    loaded = [load_experiment(name, settings) for name in experiments]
    folder = output or (
        loaded[0].directory / "report" if len(loaded) == 1 else settings.home / "reports" / comparison_folder(experiments)
    )
    paths = report_on(loaded, settings, folder)
    console.print(f"report: {paths.html}", soft_wrap=True)


@app.command()
def compare(
    experiments: Annotated[list[str], typer.Argument(help="names, ids, or patterns such as 'ppo-*'")],
    output: Annotated[Path | None, typer.Option(callback=usage.output_folder, help="folder for the page")] = None,
    protocol: Annotated[Protocol, typer.Option(help="evaluation to compare")] = "stochastic",
    clips: Annotated[bool, typer.Option(help="make short videos of how episodes end")] = True,
) -> None:
    """Compare many experiments by seeds: presets and levels with intervals over their seeds."""
    from flows import comparing

    comparison = comparing.compare_experiments(experiments, Settings.from_environment(), output, protocol, clips=clips)
    print_table(comparing.comparison_table(comparison), "completion by group", console)
    for each, reason in comparison.results.grouping.left_out:
        console.print(f"left out: {each.name} {reason}", soft_wrap=True)
    console.print(f"comparison: {comparison.paths.html}", soft_wrap=True)


@app.command()
def watch(
    model: Annotated[str | None, typer.Argument(help="a name in models/, a path, a run id, or models:/NAME@ALIAS")] = None,
    episode: Annotated[int | None, typer.Option(help="id of a stored episode to replay")] = None,
    video: Annotated[Path | None, typer.Option(callback=usage.output_file, help="write an MP4 file, open no window")] = None,
    stochastic: Annotated[bool, typer.Option(help="sample actions as in training")] = False,
    seed: Annotated[int, typer.Option(min=0, help="seed for --stochastic")] = 0,
    observation: Annotated[bool, typer.Option("--observation", help="show what the agent sees beside the game")] = False,
    sha256: Sha256 = None,
    trust: TrustModel = False,
) -> None:
    """Watch a model play, or replay a stored episode."""
    from flows.models import Trust
    from flows.watching import episode_frames, model_frames, show

    if (model is None) == (episode is None):
        raise ConfigError("name a model, or an episode with --episode ID (`mario episodes` lists them)")
    settings = Settings.from_environment()
    if episode is not None:
        frames = episode_frames(episode, settings, observation=observation)
    else:
        trusted = Trust(sha256, trust)
        frames = model_frames(str(model), settings, trusted, stochastic=stochastic, seed=seed, observation=observation)
    written = show(frames, video, observation=observation)
    if written is not None:
        console.print(f"video: {written}", soft_wrap=True)


@app.command()
def episodes(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="how many")] = 20,
    experiment: Annotated[str | None, typer.Option(help="only episodes of this experiment")] = None,
) -> None:
    """List the latest episodes."""
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
    print_table(rows, "latest episodes", console)


@app.command()
def experiments(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="how many")] = 20,
    status: Annotated[Status | None, typer.Option(help="only this status; gone: running, but its process has ended")] = None,
    preset: Annotated[str | None, typer.Option(help="only experiments of this preset")] = None,
    mark_crashed: Annotated[str | None, typer.Option(help="record this experiment, whose process is gone, as failed")] = None,
) -> None:
    """List the latest experiments with their status and progress."""
    from flows import experiments as listing
    from tasks import starting

    settings = Settings.from_environment()
    if mark_crashed is not None:
        starting.mark_crashed(mark_crashed, settings)
        console.print(f"{mark_crashed} is recorded as failed; it can still be continued", soft_wrap=True)
        return
    rows = listing.list_experiments(settings, count, status, preset)
    print_table(rows, "latest experiments", console)
    if listing.any_gone(rows):
        console.print(
            "gone: its process has ended, or gives no sign of life. Its `mario run` command continues it; --mark-crashed NAME "
            "records it as failed."
        )


@app.command()
def quality(
    experiment: Annotated[str, typer.Argument(help="name or id")],
    accept: Annotated[
        str | None, typer.Option(help="accept this broken rule as it was last seen, to let the run continue")
    ] = None,
    because: Annotated[str, typer.Option(help="why it is acceptable; stored with the experiment")] = "",
    phase: Annotated[str | None, typer.Option(help="accept it only in this phase: integration, train or evaluate")] = None,
) -> None:
    """Show the results of an experiment's data-quality checks, or accept a broken rule."""
    from tasks.experiment import load_experiment
    from tasks.quality import accept_rule, quality_table

    loaded = load_experiment(experiment, Settings.from_environment())
    if accept is not None:
        phases = accept_rule(loaded, accept, because, phase)
        console.print(f"accepted in {', '.join(phases)}; repeat the command of the run to continue it", soft_wrap=True)
    print_table(quality_table(loaded), f"data quality of {loaded.name}", console)


@app.command()
def check(
    preset: Annotated[str, typer.Argument(help="the preset to check for")] = "dqn",
    overrides: Overrides = None,
) -> None:
    """Run only the smoke test, which finds in seconds what would fail later."""
    from tasks.checks import run_checks

    results = run_checks(load(preset, overrides or []), Settings.from_environment())
    rows = [
        {"check": each.name, "": "ok" if each.passed else "FAILED", "found": each.detail, "seconds": f"{each.seconds:.1f}"}
        for each in results
    ]
    print_table(rows, f"smoke test of {preset}", console)
    if not all(each.passed for each in results):
        raise typer.Exit(1)


@app.command()
def presets(name: Annotated[str | None, typer.Argument(help="show all keys of this preset")] = None) -> None:
    """List the presets, or show one with all keys."""
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
    print_table(rows, "presets", console)


@app.command()
def ui(
    prefect_port: Annotated[int, typer.Option(min=1, max=65535)] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Run Prefect's server, its workers and MLflow's server on loopback, until Ctrl-C."""
    from flows.servers import Ports, serve

    serve(Settings.from_environment(), Ports(prefect_port, mlflow_port))


@app.command()
def worker(
    pool: Annotated[str, typer.Argument(help="the work pool, such as mario or mario-gpu")],
    queue: Annotated[list[str] | None, typer.Option(help="only flow runs of this work queue; may be repeated")] = None,
    limit: Annotated[int, typer.Option(min=1, help="how many flow runs at once")] = 1,
    name: Annotated[str | None, typer.Option(help="the worker's name on Prefect's page")] = None,
) -> None:
    """Run a worker of a process pool until Ctrl-C or SIGTERM, which end its flow runs with a checkpoint."""
    from flows.graceful import run as run_gracefully
    from flows.graceful import worker_arguments

    raise typer.Exit(run_gracefully(worker_arguments(pool, queues=queue or [], limit=limit, name=name)))


@app.command(name="deploy")
def deploy_flows() -> None:
    """Create the work pools and deployments on the configured Prefect server; `mario ui` does so by itself."""
    from flows.deploying import deploy

    deploy()


@app.command()
def stop() -> None:
    """Stop the embedded Postgres. It starts again when it is needed."""
    from episodes import stop_embedded

    stopped = stop_embedded(Settings.from_environment().home)
    console.print("the embedded Postgres is stopped" if stopped else "no embedded Postgres is running")


def main() -> None:
    """The entry point. Faults that the user can fix are printed as one message without a traceback."""
    new_process.prepare()
    os.environ[MARIO_PROCESS] = str(os.getpid())
    try:
        # In this mode the exit code of `typer.Exit` is returned, not raised.
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        errors.print("interrupted")
        sys.exit(_INTERRUPTED)
    except Exception as error:
        _print_fault(error)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _print_fault(error: Exception) -> None:
    """Print a message if the user can act on `error`, and exit. Otherwise raise it, which prints the traceback."""
    if isinstance(error, typer.TyperException):
        if (message := usage.usage_message(error)) is not None:
            _print_error(message)
        sys.exit(2)
    # The project's own errors have messages for the user. Errors from outside get one. All others are bugs.
    if type(error).__module__.split(".")[0] in LOGGERS:
        _print_error(str(error))
        sys.exit(1)
    if isinstance(error, OSError) and (message := usage.os_error_message(error)) is not None:
        _print_error(message)
        sys.exit(1)
    if (message := faults.describe_fault(error, Settings.from_environment().home)) is not None:
        _print_error(message)
        sys.exit(1)
    raise error


def _print_error(message: str) -> None:
    errors.print(f"error: {message}", markup=False, highlight=False, soft_wrap=True)
