"""Runs a load through queue, scaler, nodes and GPUs, event by event.

An event heap of its own, not SimPy: the next arrival, the next end of a task and the next of everything else are
compared directly, so that a task costs two steps instead of half a dozen resumed generators (figures: docs/planner.md).

Kubernetes and Karpenter, as far as they matter here: a pod needs a node of its own; Karpenter collects pending pods and
starts a node for each; a node that has become free takes a pending pod before a new one does; an empty node goes after
`consolidate_after`. Scale-in takes pods without a node first, then those not ready, then idle ones, then busy ones,
which finish their task if they can within the grace period and hand it back otherwise. A Spot interruption does the
same to one node, and its pod is made anew.

An agent as far as it matters here (agent/pace.py): when nothing runs, or what runs is about to end, it asks for
messages as long as it holds fewer tasks than it may, the one on its GPU aside. What it holds nobody else runs.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from contract.prices import Capacity
from contract.scaling import hpa
from contract.scaling.autoscaler import Autoscaler
from contract.scaling.keda import Backlog
from contract.scaling.settings import Scaling
from loadtest.planner.arrivals import FLOOD, Arrivals, Tagged
from loadtest.planner.asking import Asking, Chance, Delivery, Oldest
from loadtest.planner.fairness import FairQueue
from loadtest.planner.model import Run
from loadtest.planner.waits import Percentiles

SAMPLES: Final = 600
"""Points of the time series."""
_MINIMUM_BILLED: Final = 60.0
"""Seconds; Amazon EC2 bills by the second with this minimum."""
_PATIENCE: Final = 86_400.0
"""Seconds after the load in which the queue may drain; below `activationQueueLength` it never does."""
_NEVER: Final = math.inf


class _State(IntEnum):
    STARTING = 0
    IDLE = 1
    BUSY = 2
    LEAVING = 3
    """Busy with its last task."""
    GONE = 4


class _Kind(IntEnum):
    DECIDE = 0
    BATCH = 1
    NODE_READY = 2
    POD_READY = 3
    EMPTY = 4
    INTERRUPT = 5
    HAND_BACK = 6
    SAMPLE = 7
    ASK = 8


class _Node:
    __slots__ = ("alive", "empty_since", "interrupted", "launched", "launching", "pod", "warm")

    def __init__(self, launched: float) -> None:
        self.launched = launched
        self.alive = self.launching = True
        self.warm = False
        """Has the images."""
        self.interrupted = False
        self.pod: _Pod | None = None
        self.empty_since = _NEVER


class _Pod:
    __slots__ = ("arrived", "asks_at", "ends", "held", "node", "run", "started", "state")

    def __init__(self, node: _Node) -> None:
        self.node = node
        self.state = _State.STARTING
        self.arrived = self.started = 0.0
        self.asks_at = 0.0
        """When it is to ask for the tasks after the one on the GPU."""
        self.held: list[float] = []
        """When the tasks arrived that it has besides the one on the GPU, in the order in which it runs them."""
        self.ends: tuple[float, ...] = ()
        """Of its last runs, one for each slot."""
        self.run = 0
        """Counts its tasks, so that the end of one that was handed back is no longer believed."""


@dataclass(frozen=True)
class Sample:
    """How things stood at one moment."""

    at: float
    waiting: int
    gpu_use: float
    """The share of the paid GPU time since the last sample in which a task ran."""
    ready: int
    """Pods that can work, those at work included."""
    replicas: int
    """Pods that there are to be."""
    nodes: int


@dataclass
class Outcome:
    """What came of a run."""

    duration: float
    """Seconds of the load."""
    ended: float = 0.0
    """Seconds until the last task had ended and everything was back at rest."""
    waits: Percentiles = field(default_factory=Percentiles)
    """Arrival to the start of the run that ended it."""
    latencies: Percentiles = field(default_factory=Percentiles)
    """Arrival to end."""
    tasks: int = 0
    node_seconds: float = 0.0
    """As billed."""
    busy_seconds: float = 0.0
    """Of GPUs, those of runs that were lost included."""
    node_starts: int = 0
    cold_starts: int = 0
    """Pods that had to wait for a new node."""
    warm_starts: int = 0
    """Pods that took a node that was there."""
    node_interruptions: int = 0
    interrupted_tasks: int = 0
    """Tasks whose node was taken, or whose pod was told to end, while they ran."""
    repeated_tasks: int = 0
    """Those of them that had to be run again."""
    unfinished: int = 0
    """Tasks that a day after the load had still not ended."""
    peak_nodes: int = 0
    samples: list[Sample] = field(default_factory=list)
    waits_of: dict[str, Percentiles] = field(default_factory=dict)
    """By tenant, where the load names any."""

    @property
    def loudest(self) -> str:
        """The tenant that floods, or else the one with the most tasks; empty without any."""
        return (
            FLOOD
            if FLOOD in self.waits_of
            else max(self.waits_of, key=lambda name: (self.waits_of[name].count, name), default="")
        )

    @property
    def quiet_waits(self) -> Percentiles:
        """The waits of all tenants but that one."""
        found = Percentiles()
        for name, waits in self.waits_of.items():
            if name != self.loudest:
                found.add_all(waits)
        return found

    @property
    def utilisation(self) -> float:
        """The share of the paid GPU time in which a task ran; 0 without nodes."""
        return self.busy_seconds / self.node_seconds if self.node_seconds else 0.0


def simulate(arrivals: Arrivals, scaling: Scaling, run: Run, *, book: Callable[[float], None] | None = None) -> Outcome:
    """Returns what becomes of a load; the same for the same arguments.

    Args:
        arrivals: the load.
        scaling: the scaler's settings.
        run: everything else.
        book: is told the GPU seconds of each run, of those that were lost too.
    """
    return _Simulation(arrivals, scaling, run, book).run()


class _Simulation:
    def __init__(
        self, arrivals: Arrivals, scaling: Scaling, run: Run, book: Callable[[float], None] | None = None
    ) -> None:
        self._book = book
        self._pieces = arrivals.pieces(run.seed)
        self._settings = run
        self._ahead, self._at_runtime = run.work.ahead, run.work.at_runtime
        self._random = random.Random(run.seed)
        self._scaler = Autoscaler(scaling, sync_period=run.sync_period)
        self._least = self._scaler.wanted
        """Replicas without any load."""
        self._returns = scaling.min_replica_count == 0 or hpa.scales_in(scaling)
        """Whether they ever come back to that; KEDA takes the last ones where the HPA takes none."""
        self._outcome = Outcome(arrivals.duration)
        self._now = 0.0
        self._fair = FairQueue(lambda: self._now) if run.fair else None
        self._queue: deque[float] | FairQueue = deque() if self._fair is None else self._fair
        """Messages that nobody holds, the oldest first."""
        self._asking: Asking[_Pod] = Oldest() if run.delivery is Delivery.OLDEST else Chance(self._random)
        """Pods that would take a message; while there is one, the queue is empty."""
        self._idle: dict[_Pod, None] = {}
        self._held = 0
        """Messages that pods hold besides those on their GPUs."""
        self._starting: dict[_Pod, None] = {}
        """In order of their start."""
        self._running: list[tuple[float, int, int, _Pod]] = []
        """Heap: end, tie, `_Pod.run`, pod."""
        self._events: list[tuple[float, int, _Kind, _Node | _Pod | float | None]] = []
        self._tie = 0
        self._busy = self._leaving = self._replicas = self._nodes = 0
        self._unbound = 0
        """Pods without a node."""
        self._launching = 0
        self._batch_began = self._batch_latest = _NEVER
        self._empty: list[_Node] = []
        self._alive: set[_Node] = set()
        # Sums of start times: with them, all time spent so far is known without looking at every task and node.
        self._started = self._launched = self._ended_nodes = 0.0
        self._sampled_busy = self._sampled_paid = 0.0
        self._sample_every = max(arrivals.duration / SAMPLES, 0.1)

    def run(self) -> Outcome:
        self._at(0.0, _Kind.DECIDE, None)
        self._at(0.0, _Kind.SAMPLE, None)
        piece: list[float] = []
        index, exhausted = 0, False
        queue, running, events = self._queue, self._running, self._events
        while True:
            while index >= len(piece) and not exhausted:
                following = next(self._pieces, None)
                if following is None:
                    exhausted = True
                else:
                    piece, index = following, 0
            arrival = piece[index] if index < len(piece) else _NEVER
            end = running[0][0] if running else _NEVER
            other = events[0][0]
            if arrival <= end and arrival <= other:
                self._now = arrival
                index += 1
                if self._asking:
                    self._deliver(arrival)
                else:
                    queue.append(arrival)
            elif end <= other:
                self._now = end
                _, _, number, pod = heapq.heappop(running)
                if number == pod.run:
                    self._finish(pod)
            else:
                if exhausted and arrival == _NEVER and self._at_rest():
                    break
                self._now = other
                _, _, kind, what = heapq.heappop(events)
                self._happen(kind, what)
        return self._result()

    def _at_rest(self) -> bool:
        """Whether the load is over and nothing more will change but the passing of time."""
        if self._now > self._outcome.duration + _PATIENCE:
            return True
        least = self._least if self._returns else self._replicas
        return (
            self._now >= self._outcome.duration
            and not self._queue
            and not self._running
            and self._nodes == self._replicas == self._scaler.wanted == least
        )

    def _result(self) -> Outcome:
        outcome = self._outcome
        outcome.ended = self._now = max(self._now, outcome.duration)
        outcome.tasks = outcome.latencies.count
        outcome.unfinished = len(self._queue) + self._held + self._busy + self._leaving
        for node in list(self._alive):
            self._end_node(node)
        return outcome

    def _at(self, when: float, kind: _Kind, what: _Node | _Pod | float | None) -> None:
        self._tie += 1
        heapq.heappush(self._events, (when, self._tie, kind, what))

    def _spread(self, mean: float, variation: float) -> float:
        """Returns a lognormal time of this mean and coefficient of variation."""
        if variation == 0.0 or mean == 0.0:
            return mean
        sigma = math.sqrt(math.log1p(variation * variation))
        return mean * math.exp(self._random.gauss(-sigma * sigma / 2, sigma))

    def _happen(self, kind: _Kind, what: _Node | _Pod | float | None) -> None:
        if kind is _Kind.DECIDE:
            self._decide()
        elif kind is _Kind.BATCH:
            self._batch()
        elif kind is _Kind.SAMPLE:
            self._sample()
            if self._now < self._outcome.duration or self._nodes:
                self._at(self._now + self._sample_every, _Kind.SAMPLE, None)
        elif isinstance(what, _Node):
            if kind is _Kind.NODE_READY:
                self._node_ready(what)
            elif kind is _Kind.EMPTY and what.alive and what.pod is None and self._now >= what.empty_since:
                self._end_node(what)
            elif kind is _Kind.INTERRUPT and what.alive:
                self._interrupt(what)
        elif isinstance(what, _Pod):
            self._happen_to_pod(kind, what)

    def _happen_to_pod(self, kind: _Kind, pod: _Pod) -> None:
        if kind is _Kind.ASK:
            if pod.state is _State.BUSY and self._now >= pod.asks_at:
                self._hold_ahead(pod)
        elif kind is _Kind.POD_READY and pod.state is _State.STARTING:
            del self._starting[pod]
            self._free(pod)
        elif kind is _Kind.HAND_BACK and pod.state is _State.LEAVING:
            self._hand_back(pod)

    # --- tasks

    def _deliver(self, arrived: float) -> None:
        """Gives a message to one of the pods that ask, an idle one or not: SQS does not know."""
        if self._fair is not None:
            self._fair.took(arrived)
        pod = self._asking.take()
        if pod.state is _State.IDLE:
            del self._idle[pod]
            self._begin(pod, arrived)
            return
        pod.held.append(arrived)
        self._held += 1
        if len(pod.held) < self._ahead:
            self._asking.add(pod)

    def _begin(self, pod: _Pod, arrived: float) -> None:
        """Starts a task, and lets the pod ask for what it may hold besides, at once or when the run is about to end."""
        pod.state = _State.BUSY
        self._busy += 1
        self._start(pod, arrived)
        if not self._ahead or self._now >= pod.asks_at:
            self._hold_ahead(pod)
        else:
            self._at(pod.asks_at, _Kind.ASK, pod)

    def _hold_ahead(self, pod: _Pod) -> None:
        """Fills up what the pod may hold besides the task on its GPU, or lets it ask for that."""
        while len(pod.held) < self._ahead and self._queue:
            pod.held.append(self._queue.popleft())
            self._held += 1
        if len(pod.held) < self._ahead:
            self._asking.add(pod)
        else:
            self._asking.discard(pod)

    def _start(self, pod: _Pod, arrived: float) -> None:
        work = self._settings.work
        pod.arrived, pod.started = arrived, self._now
        if len(pod.ends) == self._at_runtime:
            # The slot is taken until that answer is here; with several, another one's run goes on meanwhile.
            pod.started = max(self._now, pod.ends[0] + work.gap)
        pod.run += 1
        self._started += pod.started
        self._tie += 1
        seconds = self._spread(work.seconds, work.spread)
        pod.asks_at = self._now + max(0.0, pod.started - self._now + seconds - work.lead)
        heapq.heappush(self._running, (pod.started + seconds, self._tie, pod.run, pod))

    def _finish(self, pod: _Pod) -> None:
        outcome, work = self._outcome, self._settings.work
        outcome.waits.add(pod.started - pod.arrived)
        outcome.latencies.add(self._now - pod.arrived)
        outcome.busy_seconds += self._now - pod.started
        if isinstance(pod.arrived, Tagged):
            outcome.waits_of.setdefault(pod.arrived.tenant, Percentiles()).add(pod.started - pod.arrived)
            if self._fair is not None:
                self._fair.ended(pod.arrived)
        if self._book:
            self._book(self._now - pod.started)
        self._started -= pod.started
        if work.gap:
            pod.ends = (*pod.ends, self._now)[-self._at_runtime :]
        if pod.state is _State.BUSY:
            self._busy -= 1
            self._free(pod)
        elif pod.held:
            self._start(pod, self._next_held(pod))
        else:
            self._leaving -= 1
            self._leave(pod)

    def _next_held(self, pod: _Pod) -> float:
        self._held -= 1
        return pod.held.pop(0)

    def _free(self, pod: _Pod) -> None:
        if pod.held:
            self._begin(pod, self._next_held(pod))
        elif self._queue:
            self._begin(pod, self._queue.popleft())
        else:
            pod.state = _State.IDLE
            self._idle[pod] = None
            self._asking.add(pod)

    def _tell_to_end(self, pod: _Pod) -> None:
        """SIGTERM to a busy pod: what waits in its slots may still run, what it has beside them goes back at once."""
        slots, grace = self._settings.work.slots, self._settings.work.grace_seconds
        self._busy -= 1
        self._leaving += 1
        pod.state = _State.LEAVING
        self._asking.discard(pod)
        self._outcome.interrupted_tasks += 1
        self._at(self._now + grace, _Kind.HAND_BACK, pod)
        back = pod.held[slots - 1 :]
        del pod.held[slots - 1 :]
        self._held -= len(back)
        self._give_back(back)

    def _hand_back(self, pod: _Pod) -> None:
        """The grace period is over."""
        outcome = self._outcome
        outcome.repeated_tasks += 1
        outcome.busy_seconds += max(0.0, self._now - pod.started)
        if self._book:
            self._book(max(0.0, self._now - pod.started))
        self._started -= pod.started
        pod.run += 1
        self._leaving -= 1
        self._held -= len(pod.held)
        self._leave(pod)
        self._give_back([pod.arrived, *pod.held])

    def _give_back(self, arrivals: list[float]) -> None:
        """Makes messages visible again, the oldest first."""
        if self._fair is not None:
            for arrived in arrivals:
                self._fair.ended(arrived)
        while arrivals and self._asking:
            self._deliver(arrivals.pop(0))
        self._queue.extendleft(reversed(arrivals))

    # --- replicas

    def _decide(self) -> None:
        backlog = Backlog(visible=len(self._queue), in_flight=self._busy + self._leaving + self._held)
        wanted = self._scaler.decide(self._now, backlog)
        if wanted > self._replicas:
            self._scale_out(wanted - self._replicas)
        elif wanted < self._replicas:
            self._scale_in(self._replicas - wanted)
        self._replicas = wanted
        self._at(self._scaler.due, _Kind.DECIDE, None)

    def _scale_out(self, count: int) -> None:
        self._unbound += count
        while self._unbound and self._empty:
            node = self._empty.pop()
            if node.alive and node.pod is None:
                self._outcome.warm_starts += 1
                self._bind(node)
        if not self._unbound:
            return
        nodes = self._settings.nodes
        if self._batch_began == _NEVER:
            self._batch_began = self._now
        self._batch_latest = self._now
        self._at(min(self._now + nodes.batch_idle, self._batch_began + nodes.batch_max), _Kind.BATCH, None)

    def _scale_in(self, count: int) -> None:
        unbound = min(count, self._unbound)
        self._unbound -= unbound
        count -= unbound
        while count and self._starting:
            self._leave(self._starting.popitem()[0])
            count -= 1
        while count and self._idle:
            pod = self._idle.popitem()[0]
            self._asking.discard(pod)
            self._leave(pod)
            count -= 1
        if count:
            busy = [pod for _, _, number, pod in self._running if number == pod.run and pod.state is _State.BUSY]
            for pod in sorted(busy, key=lambda item: -item.started)[:count]:
                self._tell_to_end(pod)

    def _leave(self, pod: _Pod) -> None:
        pod.state = _State.GONE
        node = pod.node
        node.pod = None
        if node.interrupted:
            self._end_node(node)
        else:
            self._rest(node)

    # --- nodes

    def _batch(self) -> None:
        nodes = self._settings.nodes
        began, latest = self._batch_began, self._batch_latest
        if began == _NEVER or self._now < min(latest + nodes.batch_idle, began + nodes.batch_max):
            return
        self._batch_began = self._batch_latest = _NEVER
        for _ in range(self._unbound - self._launching):
            node = _Node(self._now)
            self._alive.add(node)
            self._launched += self._now
            self._launching += 1
            self._nodes += 1
            self._outcome.node_starts += 1
            self._at(self._now + self._spread(nodes.node_seconds, nodes.spread), _Kind.NODE_READY, node)
            if nodes.capacity is Capacity.SPOT and nodes.interruptions_per_hour:
                life = self._random.expovariate(nodes.interruptions_per_hour / 3600)
                self._at(self._now + life, _Kind.INTERRUPT, node)
        self._outcome.peak_nodes = max(self._outcome.peak_nodes, self._nodes)

    def _node_ready(self, node: _Node) -> None:
        if not node.alive:
            return
        self._launching -= 1
        node.launching = False
        if self._unbound:
            self._outcome.cold_starts += 1
            self._bind(node)
        else:
            self._rest(node)

    def _bind(self, node: _Node) -> None:
        """Gives a pending pod to a node."""
        self._unbound -= 1
        pod = _Pod(node)
        node.pod = pod
        self._starting[pod] = None
        nodes = self._settings.nodes
        image = 0.0 if node.warm else self._spread(nodes.image_seconds, nodes.spread)
        start = self._spread(nodes.start_seconds, nodes.spread) + self._spread(nodes.model_seconds, nodes.spread)
        node.warm = True
        self._at(self._now + image + start, _Kind.POD_READY, pod)

    def _rest(self, node: _Node) -> None:
        """A node without a pod takes a pending one, or goes in a while."""
        if self._unbound:
            self._outcome.warm_starts += 1
            self._bind(node)
            return
        node.empty_since = self._now + self._settings.nodes.consolidate_after
        self._empty.append(node)
        self._at(node.empty_since, _Kind.EMPTY, node)

    def _interrupt(self, node: _Node) -> None:
        """The two minutes' notice: Karpenter taints and drains at once, and the pod is made anew elsewhere."""
        self._outcome.node_interruptions += 1
        node.interrupted = True
        pod = node.pod
        if pod is None:
            self._end_node(node)
            if node.launching:  # nobody else was started for the pod that it was meant for
                self._launching -= 1
                self._scale_out(0)
            return
        if pod.state is _State.LEAVING:
            return
        if pod.state is _State.BUSY:
            self._tell_to_end(pod)
        else:
            if pod.state is _State.IDLE:
                del self._idle[pod]
                self._asking.discard(pod)
            else:
                del self._starting[pod]
            self._leave(pod)
        self._scale_out(1)

    def _end_node(self, node: _Node) -> None:
        node.alive = False
        self._alive.remove(node)
        self._launched -= node.launched
        self._ended_nodes += self._now - node.launched
        self._nodes -= 1
        self._outcome.node_seconds += max(_MINIMUM_BILLED, self._now - node.launched)

    def _sample(self) -> None:
        at_work = self._busy + self._leaving
        busy = self._outcome.busy_seconds + at_work * self._now - self._started
        paid = self._ended_nodes + self._nodes * self._now - self._launched
        use = (busy - self._sampled_busy) / (paid - self._sampled_paid) if paid > self._sampled_paid else 0.0
        self._sampled_busy, self._sampled_paid = busy, paid
        self._outcome.samples.append(
            Sample(
                at=self._now,
                waiting=len(self._queue) + self._held,
                gpu_use=min(1.0, max(0.0, use)),
                ready=len(self._idle) + at_work,
                replicas=self._replicas,
                nodes=self._nodes,
            )
        )
