"""A task's links may name its own tenant's results, whichever server they are for."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest

from agent.errors import PermanentError
from agent.holdings import Delivery, Holdings
from agent.inputs import Inputs
from agent.inputs.fetch import Fetcher
from agent.inputs.payloads import Payloads
from contract.task import RuntimeType, TaskMessage, TaskType
from tests.unit.agent.runtime_support import adapter_of, no_dns, png
from tests.unit.agent.test_hostile_links import ClosedS3

LINK = "s3://output/alice/output/x/x-abcd-1.png"
CONTENTS: dict[RuntimeType, tuple[TaskType, dict[str, Any]]] = {
    RuntimeType.SDWEBUI: (TaskType.IMAGE_TO_IMAGE, {"init_images": [LINK]}),
    RuntimeType.HTTP: (TaskType.IMAGE_TO_IMAGE, {"image": LINK}),
    RuntimeType.OPENAI: (TaskType.IMAGE_TO_IMAGE, {"prompt": "a dog", "init_images": [LINK]}),
    RuntimeType.COMFYUI: (TaskType.PIPELINE, {"1": {"class_type": "LoadImage", "inputs": {"image": LINK}}}),
    RuntimeType.INVOKEAI: (
        TaskType.PIPELINE,
        {"nodes": {"a": {"id": "a", "type": "img_blur", "image": {"image_name": LINK}}}, "edges": []},
    ),
}


class Asked:
    """An input source that remembers for whom it was asked."""

    def __init__(self) -> None:
        self.tenants: list[str] = []

    async def fetch_all(
        self, links: Iterable[str], *, tenant: str = "", of_any_kind: Collection[str] = ()
    ) -> dict[str, bytes]:
        self.tenants.append(tenant)
        return dict.fromkeys(links, png())


@pytest.mark.parametrize("kind", RuntimeType)
async def test_links_are_fetched_for_the_tasks_tenant(kind: RuntimeType) -> None:
    asked = Asked()
    async with adapter_of(kind, "http://127.0.0.1:9", asked) as runtime:
        task_type, content = CONTENTS[kind]
        await runtime.prepare(task_type, content, tenant="alice")
    assert asked.tenants == ["alice"]


@pytest.mark.parametrize(
    "key",
    ["bob/output/x.png", "alice2/output/x.png", "Alice/output/x.png", "output/x.png", "alice", "alice%2Foutput/x.png"],
)
async def test_a_link_to_what_is_not_the_tenants_own_is_refused_before_s3_is_asked(key: str) -> None:
    inputs = Inputs(Fetcher(resolve=no_dns), ClosedS3(), "output", ["library"])
    with pytest.raises(PermanentError, match="begin with s3://output/alice/") as refusal:
        await inputs.fetch_all([f"s3://output/{key}"], tenant="alice")
    assert refusal.value.code == "input_refused"


def message(tenant: str, **more: Any) -> TaskMessage:
    metadata = {"id": "x", "tenant": tenant, "runtime": "r", "tasktype": "pipeline", "prefix": "p", "submission": "s"}
    return TaskMessage.model_validate({"metadata": metadata, "content": {}} | more)


def test_tasks_of_one_id_and_one_submission_are_twins_within_a_tenant_alone() -> None:
    holdings = Holdings()
    for number, tenant in enumerate(["alice", "bob", "alice"]):
        held = holdings.add(Delivery(str(number), "", ""))
        assert held is not None
        held.task, held.submission_id = message(tenant), "s"
    first, other, again = holdings
    assert holdings.twin_of(first) is again
    assert holdings.twin_of(other) is None


@pytest.mark.parametrize(
    ("tenant", "key"),
    [
        ("bob", ".payloads/alice/x/s.json"),
        ("bob", ".payloads/x/s.json"),
        ("", ".payloads/alice/x/s.json"),
        ("", ".payloads/x/y/s.json"),
        ("alice", ".payloads/alice/x/../y/s.json"),
        ("alice", ".payloads/alice/y/s.json"),
    ],
)
def test_a_payload_of_another_task_is_refused(tenant: str, key: str) -> None:
    payloads = Payloads(None, "output")  # type: ignore[arg-type]
    task = message(tenant, content=None, content_ref=f"s3://output/{key}")
    with pytest.raises(PermanentError, match="this very task"):
        payloads.key_of(task)
    own = message("alice", content=None, content_ref="s3://output/.payloads/alice/x/s.json")
    assert payloads.key_of(own) == ".payloads/alice/x/s.json"
