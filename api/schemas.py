"""The shapes of answers, for the OpenAPI document; a test holds the real answers against them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from contract.deliveries import State
from contract.environment import Lock
from contract.record import Status
from contract.task import RuntimeType, TaskType
from contract.webhooks import Event


class Fault(BaseModel):
    """What went wrong."""

    code: Annotated[str, Field(description="Stable, for programs.", examples=["invalid_request"])]
    message: Annotated[str, Field(description="A sentence for people; it names the field and the way out.")]
    details: Annotated[Any, Field(description="More for programs, such as the faulty fields or the allowed values.")]


class Error(BaseModel):
    """Every answer that is no success."""

    error: Fault


class AcceptedV1Alpha2(BaseModel):
    """The answer of `POST /v1alpha2`."""

    id_task: str
    runtime: str
    output_location: str


class AcceptedV1Alpha1(BaseModel):
    """The answer of `POST /v1alpha1`."""

    id_task: str
    sd_model_checkpoint: str
    output_location: str


class AcceptedTask(BaseModel):
    """The answer of `POST /task`."""

    taskId: str  # noqa: N815 - the reference's spelling


class ProcessResult(BaseModel):
    """The result part of `GET /task`."""

    cnt: Annotated[int, Field(description="How many images there are.")]
    images: Annotated[list[str], Field(description="Links to the images.")]
    error: Annotated[str, Field(description="Why it failed; empty otherwise.")]


class TaskState(BaseModel):
    """The answer of `GET /task`."""

    taskId: str  # noqa: N815
    taskStatus: Literal["waiting", "running", "finished", "failed"]  # noqa: N815
    submitTime: datetime  # noqa: N815
    processTime: Annotated[datetime | None, Field(description="When the runtime began on it.")]  # noqa: N815
    processRes: ProcessResult  # noqa: N815


class TaskLinks(BaseModel):
    """Where to go on."""

    self: str
    events: str


class AcceptedV1(BaseModel):
    """The answer of `POST /v1/tasks`."""

    id: str
    status: Literal["queued"]
    runtime: str
    tasktype: TaskType
    submission: Annotated[str, Field(description="A ULID for this request; the same id may be submitted again.")]
    submitted_at: datetime
    output_location: str
    links: TaskLinks


class ResultLink(BaseModel):
    """One object in the output bucket."""

    url: Annotated[str, Field(description="Presigned, or the CDN's.")]
    s3: Annotated[str, Field(description="The s3:// address, as in the callback.")]


class FailureView(BaseModel):
    """Why a task failed."""

    code: str
    message: str


class TimingsView(BaseModel):
    """Seconds spent in each phase of the attempt that ended the task."""

    queued: float | None
    inputs: float | None
    generation: float | None
    upload: float | None


class CostView(BaseModel):
    """What a submission has used of GPUs, in all of its attempts."""

    gpu_seconds: float
    usd: Annotated[float | None, Field(description="null: the price is not known.")]
    price: Annotated[float | None, Field(description="USD of a GPU hour, where the newest attempt ran.")]
    source: Annotated[str, Field(description="Of the price; of one that is not known, why not.")]


class _Standing(BaseModel):
    """How one submission of a task stands."""

    id: str
    tenant: Annotated[str, Field(description="Whose task it is; empty where all share one space.")]
    status: Status
    runtime: str
    tasktype: TaskType
    submission: str
    submitted_at: datetime
    start_by: Annotated[datetime | None, Field(description="No attempt begins from then on; null: at any time.")]
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    fake: Annotated[
        bool, Field(description="Whether a stand-in made the results, and no model: the local stack's fakes.")
    ]
    environment: Annotated[
        str | None,
        Field(description="The hash of the environment that ran it (docs/environments.md); null: not known (yet)."),
    ]
    progress: Annotated[float | None, Field(description="0 to 1.")]
    output_location: str
    images: list[ResultLink]
    output: Annotated[ResultLink | None, Field(description="The runtime's full answer.")]
    error: FailureView | None
    warnings: Annotated[list[str], Field(description="What is missing though the task succeeded, a sentence each.")]
    timings: TimingsView | None
    tags: Annotated[dict[str, str], Field(description="As they were sent.")]
    cost: Annotated[CostView | None, Field(description="null: nobody counts it, or nothing was used yet.")]
    dead_lettered: bool
    callback_error: Annotated[FailureView | None, Field(description="Why SNS refused the callback, if it did.")]
    webhook: Annotated[str | None, Field(description="Where its events go, without the query; null: nowhere.")]
    links: TaskLinks


class Task(_Standing):
    """The answer of `GET /v1/tasks/{id}`: the task's newest submission."""

    context: JsonValue


