"""Names every object in the output bucket, so that writers and readers cannot disagree.

    .tasks/{id}.json              .tasks/{tenant}/{id}.json              a task's record
    .ended/{id}/…                 .ended/{tenant}/{id}/…                 submissions crowded out of a record
    .payloads/{id}/…              .payloads/{tenant}/{id}/…              a content too large for SNS
    .idempotency/{digest}.json    .idempotency/{tenant}/{digest}.json    a note about an `Idempotency-Key`
    .inputs/{name}                .inputs/{tenant}/{name}                a file that was uploaded to be an input
    .lists/{log}/…                .lists/{tenant}/{log}/…                which tasks there are; see contract/task_log.py
    .requests/{id}/…              .requests/{tenant}/{id}/…              a request that is too large for its record
    .usage/{log}/…                .usage/{tenant}/{log}/…                what tasks have cost; see contract/usage.py
    .webhooks/{id}/…              .webhooks/{tenant}/{id}/…              a submission's ledger of webhook deliveries
    {prefix}/{id}/…               {tenant}/{prefix}/{id}/…               results
    .deadlines/{time}/…                                                  a task that is to begin by then
    .runtimes/{name}.jsonl.gz                                            what a runtime tells of its nodes
    .agents/{runtime}/{agent}.json                                       what an agent tells of itself
    .runtimes/{name}/environments.json                                   which environments its agents have told of
    .runtimes/{name}/environments/{hash}.json                            one of them; see contract/environment.py

The left column is the shared space, where there are no tenants. No two tasks share a key, since tenants and ids hold no
slash. All that is a tenant's lies in its own ten folders.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Final, NamedTuple

from contract.identifiers import TaskRef

RECORDS: Final = ".tasks/"
ENDED: Final = ".ended/"
PAYLOADS: Final = ".payloads/"
IDEMPOTENCY: Final = ".idempotency/"
INPUTS: Final = ".inputs/"
LISTS: Final = ".lists/"
REQUESTS: Final = ".requests/"
RUNTIMES: Final = ".runtimes/"
AGENTS: Final = ".agents/"
USAGE: Final = ".usage/"
WEBHOOKS: Final = ".webhooks/"
DEADLINES: Final = ".deadlines/"

SAMPLE: Final = "samples/cat.png"
"""A picture for everybody's first image-to-image task; local provisioning puts it there."""

EXPIRY_SWEEP: Final = ".sweeps/expiry.json"
"""Which records the API has looked at for tasks that nobody ends any more, and who does so now."""

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"


def tenant_folder(tenant: str) -> str:
    """Returns what stands before the rest of each key of a tenant: its name and a slash; nothing for the shared space.

    The keys of its results begin with it, and those of no other tenant. A prefix in the shared space may spell it.
    """
    return f"{tenant}/" if tenant else ""


def record_key(task: TaskRef) -> str:
    """Returns the key of a task's record."""
    return f"{RECORDS}{tenant_folder(task.tenant)}{task.id}.json"


def ended_key(task: TaskRef, submission: str) -> str:
    """Returns the key of an ended submission that was crowded out of its record; a foreign one's id may be any text."""
    return f"{ENDED}{tenant_folder(task.tenant)}{task.id}/{submission_label(submission)}.json"


def task_of_record(key: str) -> TaskRef | None:
    """Returns whose record lies under a key; None when it is none."""
    tenant, _, task_id = key.removeprefix(RECORDS).removesuffix(".json").rpartition("/")
    task = TaskRef(task_id, tenant)
    return task if key == record_key(task) and "/" not in tenant else None


