"""A rollout: two pods of one runtime with different images, told apart by their environments."""

from __future__ import annotations

from typing import Any

from contract.record import Status
from tests.support.stack import Stack, task, unique
from tests.support.waiting import eventually


def test_a_task_is_made_by_the_environment_that_it_demands_and_says_which_made_it(stack: Stack, runtime: str) -> None:
    stable, canary = (
        stack.start_pod(runtime, ready=False, RUNTIME_IMAGE=f"r.example/sdwebui@sha256:{digit * 64}") for digit in "ab"
    )
    for pod in (stable, canary):
        pod.wait_ready()
    place = f"/v1/runtimes/{runtime}/environment"

    def known() -> dict[str, Any] | None:
        answer = stack.get(place).json()
        return answer if len(answer.get("known", ())) == 2 else None

    newest = eventually(known)
    assert newest is not None
    locks = [stack.get(f"{place}/{item['hash']}").json() for item in newest["known"]]
    hashes = {lock["environment"]["image"][-1]: lock["hash"] for lock in locks}
    assert all(lock["environment"]["models"] for lock in locks)
    changes = stack.get(f"{place}/{hashes['b']}?against={hashes['a']}").json()["difference"]["changes"]
    assert [item["what"] for item in changes] == ["image"]

    agents = stack.get(f"/v1/runtimes/{runtime}/agents").json()["agents"]
    assert {agent["environment"] for agent in agents} <= {None, *hashes.values()}

    def submit(environment: str) -> tuple[int, str]:
        document = task(unique("demand"), runtime, steps=2)
        document["metadata"]["environment"] = environment
        return stack.post("/v1/tasks", {"task": document}).status_code, document["metadata"]["id"]

    assert submit("0" * 64)[0] == 409
    demands = [(submit(hashes[letter]), pod, hashes[letter]) for letter, pod in (("a", stable), ("b", canary))]
    for (status, task_id), pod, environment in demands:
        assert status == 202
        # Which pod comes by is chance: a task is handed back until it is the right one.
        stack.wait_ended_once(task_id, Status.SUCCEEDED, within=110, drained=False)
        assert len(pod.fake.runs(task_id)) == 1
        view = stack.get(f"/v1/tasks/{task_id}").json()
        assert (view["environment"], view["attempts"]) == (environment, 1)
    assert stack.get(f"/v1/tasks/{demands[0][0][1]}/request").json()["metadata"]["environment"] == hashes["a"]