class ListedTask(_Standing):
    """A task in a list: `GET /v1/tasks/{id}` has its context, and all of its images."""

    image_count: Annotated[int, Field(description="How many images there are; `images` has the first ones.")]


class TaskList(BaseModel):
    """The answer of `GET /v1/tasks`."""

    tasks: Annotated[list[ListedTask], Field(description="The newest first.")]
    next: Annotated[str | None, Field(description="The `cursor` of the next page; null: there is none.")]


class TaskMetadata(BaseModel):
    """Who a task is, where it runs, and where its results go, as it was sent."""

    id: str
    runtime: str
    tasktype: TaskType
    prefix: str
    context: JsonValue
    inputs: Annotated[dict[str, Any] | None, Field(description="Absent where there were none.")] = None
    webhook: Annotated[dict[str, Any] | None, Field(description="Its address without the query; absent likewise.")] = (
        None
    )
    tags: Annotated[dict[str, str] | None, Field(description="Absent likewise.")] = None
    environment: Annotated[str | None, Field(description="The one that had to run it; absent: any might.")] = None


class KeptRequest(BaseModel):
    """The answer of `GET /v1/tasks/{id}/request`."""

    metadata: TaskMetadata
    content: dict[str, Any]
    left_out: Annotated[list[str], Field(description="Where secrets were, as JSON pointers into `content`.")]


class SubmissionList(BaseModel):
    """The answer of `GET /v1/tasks/{id}/submissions`."""

    submissions: Annotated[list[Task], Field(description="The newest first.")]


class QueueDepth(BaseModel):
    """How many messages a queue holds, about."""

    waiting: int
    in_flight: int
    delayed: int


class Replicas(BaseModel):
    """What the scaling rules of config.yaml want for a queue as it is now."""

    wanted: Annotated[int, Field(description="Where they come to rest if the queue stays so.")]
    min: int
    max: int


class Runtime(BaseModel):
    """One runtime of config.yaml."""

    name: str
    type: RuntimeType
    tasktypes: list[TaskType]
    model: Annotated[str | None, Field(description="The checkpoint that a static SD Web UI runtime holds.")]
    dynamic_model: Annotated[bool, Field(description="Whether a request may name its checkpoint.")]
    queue: Annotated[QueueDepth | None, Field(description="null: SQS does not answer.")]
    replicas: Annotated[Replicas | None, Field(description="null: it cannot be told.")]


class KnownEnvironment(BaseModel):
    """An environment that an agent of a runtime has told of."""

    hash: str
    seen_at: Annotated[datetime, Field(description="When an agent has told of it last; they do every 15 minutes.")]
    lately: Annotated[bool, Field(description="Whether an agent may have it now.")]


class EnvironmentChange(BaseModel):
    """One thing in which two environments differ."""

    what: Annotated[str, Field(description="image, version, package, extension, model, setting …")]
    name: Annotated[str, Field(description="Of the package, extension, model or setting; empty otherwise.")]
    before: Annotated[str | None, Field(description="null: it is not there.")]
    after: Annotated[str | None, Field(description="null: it is not there.")]
    sentence: Annotated[str, Field(description="The same for people.")]


class EnvironmentDifference(BaseModel):
    """What differs from another environment."""

    against: str
    changes: list[EnvironmentChange]


class RuntimeEnvironment(BaseModel):
    """The answer of `GET /v1/runtimes/{name}/environment`."""

    runtime: str
    hash: Annotated[str, Field(description="SHA-256 of all that `environment` tells.")]
    seen_at: Annotated[datetime | None, Field(description="When an agent has told of it last; null: long ago.")]
    environment: Annotated[Lock, Field(description="As the server itself tells of it; null is what it does not tell.")]
    known: Annotated[list[KnownEnvironment], Field(description="All of the runtime's, the newest first.")]
    difference: Annotated[EnvironmentDifference | None, Field(description="Where `against` asks for it.")]