class Deadline(NamedTuple):
    """When to look whether a submission has begun."""

    at: datetime
    """In whole milliseconds."""
    task: TaskRef
    submission: str
    """A ULID."""

    @property
    def key(self) -> str:
        """Where its mark lies: the keys of all tenants sort by time."""
        at = self.at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
        return f"{DEADLINES}{at}Z/{self.submission}/{tenant_folder(self.task.tenant)}{self.task.id}"

    @classmethod
    def read(cls, key: str) -> Deadline | None:
        """Returns what is marked under a key; None when it is no mark."""
        time, _, rest = key.removeprefix(DEADLINES).partition("/")
        submission, _, rest = rest.partition("/")
        tenant, _, task_id = rest.rpartition("/")
        try:
            at = datetime.strptime(time, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
        except ValueError:
            return None
        found = cls(at, TaskRef(task_id, tenant), submission)
        return found if found.key == key and task_id and submission and "/" not in tenant else None


def payload_folder(task: TaskRef) -> str:
    """Returns where a task's payloads lie, with a trailing slash; they lie in it directly."""
    return f"{PAYLOADS}{tenant_folder(task.tenant)}{task.id}/"


def payload_key(task: TaskRef, submission: str) -> str:
    """Returns the key under which a content too large for SNS waits for the agent."""
    return f"{payload_folder(task)}{submission}.json"


def idempotency_key(tenant: str, owner: str, key: str) -> str:
    """Returns the key of the note about one `Idempotency-Key` of one API key's owner."""
    digest = hashlib.sha256(f"{owner}\x00{key}".encode()).hexdigest()
    return f"{IDEMPOTENCY}{tenant_folder(tenant)}{digest}.json"


def ledger_key(task: TaskRef, submission: str) -> str:
    """Returns the key of the ledger of what was delivered to a submission's webhook."""
    return f"{WEBHOOKS}{tenant_folder(task.tenant)}{task.id}/{submission_label(submission)}.json"


def input_key(tenant: str, name: str) -> str:
    """Returns the key of an uploaded input file; its name holds no slash."""
    return f"{INPUTS}{tenant_folder(tenant)}{name}"


def list_key(tenant: str, log: str, seq: int | None = None, *, folder: str = LISTS) -> str:
    """Returns the key of a segment of one of a tenant's logs; without a number, of its head."""
    return f"{folder}{tenant_folder(tenant)}{log}/{'head' if seq is None else format(seq, '08d')}.json"


def request_key(task: TaskRef, submission: str) -> str:
    """Returns the key of a submission's request, where that is too large for its record."""
    return f"{REQUESTS}{tenant_folder(task.tenant)}{task.id}/{submission_label(submission)}.json"


def catalogue_key(runtime: str) -> str:
    """Returns the key of what a runtime's server tells of its nodes; see `contract.catalogue`."""
    return f"{RUNTIMES}{runtime}.jsonl.gz"


def agent_key(runtime: str, agent: str) -> str:
    """Returns the key of what an agent tells of itself, see `contract.agents`; without an agent, of the folder."""
    return f"{AGENTS}{runtime}/{f'{agent}.json' if agent else ''}"


def environment_index_key(runtime: str) -> str:
    """Returns the key of the list of environments that the agents of a runtime have told of."""
    return f"{RUNTIMES}{runtime}/environments.json"


def environment_key(runtime: str, environment: str) -> str:
    """Returns the key of one environment of a runtime, by its hash."""
    return f"{RUNTIMES}{runtime}/environments/{environment}.json"


def is_own_input(key: str, tenant: str) -> bool:
    """Tells whether a key is that of an input file which this tenant (empty: the shared space) has uploaded."""
    folder = input_key(tenant, "")
    # Directly in it: below the folder of the shared space lie those of the tenants. S3 itself takes dots as they are,
    # but emulators and proxies resolve them, to a listing of the bucket at worst.
    name = key.removeprefix(folder)
    return key.startswith(folder) and "/" not in name and name not in {"", ".", ".."}


def submission_label(submission: str) -> str:
    """Returns a name for a submission, whose id may be any text, that no other one has: 32 hexadecimal digits."""
    return hashlib.sha256(submission.encode()).hexdigest()[:32]


def rand4(submission: str, turn: int = 0) -> str:
    """Returns the four characters that tell one submission's files from another's.

    Derived, not drawn: a second attempt at the same submission overwrites its own files instead of leaving orphans.
    Of a thousand submissions of one task id, two share theirs more often than not: the later one takes its next turn.

    Args:
        submission: whose files.
        turn: counted from 0, for each time that the files of another submission were in the way.
    """
    digest = hashlib.sha256(f"{submission}\0{turn}".encode() if turn else submission.encode()).digest()
    return "".join(_ALPHABET[byte % 32] for byte in digest[:4])


def output_prefix(prefix: str, task: TaskRef) -> str:
    """Returns the folder of a task's results, without a trailing slash."""
    return f"{tenant_folder(task.tenant)}{prefix}/{task.id}"


def submission_prefix(prefix: str, task: TaskRef, submission: str, *, turn: int = 0) -> str:
    """Returns how the keys of all results of one submission begin; see `rand4` for its turns."""
    return f"{output_prefix(prefix, task)}/{task.id}-{rand4(submission, turn)}"


def image_key(prefix: str, task: TaskRef, submission: str, number: int, extension: str, *, turn: int = 0) -> str:
    """Returns the key of the `number`-th image (from 1); the extension comes without a dot."""
    return f"{submission_prefix(prefix, task, submission, turn=turn)}-{number}.{extension}"


def answer_key(prefix: str, task: TaskRef, submission: str, *, turn: int = 0) -> str:
    """Returns the key of the runtime's full answer."""
    return f"{submission_prefix(prefix, task, submission, turn=turn)}.out"


def s3_url(bucket: str, key: str) -> str:
    """Returns `s3://bucket/key`."""
    return f"s3://{bucket}/{key}"


def split_s3_url(url: str) -> tuple[str, str]:
    """Returns bucket and key of an `s3://bucket/key` address.

    Raises:
        ValueError: it is not such an address, or has no key.
    """
    scheme, separator, rest = url.partition("://")
    bucket, slash, key = rest.partition("/")
    if scheme.lower() != "s3" or not separator or not bucket or not slash or not key:
        raise ValueError(f"not an s3://bucket/key address: {url[:200]!r}")
    return bucket, key


def is_reserved_key(key: str) -> bool:
    """Tells whether a key is one of our own, which no task may name as its input, unless it `is_own_input`."""
    return key.startswith(".")
