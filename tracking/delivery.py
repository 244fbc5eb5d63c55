"""Sends what is logged to MLflow from threads, so that training never waits for MLflow.

Each kind of entry has a lane: an outbox, its order, and the threads that empty it. Documents go to the artifact store, which
may refuse them (an expired token) while the tracking server accepts everything else: then only documents are held back.

MLflow has asynchronous logging of its own (`log_batch(synchronous=False)`). It is not used, for three reasons. It sends with
ten threads, so that values arrive out of order and SQLite refuses simultaneous writers. It drops a failed batch after one error
line. And it makes one request, with several transactions, for each call. The delivery here keeps entries that could not be sent
(on disk, if it is given outboxes), tries again, sends what has gathered in one request, and counts what was lost.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from spool import Courier, Outage, Outbox, StoppedError

logger = logging.getLogger(__name__)

THREAD_NAME = "tracking-delivery"
MAX_METRICS = 1000  # MLflow's limit for one request
MAX_PAIRS = 100

_LONGEST_RETRY_SECONDS = 30.0

Kind = Literal["metrics", "params", "tags", "dataset", "document", "status"]
Lane = Literal["metrics", "params", "tags", "documents"]
LANES: tuple[Lane, ...] = ("metrics", "params", "tags", "documents")
# The end of the run comes after all its metrics.
_LANE_OF: Mapping[Kind, Lane] = {
    "metrics": "metrics", "status": "metrics", "params": "params", "dataset": "params", "tags": "tags", "document": "documents"
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One entry to log; plain JSON values only.

    Attributes:
        kind: what `values` holds.
        values: metrics: (name, value, timestamp in ms since 1970, step); params and tags: (name, text);
            dataset: one (context, name and description as JSON); document: one (path below the run's artifacts, content);
            status: one (the run's final state, end in ms since 1970).
    """

    kind: Kind
    values: tuple[tuple[str, float, int, int], ...] | tuple[tuple[str, str], ...]


class RefusedError(Exception):
    """Raised by `send`: MLflow refuses the entry and would refuse it again."""


@dataclass(frozen=True)
class DeliveryReport:
    """What became of all entries.

    Attributes:
        sent: entries that MLflow has.
        lost: entries that MLflow does not have and will not get.
        reason: why the last one was lost or delayed; empty if none was.
        pending: entries that are left in the outboxes; the next process to open them sends them.
    """

    sent: int
    lost: int
    reason: str
    pending: int = 0


def lane_file(path: Path, lane: Lane) -> Path:
    """The outbox of a lane, beside the file `path` of the metrics."""
    return path if lane == "metrics" else path.with_name(f"{lane}{path.suffix}")


def open_outboxes(path: Path, owner: str) -> dict[Lane, Outbox]:
    """Open the outboxes of all lanes.

    Args:
        path: the file of the metrics; the others are beside it.
        owner: whom the entries belong to; see :class:`spool.Outbox`.

    Raises:
        OutboxLockedError: another process has one of them open.
        OutboxError, OSError: one cannot be opened. Whatever is raised, none stays open.
    """
    opened: dict[Lane, Outbox] = {}
    try:
        for lane in LANES:
            opened[lane] = Outbox(lane_file(path, lane), owner)
    except BaseException:
        for outbox in opened.values():
            outbox.close()
        raise
    return opened