class Uploaded(BaseModel):
    """An input file that is stored."""

    s3: str
    """What a task names it by."""
    url: str
    """A link to it, for whoever has none of the bucket's rights; it ends after `PRESIGNED_SECONDS`."""
    bytes: int


class BegunUpload(BaseModel):
    """An upload in parts that has begun."""

    upload: Annotated[str, Field(description="What the further calls name it by.")]
    s3: Annotated[str, Field(description="What a task will name the file by, once the upload is complete.")]
    bytes: int
    part_bytes: Annotated[int, Field(description="Of each part but the last, which has the rest.")]
    parts: int


class UploadPart(BaseModel):
    """Where one part goes."""

    number: int
    bytes: int
    url: Annotated[str, Field(description="Takes a PUT of just these bytes, without an API key.")]


class WorkflowField(BaseModel):
    """A value of a workflow that can be set."""

    pointer: Annotated[str, Field(description="Where in `content` it is (JSON pointer, RFC 6901).")]
    node: str
    input: str
    label: Annotated[str, Field(description="The node's title and the input's name.")]
    type: Literal["text", "string", "integer", "number", "boolean", "choice", "file"]
    role: Annotated[
        Literal["prompt", "file", "seed", "size", "length", "steps", "cfg", "sampler", "denoise", "model"] | None,
        Field(description="What it is for, as far as names tell. The fields that are changed most come first."),
    ]
    default: Annotated[JsonValue, Field(description="What it is now.")]
    choices: Annotated[
        list[JsonValue] | None, Field(description="Of a choice; null: too many to list, any may be typed.")
    ] = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    media: Annotated[
        Literal["image", "video", "audio", "file"] | None, Field(description="Which kind of file it takes.")
    ] = None


class ConvertedWorkflow(BaseModel):
    """The answer of `POST /v1/runtimes/{name}/workflow`."""

    content: Annotated[dict[str, JsonValue], Field(description="The workflow in API form: the content of a task.")]
    fields: list[WorkflowField]
    warnings: Annotated[
        list[str], Field(description="What the runtime will refuse: nodes and models that it lacks, a sentence each.")
    ]


class DeliveryAttempt(BaseModel):
    """One try to deliver."""

    at: datetime
    seconds: float
    status: Annotated[int | None, Field(description="Of the receiver's answer; null: there was none.")]
    error: Annotated[str | None, Field(description="Why it failed; null: it did not.")]


class WebhookDelivery(BaseModel):
    """One event on its way to the webhook."""

    n: int
    id: Annotated[str, Field(description="The `webhook-id`, the same at each attempt.")]
    type: Annotated[str, Field(examples=["task.succeeded"])]
    at: Annotated[datetime, Field(description="When it happened.")]
    state: State
    attempts: int
    next_try: Annotated[datetime | None, Field(description="null: it is over.")]
    tries: Annotated[list[DeliveryAttempt], Field(description="The newest attempts.")]


class WebhookDeliveries(BaseModel):
    """The answer of `GET /v1/tasks/{id}/deliveries`."""

    submission: str
    url: Annotated[str, Field(description="Of the webhook, without its query.")]
    events: list[Event]
    deliveries: list[WebhookDelivery]


class WebhookSecrets(BaseModel):
    """The answer of `GET /v1/webhook-secrets`."""

    secrets: Annotated[list[str], Field(description="The newest first; each of them signs. None: webhooks are off.")]


class UsageSum(BaseModel):
    """What some tasks have used."""

    tasks: Annotated[int, Field(description="That have ended, and had a GPU.")]
    gpu_seconds: float
    usd: Annotated[float | None, Field(description="null: the price of some is not known.")]
    unpriced_tasks: Annotated[int, Field(description="Those whose price is not known.")]


class UsageRow(UsageSum):
    """The same, of what `by` tells apart: each part of it is a key, with null where a task has no such tag."""

    model_config = ConfigDict(extra="allow")


