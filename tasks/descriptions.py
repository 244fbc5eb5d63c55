"""What MLflow says about a run and a model version, in words, in its field "Description" (Markdown)."""

import shlex

from configs import Config
from tasks.experiment import Experiment
from tasks.naming import describe_level


def describe_training(experiment: Experiment, run_id: str, steps: int, host: str) -> str:
    """What a training is, where its files are, and how its agent is watched and the training continued.

    Args:
        experiment: its experiment.
        run_id: its MLflow run.
        steps: decisions that it is trained for, extensions included.
        host: the machine of the newest attempt.
    """
    config, name = experiment.config, experiment.name
    return _paragraphs(
        f"{_agent(config)}, trained for {steps:,} decisions. {config.description}",
        f"Experiment `{name}` (row {experiment.id} in Postgres); files in `{experiment.directory}` on {host}.",
        f"- Watch the agent when it is trained: `mario watch {run_id}`\n"
        "- Read the report: the artifact `report/report.html`\n"
        f"- Continue it after an interruption: repeat its command with `--experiment {name}`, or save the artifact "
        f"`config.yaml` and run `mario run config.yaml --experiment {name}`",
    )


def describe_evaluation(experiment: Experiment, model: str, host: str) -> str:
    """What an evaluation of `model` is, where its episodes are, and how it is continued."""
    config, name = experiment.config, experiment.name
    protocols = ", ".join(config.evaluate.protocols)
    command = shlex.join(["mario", "evaluate", model, "--experiment", name])
    return _paragraphs(
        f"The model `{model}` plays {describe_level(config)} under the protocols {protocols}. Nothing is trained.",
        f"Experiment `{name}` (row {experiment.id} in Postgres) has the episodes; played on {host}.",
        f"- Watch the agent: `{shlex.join(['mario', 'watch', model])}`\n"
        f"- List its episodes: `mario episodes --experiment {name}`\n"
        f"- Continue it after an interruption: `{command}`, with the same options",
    )


def describe_version(experiment: Experiment, steps: int) -> str:
    """What the agent of a model version is, in one paragraph; a promotion adds another one."""
    run = "" if experiment.run_id is None else f" Watch it: `mario watch {experiment.run_id}`."
    return f"{_agent(experiment.config)}, after {steps:,} decisions of the experiment `{experiment.name}`.{run}"


def _agent(config: Config) -> str:
    details = f"preset `{config.name}`, observation {config.environment.observation}, seed {config.seed}"
    return f"{config.agent.algorithm.upper()} on {describe_level(config)} ({details})"


def _paragraphs(*texts: str) -> str:
    return "\n\n".join(text.strip() for text in texts)
