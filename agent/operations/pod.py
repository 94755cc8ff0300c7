"""Tells Kubernetes what it costs to delete this pod, so that scale-in takes an idle agent before a busy one.

The ReplicaSet controller deletes the pods with the lowest `controller.kubernetes.io/pod-deletion-cost` first
(Kubernetes, "ReplicaSet: Pod deletion cost"), and Karpenter takes no node away, of its own accord, on which a pod has
`karpenter.sh/do-not-disrupt` (Karpenter, "Pod-Level Controls"). The agent needs leave to patch its own pod; where it
lacks it, it says so once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import aiohttp
import orjson
import structlog

from contract.cluster_tls import cluster_context

log = structlog.get_logger()

ANNOTATION: Final = "controller.kubernetes.io/pod-deletion-cost"
DO_NOT_DISRUPT: Final = "karpenter.sh/do-not-disrupt"
"""`true` while busy, absent while idle."""

BUSY_COST: Final = 100
IDLE_COST: Final = 0
"""What a pod without the annotation costs, too: one that has not got so far is as cheap."""

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts token and certificate authority; the token is changed there about every hour."""

CALL_TIMEOUT: Final = 5.0

_REFUSALS: Final = frozenset({403, 404, 405, 415, 422})
"""Answers that do not change by asking again: no leave, no such pod, no such route."""


@dataclass(frozen=True)
class PodApi:
    """This pod in the Kubernetes API."""

    url: str
    """Of the pod's resource."""
    token: Path
    authority: Path


@dataclass(frozen=True)
class Pace:
    """How often the API server may be bothered. All in seconds."""

    look: float = 0.5
    """Between two looks at what this agent does."""
    busy_after: float = 1.0
    """So long must it be busy: a task that is over sooner is not worth two calls."""
    idle_after: float = 10.0
    """So long must it be idle."""
    retry: float = 15.0
    """Between two tries when the API server is out of reach."""


def find_pod(
    *, host: str, port: int, namespace: str, name: str, folder: Path = SERVICE_ACCOUNT
) -> tuple[PodApi | None, str]:
    """Returns this pod's place in the API, or None and why there is none; in neither case is anybody asked.

    Args:
        host: `KUBERNETES_SERVICE_HOST`, which the kubelet sets.
        port: `KUBERNETES_SERVICE_PORT`.
        namespace: `POD_NAMESPACE`, from the downward API; empty: the service account's.
        name: `POD_NAME`, from the downward API.
        folder: of the service account.
    """
    if not host:
        return None, "this is not Kubernetes (no KUBERNETES_SERVICE_HOST)"
    if not name:
        return None, "POD_NAME is not set (fieldRef metadata.name)"
    token = folder / "token"
    try:
        token.read_bytes()
        namespace = namespace or (folder / "namespace").read_text(encoding="utf-8").strip()
    except OSError:
        return None, "the pod has no service account token (automountServiceAccountToken)"
    place = f"[{host}]" if ":" in host else host
    url = f"https://{place}:{port}/api/v1/namespaces/{namespace}/pods/{name}"
    return PodApi(url, token, folder / "ca.crt"), ""


class Wish(StrEnum):
    """What to tell Kubernetes next."""

    NOTHING = "nothing"
    BUSY = "busy"
    IDLE = "idle"


class Debounce:
    """Decides when a change is worth a call: a pure state machine over time.

    The first answer is always a call: what an earlier agent of this pod has left there may be wrong.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._told: bool | None = None
        self._busy: bool | None = None
        self._since = 0.0

    def judge(self, *, busy: bool, now: float) -> Wish:
        """Returns what to tell.

        Args:
            busy: whether the agent is busy now.
            now: monotonic seconds.
        """
        if busy is not self._busy:
            self._busy, self._since = busy, now
        if busy is self._told:
            return Wish.NOTHING
        wait = self._pace.busy_after if busy else self._pace.idle_after
        if self._told is not None and now - self._since < wait:
            return Wish.NOTHING
        return Wish.BUSY if busy else Wish.IDLE

    def told(self, wish: Wish) -> None:
        """Says that Kubernetes knows now."""
        self._told = wish is Wish.BUSY


class PodDeletionCost:
    """Keeps the annotation up to date, beside the tasks and never in their way.

    Args:
        api: this pod.
        is_busy: asked about twice a second.
        pace: of the calls.
    """

    def __init__(self, api: PodApi, is_busy: Callable[[], bool], pace: Pace | None = None) -> None:
        self._api = api
        self._is_busy = is_busy
        self._pace = pace or Pace()

    async def run(self) -> None:
        """Runs until cancelled, or until Kubernetes refuses."""
        loop, debounce, troubled = asyncio.get_running_loop(), Debounce(self._pace), False
        try:
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=cluster_context(str(self._api.authority)), force_close=True),
                timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT),
                trust_env=False,
            ) as session:
                while True:
                    wish = debounce.judge(busy=self._is_busy(), now=loop.time())
                    if wish is Wish.NOTHING:
                        await asyncio.sleep(self._pace.look)
                        continue
                    trouble = await self._tell(session, wish)
                    if trouble is None:
                        debounce.told(wish)
                        troubled = False
                        continue
                    if not troubled:
                        troubled = True
                        log.warning("pod_deletion_cost_out_of_reach", error=trouble)
                    await asyncio.sleep(self._pace.retry)
        except _RefusedError as error:
            log.warning("pod_deletion_cost_off", reason=str(error))
        except (OSError, ssl.SSLError) as error:
            log.warning("pod_deletion_cost_off", reason=f"{self._api.authority.name}: {error}")

    async def _tell(self, session: aiohttp.ClientSession, wish: Wish) -> str | None:
        """Patches the annotations; returns what went wrong, or None.

        Raises:
            _RefusedError: it will never go.
        """
        busy = wish is Wish.BUSY
        cost = BUSY_COST if busy else IDLE_COST
        # null takes an annotation away (RFC 7396).
        annotations = {ANNOTATION: str(cost), DO_NOT_DISRUPT: "true" if busy else None}
        try:
            token = (await asyncio.to_thread(self._api.token.read_text, encoding="ascii")).strip()
            async with session.patch(
                self._api.url,
                data=orjson.dumps({"metadata": {"annotations": annotations}}),
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"},
                allow_redirects=False,
            ) as response:
                if response.status == 200:
                    log.debug("pod_deletion_cost", cost=cost)
                    return None
                if response.status in _REFUSALS:
                    raise _RefusedError(
                        f"Kubernetes answers {response.status}; let the service account patch pods in its namespace"
                    )
                return f"Kubernetes answers {response.status}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"


class _RefusedError(Exception):
    """Kubernetes does not let this pod say what it costs."""
