"""A whole stack of real processes on one deployment: an API, and pods (an agent beside its fake runtime)."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import httpx

from contract.callback import encode_callback
from contract.config import Config
from contract.identifiers import TaskRef
from contract.objects import output_prefix, record_key, split_s3_url
from contract.record import Record, Status, Submission
from contract.task import RuntimeType
from tests.support.deployment import Deployment, ReceivedCallback
from tests.support.processes import Process, http
from tests.support.waiting import PATIENCE, eventually, free_port

SPARE_RUNTIMES: Final = 20

SPARES: Final = "\n".join(
    [
        "stackName: {stack}",
        "modelBucketArn: arn:aws:s3:::{stack}-models",
        "APIGW: {{throttle: {{rateLimit: 1000, burstLimit: 1000}}}}",
        "modelsRuntime:",
        *(f"- {{{{name: spare{number}, type: sdwebui, dynamicModel: true}}}}" for number in range(SPARE_RUNTIMES)),
        *(f"- {{{{name: spare-comfy{number}, type: comfyui}}}}" for number in range(4)),
        "- {{name: spare-invoke, type: invokeai}}",
        "- {{name: spare-openai, type: openai}}",
        "",
    ]
)
"""A config.yaml with many like runtimes: each test of a module takes one, so that all share one API."""

LONG_VISIBILITY: Final = 60
"""Seconds: where no agent dies, nothing may come back, however busy the machine is."""

SHORT_VISIBILITY: Final = 3
"""Seconds after which the task of an agent that was killed is handed to another."""


_POLL: Final = 0.1
"""Seconds between two looks at AWS: LocalStack shares the processors with what is tested."""


@dataclass(frozen=True)
class Fake:
    """A fake runtime, and what its own routes tell and take."""

    process: Process
    url: str

    def jobs(self) -> list[dict[str, Any]]:
        """Returns what the GPU was asked to do, in order."""
        answer = http().get(f"{self.url}/fake/jobs", timeout=5).json()
        jobs: list[dict[str, Any]] = answer if isinstance(answer, list) else answer["jobs"]
        return jobs

    def runs(self, task_text: str) -> list[dict[str, Any]]:
        """Returns the jobs whose prompt contains a text."""
        return [job for job in self.jobs() if task_text in job["prompt"]]

    def order(self, name: str, **options: Any) -> None:
        """Orders a fault."""
        answer = http().post(f"{self.url}/fake/faults", json={"name": name, **options}, timeout=5)
        assert answer.status_code == 201, answer.text

    def wait_running(self, task_text: str, within: float = PATIENCE) -> None:
        """Returns once the GPU works on a prompt that contains a text."""
        eventually(lambda: [job for job in self.runs(task_text) if job["outcome"] == "running"], within=within)


@dataclass(frozen=True)
class Pod:
    """An agent, and the runtime that it alone drives."""

    runtime: str
    agent: Process
    fake: Fake
    health: str
    """The agent's own address."""

    def wait_ready(self) -> Self:
        """Returns itself once the agent takes tasks."""
        self.agent.wait_ready()
        return self