class Delivery:
    """A queue for each lane and the threads that empty it.

    Args:
        send: delivers one entry or raises; :class:`RefusedError` means that trying again is useless, and
            :class:`spool.StoppedError` that nothing may be sent any more. It must be safe to repeat: an attempt that failed may
            have arrived (MLflow ignores a metric that it has). Each lane calls it from a thread.
        outboxes: where entries are stored until MLflow has them; :meth:`close` closes them. None: in memory.
        server: MLflow and its address, without a password, for messages.
        interval_seconds: how long entries gather before they are sent together.
        retry_seconds: wait after the first failure; doubles up to 30 s.
        capacity: the most entries of a lane in memory; further ones are dropped and counted as lost.
    """

    def __init__(
        self,
        send: Callable[[Entry], None],
        *,
        outboxes: Mapping[Lane, Outbox] | None = None,
        server: str = "MLflow",
        interval_seconds: float = 5.0,
        retry_seconds: float = 1.0,
        capacity: int = 20_000,
    ) -> None:
        self._send = send
        # An entry `status` of an earlier process is not the end of this run.
        self._session = uuid.uuid4().hex
        self._sent = dict.fromkeys(LANES, 0)
        self._refused = dict.fromkeys(LANES, 0)
        self._late = 0
        self._reason = ""
        # SQLite refuses simultaneous writers. Documents go to the artifact store.
        self._tracking = threading.Lock()
        outages: list[Outage] = []
        self._couriers: dict[Lane, Courier[Entry]] = {}
        for lane in LANES:
            outbox = None if outboxes is None else outboxes[lane]
            place = "memory" if outbox is None else str(outbox.path)
            # The artifact store may be another server than MLflow's own.
            name = f"the artifact store of {server}" if lane == "documents" else server
            self._couriers[lane] = Courier(
                THREAD_NAME,
                self._encode,
                partial(self._deliver, lane),
                Outage(logger, name, lane, place, lanes=outages),
                outbox=outbox,
                batch=MAX_METRICS,
                interval_seconds=interval_seconds,
                retry_seconds=(retry_seconds, _LONGEST_RETRY_SECONDS),
                capacity=capacity,
            )

    def put(self, entry: Entry) -> None:
        """Queue an entry. Returns immediately, whatever MLflow does."""
        if not self._couriers[_LANE_OF[entry.kind]].put(entry):
            self._late += 1
            self._reason = "logged after the run was closed"

    @property
    def stopped(self) -> StoppedError | None:
        """Why nothing is sent any more; None: it is."""
        return next((courier.stopped for courier in self._couriers.values() if courier.stopped is not None), None)

    def flush(self, timeout: float = 30.0, lanes: Sequence[Lane] = LANES) -> bool:
        """Wait until all entries of `lanes` are sent or refused; False if they are not within `timeout` seconds.

        While MLflow is away, a call waits for one attempt only.
        """
        return all(self._together(lambda courier: courier.flush(timeout, patient=False), lanes))

    def sync(self, timeout: float = 5.0) -> bool:
        """Wait until all entries are on the disk or sent; False if some are not within `timeout` seconds, or have no outbox."""
        deadline = time.monotonic() + timeout
        synced = [courier.sync(max(0.0, deadline - time.monotonic())) for courier in self._couriers.values()]
        return all(synced)

    def close(self, timeout: float = 30.0) -> DeliveryReport:
        """Flush, end the threads, and say what became of all entries.

        Entries that could not be sent stay in the outboxes; without outboxes they are lost and counted.
        """
        self._together(lambda courier: courier.close(timeout, patient=False))
        couriers = self._couriers.values()
        unstored = sum(courier.unstored for courier in couriers)
        lost = sum(self._refused.values()) + self._late + sum(courier.lost for courier in couriers) + unstored
        reason = self._reason or next((courier.reason for courier in couriers if courier.reason), "")
        return DeliveryReport(sum(self._sent.values()), lost, reason, sum(courier.pending for courier in couriers) - unstored)

    def _together(self, action: Callable[[Courier[Entry]], Any], lanes: Sequence[Lane] = LANES) -> list[Any]:
        """Apply `action` to several lanes in parallel: while MLflow is away, each waits for its own attempt."""
        couriers = [self._couriers[lane] for lane in lanes]
        if all(courier.pending == 0 for courier in couriers[1:]):
            return [action(courier) for courier in couriers]
        with ThreadPoolExecutor(len(couriers)) as pool:
            return list(pool.map(action, couriers))

    def _encode(self, entry: Entry) -> bytes:
        return json.dumps({"kind": entry.kind, "values": entry.values, "session": self._session}).encode()

    def _deliver(self, lane: Lane, payloads: Sequence[bytes]) -> int:
        """Send the next request; returns how many payloads went into it."""
        entry, count = _gather(_decoded(payloads, self._session))
        if entry is None:
            return count
        try:
            if lane == "documents":
                self._send(entry)
            else:
                with self._tracking:
                    self._send(entry)
        except RefusedError as error:
            self._reason = str(error)
            self._refused[lane] += count
            logger.warning("MLflow refused %s; they are lost: %s", entry.kind, error)
        else:
            self._sent[lane] += count
        return count


def pending_entries(outbox: Outbox) -> Iterator[Entry]:
    """The entries that an earlier process left in the outbox, except for the end of its run."""
    return (entry for entry in _decoded(outbox.peek(), "") if entry is not None)


def _decoded(payloads: Iterable[bytes], session: str) -> Iterator[Entry | None]:
    """The entries; None for the end of another process and for a record that is not an entry."""
    for payload in payloads:
        try:
            found: dict[str, Any] = json.loads(payload)
            ended = found["kind"] == "status" and found["session"] != session
            yield None if ended else Entry(found["kind"], tuple(tuple(value) for value in found["values"]))
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("a record of the outbox is not an entry and is left out: %s", error)
            yield None


def _gather(entries: Iterator[Entry | None]) -> tuple[Entry | None, int]:
    """The next request, within MLflow's limits, and how many entries it holds: the first and those of its kind that follow."""
    first = next(entries, None)
    if first is None:
        return None, 1
    limit = {"metrics": MAX_METRICS, "params": MAX_PAIRS, "tags": MAX_PAIRS}.get(first.kind, 0)
    gathered, count = list(first.values), 1
    for entry in entries:
        if entry is None or entry.kind != first.kind or len(gathered) + len(entry.values) > limit:
            break
        gathered.extend(entry.values)
        count += 1
    return Entry(first.kind, tuple(gathered)), count  # type: ignore[arg-type]
