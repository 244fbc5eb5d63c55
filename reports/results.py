"""The results of the agent under each protocol, and the headline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from configs.levels import FINISH_X
from configs.schema import PROTOCOLS
from episodes.statistics import ProtocolSummary, summarise
from reports.choice import headline_protocol
from reports.data import ExperimentData
from reports.style import protocol_label

NARROW_SPACE = "\u202f"
START_X = 40  # pixels: Mario's position at the start of a level, from which distances count


def protocol_summaries(experiment: ExperimentData) -> dict[str, ProtocolSummary]:
    """The summaries of the played protocols, in the order of :data:`configs.schema.PROTOCOLS` with ``random`` last."""
    rows = experiment.evaluation
    present = [str(protocol) for protocol in rows["protocol"].unique()] if len(rows) else []
    order = [*PROTOCOLS, *sorted((set(present) | set(experiment.summaries)) - set(PROTOCOLS))]
    order.sort(key=lambda protocol: protocol == "random")
    summaries: dict[str, ProtocolSummary] = {}
    for protocol in order:
        if protocol in experiment.summaries:
            summaries[protocol] = experiment.summaries[protocol]
        elif protocol in present:
            summaries[protocol] = summarise(rows[rows["protocol"] == protocol])
    return summaries


@dataclass(frozen=True)
class Headline:
    """The main result.

    Attributes:
        sentence: the result in one sentence.
        detail: a second sentence on its certainty.
        protocol: the protocol; None for training episodes.
        summary: the summary of the protocol; None without episodes.
        random: the summary of random play; None if it was not played.
    """

    sentence: str
    detail: str
    protocol: str | None
    summary: ProtocolSummary | None
    random: ProtocolSummary | None


def headline(experiment: ExperimentData, summaries: Mapping[str, ProtocolSummary]) -> Headline:
    """The headline: how far the agent gets, how often it completes the level, and whether it beats random play."""
    rows = experiment.evaluation
    protocol = headline_protocol(rows) if len(rows) else next((name for name in summaries if name != "random"), None)
    random = summaries.get("random")
    if protocol is None:
        return _without_evaluation(experiment, random)
    summary = summaries[protocol]
    sentence = f"{_agent_name(experiment)} {_completes(summary, experiment)} and travels {_distance(summary, experiment)}."
    detail = f"Protocol: {protocol_label(protocol).lower()}. {_against_random(summary, random)}"
    if summary.completion is None and summary.note:
        detail = f"{detail} {sentence_case(summary.note)}"
    return Headline(sentence, detail.strip(), protocol, summary, random)


def index_of_best(headlines: Sequence[Headline]) -> int:
    """The index of the best experiment: the one with the highest completion rate, then the longest mean distance."""

    def rank(index: int) -> tuple[bool, float, float]:
        own = headlines[index]
        if own.summary is None:
            return (False, 0.0, 0.0)
        return (own.protocol is not None, own.summary.completion_rate, own.summary.distance_mean)

    return max(range(len(headlines)), key=lambda index: (rank(index), -index))


def _without_evaluation(experiment: ExperimentData, random: ProtocolSummary | None) -> Headline:
    train = experiment.train
    if not train.episodes:
        return Headline("No episode has been played yet.", "Neither training nor evaluation rows exist.", None, None, random)
    summary = summarise(train.last)
    few = "its only training episode" if train.episodes == 1 else f"its last {len(train.last)} training episodes"
    result = f"{_agent_name(experiment)} {_completes(summary, experiment)} and travels {_distance(summary, experiment)}"
    sentence = f"Not evaluated: in {few}, {result}."
    return Headline(
        sentence, "Training episodes include exploration and a changing policy, so they are not an evaluation.",
        None, summary, random,
    )  # fmt: skip


def _agent_name(experiment: ExperimentData) -> str:
    return f"{experiment.algorithm}-Mario"


def _completes(summary: ProtocolSummary, experiment: ExperimentData) -> str:
    what = "at least one level" if experiment.full_game else experiment.level
    if one_trajectory(summary):
        return f"{'completes' if summary.completed else 'does not complete'} {what} on the one trajectory it plays"
    result = f"completes {what} in {summary.completed} of {summary.episodes} {plural(summary.episodes, 'episode')}"
    if summary.completion is None:
        return result
    interval = f"95{NARROW_SPACE}% interval {percent(summary.completion.low)} to {percent(summary.completion.high)}"
    counted = "" if summary.distinct == summary.episodes else f", counting {summary.distinct} different trajectories"
    return f"{result} ({interval}{counted})"


def _distance(summary: ProtocolSummary, experiment: ExperimentData) -> str:
    far = f"{number(summary.distance_mean)} px on average"
    finish = FINISH_X.get(experiment.first_level)
    if finish and len(experiment.level_names) == 1:
        return f"{far}, {percent(min(1.0, summary.distance_mean / (finish - START_X)))} of the level"
    return far


def _against_random(summary: ProtocolSummary, random: ProtocolSummary | None) -> str:
    if random is None:
        return "A random policy was not played for comparison."
    reference = (
        f"A random policy travels {number(random.distance_mean)} px and completes {random.completed} of {random.episodes}"
    )
    agent, other = summary.distance_mean_interval, random.distance_mean_interval
    if one_trajectory(summary):
        return f"{reference}; one trajectory does not show how much better the agent is."
    if agent is None or other is None:
        return f"{reference}; without both intervals the difference cannot be judged."
    if agent.low > other.high:
        return f"{reference}: the agent gets clearly further."
    if agent.high < other.low:
        return f"{reference}: the agent does worse than chance."
    return f"{reference}: the 95{NARROW_SPACE}% intervals of these means overlap, so no difference has been shown."


def one_trajectory(summary: ProtocolSummary) -> bool:
    """Whether all episodes are one trajectory, because it was repeated or because it is the only possible one."""
    return summary.distinct == 1 and bool(summary.note)


def number(value: float, digits: int = 0) -> str:
    """A number such as 1 240.5, with narrow spaces between thousands."""
    text = f"{value:,.{digits}f}".replace(",", NARROW_SPACE)
    return "0" if text == "-0" else text.replace("-", "−")


def percent(share: float) -> str:
    """A share such as 12 %, 0.4 % or > 99.9 %. Only exact values are shown as 0 % and 100 %."""
    if 0 < share < 0.0005:
        return f"< 0.1{NARROW_SPACE}%"
    if 0.9995 < share < 1:
        return f"> 99.9{NARROW_SPACE}%"
    value = 100 * share
    whole = abs(value - round(value)) < 0.05 or 10 <= value < 99
    return f"{value:.0f}{NARROW_SPACE}%" if whole else f"{value:.1f}{NARROW_SPACE}%"


def duration(seconds: float) -> str:
    """A duration such as 48 s, 12 min 5 s or 3 h 20 min."""
    total = round(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    return f"{total // 3600} h {total % 3600 // 60} min"


def plural(count: int, word: str) -> str:
    """`word` in the singular or plural for `count`."""
    return word if count == 1 else f"{word}s"


def sentence_case(text: str) -> str:
    """`text` as a sentence, with a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