class Stack:
    """The processes of one deployment; a context manager that ends them all.

    Args:
        deployment: topics, queues and buckets.
        folder: of the logs.
        aws: the address of AWS for the processes; LocalStack itself when empty.
    """

    def __init__(self, deployment: Deployment, folder: Path, *, aws: str = "") -> None:
        self.deployment = deployment
        self.folder = folder
        self.aws = aws or deployment.endpoint
        self.processes: list[Process] = []
        self.api = ""
        self._webhooks_url = ""
        self._spare = {
            kind: [runtime.name for runtime in deployment.config.runtimes if runtime.type is kind]
            for kind in RuntimeType
        }
        self._spare_of: dict[str, str] = {}
        self._numbers = itertools.count()
        self._processes_of: dict[str, list[Process]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.stop()

    def spare_runtime(self, user: str, kind: RuntimeType = RuntimeType.SDWEBUI) -> str:
        """Returns the name of a runtime that belongs to this user alone."""
        if user not in self._spare_of:
            self._spare_of[user] = self._spare[kind].pop()
        return self._spare_of[user]

    def processes_of(self, user: str) -> list[Process]:
        """Returns the API and the processes of this user's runtime; all processes when it has none."""
        own = self._processes_of.get(self._spare_of.get(user, ""))
        return self.processes if own is None else [*self.processes[:1], *own]

    def start_api(self, *, port: int = 0, ready: bool = True, **environment: str) -> Process:
        """Starts the API.

        Args:
            port: to listen on; 0 takes a free one.
            ready: whether to wait until it is ready.
            **environment: further settings.
        """
        place, port = self.deployment.place, port or free_port()
        config_file = self.folder / "config.yaml"
        config_file.write_text(_yaml(self.deployment.config))
        self.api = f"http://127.0.0.1:{port}"
        process = self._start(
            "api",
            ready_url=f"{self.api}/readyz",
            environment={
                **self._aws_environment(),
                "CONFIG_FILE": str(config_file),
                "TASK_TOPIC_ARN": place.task_topic_arn,
                "CALLBACK_TOPIC_ARN": place.callback_topic_arn,
                "S3_BUCKET": place.output_bucket,
                "PORT": str(port),
                **environment,
            },
        )
        return process.wait_ready() if ready else process

    def start_webhooks(self, *, ready: bool = True, **environment: str | float) -> Process:
        """Starts a deliverer of webhooks."""
        port = free_port()
        place = self.deployment.place
        process = self._start(
            "webhooks",
            ready_url=f"http://127.0.0.1:{port}/readyz",
            environment={
                **self._aws_environment(),
                "WEBHOOK_QUEUE_URL": self.webhooks_url(),
                "S3_BUCKET": place.output_bucket,
                "HEALTH_HOST": "127.0.0.1",
                "HEALTH_PORT": str(port),
                **{name: str(value) for name, value in environment.items()},
            },
        )
        return process.wait_ready() if ready else process

    def webhooks_url(self) -> str:
        """Returns the URL of the queue of webhooks, asked for once: a trial starts agents while AWS is frozen."""
        if not self._webhooks_url:
            asked = self.deployment.clients.sqs.get_queue_url(QueueName=self.deployment.place.webhooks)
            self._webhooks_url = asked["QueueUrl"]
        return self._webhooks_url

    def start_fake(
        self,
        *faults: str,
        kind: str = "sdwebui",
        program: str = "fake_runtime",
        port: int = 0,
        ready: bool = True,
        **options: str | float,
    ) -> Fake:
        """Starts a fake runtime that answers at once.

        Args:
            *faults: ordered from the start, such as `error:count=forever`.
            kind: whose API it speaks, such as `comfyui`.
            program: its module.
            port: to listen on; 0 takes a free one.
            ready: whether to wait until it answers.
            **options: of its command line, such as `seconds_per_task=2`.
        """
        port = port or free_port()
        arguments = ["--type", kind, "--port", str(port)]
        for name, value in {"latency": 0, **options}.items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        for fault in faults:
            arguments += ["--fault", fault]
        url = f"http://127.0.0.1:{port}"
        fake = Fake(self._start(program, ready_url=f"{url}/fake/jobs", arguments=arguments), url)
        if ready:
            fake.process.wait_ready()
        return fake

    def start_agent(
        self, runtime: str, fake_url: str, *, program: str = "agent", **environment: str | float
    ) -> tuple[Process, str]:
        """Starts an agent, or a module that is one but for some fault, for a runtime; does not wait.

        Returns:
            It, and its health address.
        """
        config = self.deployment.config.runtime(runtime)
        assert config is not None
        health_port = free_port()
        health = f"http://127.0.0.1:{health_port}"
        process = self._start(
            program,
            ready_url=f"{health}/readyz",
            environment={
                **self._aws_environment(),
                "RUNTIME_NAME": runtime,
                "RUNTIME_TYPE": config.type,
                "API_BASE_URL": fake_url,
                "SQS_QUEUE_URL": self.deployment.queue_url(runtime),
                "SNS_TOPIC_ARN": self.deployment.place.callback_topic_arn,
                "WEBHOOK_QUEUE_URL": self.webhooks_url(),
                "S3_BUCKET": self.deployment.place.output_bucket,
                "DYNAMIC_SD_MODEL": str(config.dynamic_model).lower(),
                "VISIBILITY_TIMEOUT": str(LONG_VISIBILITY),
                "HEALTH_PORT": str(health_port),
                **{name: str(value) for name, value in environment.items()},
            },
        )
        self._processes_of.setdefault(runtime, []).append(process)
        return process, health

    def start_pod(
        self,
        runtime: str,
        *,
        fake: Fake | None = None,
        ready: bool = True,
        program: str = "agent",
        **environment: str | float,
    ) -> Pod:
        """Starts an agent, and a fake runtime for it unless one is given.

        Args:
            runtime: its name in the config.
            fake: the runtime server, if it exists already.
            ready: whether to wait until the agent takes tasks.
            program: the agent's module.
            **environment: further settings of the agent.
        """
        config = self.deployment.config.runtime(runtime)
        assert config is not None
        fake = fake or self.start_fake(kind=config.type, ready=False)
        self._processes_of.setdefault(runtime, []).append(fake.process)
        agent, health = self.start_agent(runtime, fake.url, program=program, **environment)
        pod = Pod(runtime, agent, fake, health)
        return pod.wait_ready() if ready else pod

    def post(self, route: str, body: Any, **headers: str) -> httpx.Response:
        """Sends a request to the API."""
        return http().post(f"{self.api}{route}", json=body, headers=headers, timeout=30)

    def get(self, route: str) -> httpx.Response:
        """Asks the API."""
        return http().get(f"{self.api}{route}", timeout=30)

    def cancel(self, task_id: str) -> httpx.Response:
        """Asks the API to cancel a task."""
        return http().delete(f"{self.api}/v1/tasks/{task_id}", timeout=30)

    def submit(self, runtime: str, *, task_id: str = "", prompt: str = "", **content: Any) -> str:
        """Submits a task by v1alpha2 and returns its id, which its prompt begins with.

        Args:
            runtime: its name.
            task_id: made up when empty.
            prompt: goes on after the id; may order a fault, such as `[[fault:hang]]`.
            **content: further fields of the request to the runtime.
        """
        task_id = task_id or unique()
        answer = self.post("/v1alpha2", {"task": task(task_id, runtime, prompt=prompt, **content)})
        assert answer.status_code == 200, answer.text
        return task_id

    def submit_workflow(self, runtime: str, *, task_id: str = "", text: str = "") -> str:
        """Submits a small ComfyUI workflow and returns its task's id.

        Args:
            runtime: its name.
            task_id: made up when empty.
            text: of its prompt, after the id; may order a fault.
        """
        task_id = task_id or unique("workflow")
        content = workflow(f"{task_id} {text}")
        metadata = task(task_id, runtime, tasktype="pipeline")["metadata"]
        answer = self.post("/v1alpha2", {"task": {"metadata": metadata, "content": content}})
        assert answer.status_code == 200, answer.text
        return task_id

    def record(self, task_id: str) -> Record | None:
        """Returns a task's record as it lies in S3, or None."""
        try:
            return Record.model_validate_json(self.deployment.object(record_key(TaskRef(task_id))))
        except self.deployment.clients.s3.exceptions.NoSuchKey:
            return None

    def status(self, task_id: str) -> Status | None:
        """Returns how the current submission of a task stands, or None when there is no record."""
        record = self.record(task_id)
        return record.current.status if record else None

    def wait_status(self, task_id: str, *wanted: Status, within: float = PATIENCE) -> Submission:
        """Returns the current submission of a task once it stands as wanted."""

        def reached() -> Submission | None:
            record = self.record(task_id)
            assert record is not None, f"no record of {task_id}"
            assert record.current.status in wanted, f"{task_id} is {record.current}"
            return record.current

        found = eventually(reached, within=within, every=_POLL)
        assert found is not None
        return found

    def wait_drained(self, runtime: str, *, dead: int = 0, within: float = PATIENCE) -> None:
        """Returns once a runtime's queue holds nothing, visible or held, and its dead-letter queue `dead` messages."""

        def drained() -> bool:
            counts = self.deployment.queue_counts(self.deployment.queue_url(runtime))
            assert counts == (0, 0), f"visible and held messages of {runtime}: {counts}"
            assert sum(self.deployment.queue_counts(self.deployment.dead_letter_url(runtime))) == dead
            return True

        eventually(drained, within=within, every=_POLL)

    def wait_ended_once(
        self, task_id: str, status: Status, *, within: float = PATIENCE, drained: bool = True
    ) -> Submission:
        """Waits for a task's callback, and asserts that it ended exactly once, with exactly its objects.

        Args:
            task_id: the task; submitted once.
            status: its end.
            within: seconds until the callback.
            drained: whether its queue must be empty then, too.

        Returns:
            The submission as its record has it at last.
        """
        heard = self.deployment.callbacks.wait_for(task_id, within=within)
        submission = self.wait_status(task_id, status)
        if drained:
            self.wait_drained(submission.runtime, dead=int(submission.dead_lettered))
        self.assert_agrees(task_id, submission, [heard, *self.deployment.callbacks.heard(task_id)])
        return submission

    def assert_agrees(self, task_id: str, submission: Submission, heard: Iterable[ReceivedCallback]) -> None:
        """Asserts that callbacks, record and objects of a task that was submitted once tell the same."""
        wanted = encode_callback(TaskRef(task_id), submission, bucket=self.deployment.place.output_bucket)
        for callback in heard:
            assert callback.body == json.loads(wanted.message)
            assert callback.attributes["submission"] == submission.submission
        named = {split_s3_url(url)[1] for url in [*submission.image_url, submission.output_url] if url}
        stored = self.deployment.object_keys(output_prefix(submission.prefix, TaskRef(task_id)) + "/")
        assert set(stored) == named, "objects that no callback names, or the other way round"
        assert self.deployment.object_keys(f".payloads/{task_id}/") == []

    def dead_letters(self, runtime: str) -> list[dict[str, Any]]:
        """Returns messages of a dead-letter queue, at most ten: each its `body`, and its attributes by their names."""
        url = self.deployment.dead_letter_url(runtime)
        found = self.deployment.clients.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=1
        ).get("Messages", [])
        return [
            {
                "body": message["Body"],
                **{name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()},
            }
            for message in found
        ]

    def redrive(self, runtime: str) -> None:
        """Moves all messages of a runtime's dead-letter queue back, each as it is."""
        sqs, url = self.deployment.clients.sqs, self.deployment.dead_letter_url(runtime)
        while messages := sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2).get("Messages", []):
            for message in messages:
                sqs.send_message(QueueUrl=self.deployment.queue_url(runtime), MessageBody=message["Body"])
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def traces(self) -> dict[str, str]:
        """Returns where a process wrote a stack trace, by its name: nothing that a test does may cause one."""
        found = {}
        for process in self.processes:
            text = process.text()
            at = text.find("Traceback (most recent call last)")
            if at >= 0:
                found[process.name] = text[max(0, at - 500) : at + 3000]
        return found

    def _aws_environment(self) -> dict[str, str]:
        return self.deployment.aws_environment() | {"AWS_ENDPOINT_URL": self.aws}

    def _start(
        self, module: str, *, ready_url: str, environment: dict[str, str] | None = None, arguments: Iterable[str] = ()
    ) -> Process:
        process = Process(
            f"{next(self._numbers):02}-{module}",
            module,
            folder=self.folder,
            environment=environment,
            arguments=list(arguments),
            ready_url=ready_url,
        )
        self.processes.append(process)
        return process


def unique(label: str = "task") -> str:
    """Returns a task id that no other test has used."""
    return f"{label}-{secrets.token_hex(5)}"


def task(
    task_id: str, runtime: str, *, prompt: str = "", tasktype: str = "text-to-image", **content: Any
) -> dict[str, Any]:
    """Returns a v1alpha2 task, small and quick."""
    return {
        "metadata": {
            "id": task_id,
            "runtime": runtime,
            "tasktype": tasktype,
            "prefix": "output",
            "context": {"test": task_id},
        },
        "content": {"prompt": f"{task_id} {prompt}".strip(), "steps": 4, "width": 64, "height": 64, **content},
    }


def workflow(text: str) -> dict[str, Any]:
    """Returns a workflow that draws one small picture from a text."""
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5-pruned-emaonly.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": text}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["1", 0],
                "positive": ["2", 0],
                "negative": ["2", 0],
                "latent_image": ["3", 0],
                "seed": 1,
                "steps": 4,
                "cfg": 7.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        },
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "image"}},
    }


def _yaml(config: Config) -> str:
    """Returns a config as the text of a config.yaml; JSON is YAML."""
    return json.dumps(config.model_dump(mode="json", by_alias=True, exclude_none=True))