class Usage(BaseModel):
    """The answer of `GET /v1/usage`."""

    model_config = ConfigDict(serialize_by_alias=True)

    since: Annotated[datetime, Field(alias="from")]
    to: datetime
    by: list[str]
    rows: Annotated[list[UsageRow], Field(description="The dearest first; empty without `by`.")]
    rest: Annotated[UsageSum | None, Field(description="Of the rows beyond the first 1,000; null: there are no more.")]
    total: UsageSum


class RuntimeList(BaseModel):
    """The answer of `GET /v1/runtimes`."""

    runtimes: list[Runtime]


class AgentsTask(BaseModel):
    """A task that an agent runs."""

    id: str
    tenant: Annotated[str, Field(description="Empty: the shared space.")]


class Agent(BaseModel):
    """An agent, which feeds one GPU, as it told of itself last."""

    id: str
    host: Annotated[str | None, Field(description="Where it runs, such as its pod; null: not told to tenants.")]
    environment: Annotated[str | None, Field(description="The hash of its runtime's environment; null: not known.")]
    version: Annotated[str | None, Field(description="`AGENT_VERSION` of the agent; null: nobody has set it.")]
    state: Annotated[
        str,
        Field(
            description="starting, waiting-for-runtime, recycling, warming, ready (idle), busy, draining or failed.",
            examples=["busy"],
        ),
    ]
    reason: Annotated[str | None, Field(description="Why it is not ready; null: none, or not told to tenants.")]
    since: Annotated[datetime, Field(description="When the state began.")]
    started_at: datetime
    heard_at: Annotated[datetime, Field(description="When it told this, by S3's clock.")]
    slots: Annotated[int, Field(description="Runs at once.")]
    held: Annotated[int, Field(description="Messages that it has taken and not let go.")]
    running: Annotated[int, Field(description="Tasks at its runtime.")]
    tasks: Annotated[list[AgentsTask], Field(description="Those of them that the caller may see.")]
    busy_seconds: Annotated[float, Field(description="With a run under way, since its start.")]
    idle_seconds: Annotated[float, Field(description="With a runtime but no run, since its start.")]


class GpuMinute(BaseModel):
    """How the GPUs of a runtime spent one minute, all together."""

    at: Annotated[datetime, Field(description="When it began.")]
    busy_seconds: float
    idle_seconds: float


class RuntimeAgents(BaseModel):
    """The answer of `GET /v1/runtimes/{runtime}/agents`."""

    runtime: str
    agents: Annotated[list[Agent], Field(description="The longest running first.")]
    gpu: Annotated[
        list[GpuMinute],
        Field(description="The minutes of the last hour in which there was one; agents that have gone count too."),
    ]
    whole: Annotated[bool, Field(description="Whether these are all; otherwise those heard last.")]


class DeadLetter(BaseModel):
    """A message that nobody could turn into a result."""

    runtime: str
    message_id: str
    id: Annotated[str | None, Field(description="The task's; null: no task can be read in it.")]
    tenant: str | None
    submission: str | None
    tasktype: TaskType | None
    reason: str
    sent_at: Annotated[datetime, Field(description="When it came into the dead-letter queue.")]
    status: Annotated[Status | None, Field(description="Of its submission; null: there is no record of it.")]
    attempts: Annotated[int | None, Field(description="Of its submission.")]


class DeadLetterList(BaseModel):
    """The answer of `GET /v1/dead-letters`: the newest first."""

    dead_letters: list[DeadLetter]
    whole: Annotated[
        bool, Field(description="False: there are more. Those in somebody else's hands just now are not seen.")
    ]


class StayingLetter(BaseModel):
    """A dead letter that was left where it is."""

    message_id: str
    reason: str


class _Outcome(BaseModel):
    stayed: list[StayingLetter]
    not_found: Annotated[list[str], Field(description="Not there, not yours, or in somebody else's hands just now.")]


class SentBack(_Outcome):
    """The answer of `POST /v1/dead-letters/redrive`, in ids of messages."""

    sent_back: list[str]


class Deleted(_Outcome):
    """The answer of `DELETE /v1/dead-letters`, in ids of messages."""

    deleted: list[str]


class Health(BaseModel):
    """The answer of a probe."""

    status: str


class Ready(BaseModel):
    """The answer of `GET /readyz`."""

    status: Literal["ready"]
    checks: dict[str, str]
