"""A server of OpenAI's image API behind an agent: pictures, a video, and a cancel."""

from __future__ import annotations

from typing import Any

from contract.record import Status
from contract.task import RuntimeType
from tests.support.stack import Stack, task, unique


def test_it_makes_pictures_and_videos_and_stops_what_is_cancelled(stack: Stack) -> None:
    runtime = stack.spare_runtime("openai", RuntimeType.OPENAI)
    pod = stack.start_pod(runtime, fake=stack.start_fake(kind="openai", latency=1))

    def submit_video(prompt: str) -> str:
        task_id = unique("video")
        metadata = task(task_id, runtime, tasktype="pipeline")["metadata"]
        body: dict[str, Any] = {"prompt": prompt, "size": "64x64", "seconds": 1, "num_inference_steps": 2}
        content = {"path": "/v1/videos", "body": body}
        answer = stack.post("/v1alpha2", {"task": {"metadata": metadata, "content": content}})
        assert answer.status_code == 200, answer.text
        return task_id

    picture = stack.submit(runtime, steps=2)
    made = stack.wait_ended_once(picture, Status.SUCCEEDED, drained=False)
    assert [url.rpartition(".")[2] for url in made.image_url] == ["png"]

    video = submit_video("a dog runs")
    made = stack.wait_ended_once(video, Status.SUCCEEDED, drained=False)
    assert [url.rpartition(".")[2] for url in made.image_url] == ["mp4"]

    endless = stack.submit(runtime, prompt="[[fault:hang]]")
    pod.fake.wait_running(endless)
    assert stack.cancel(endless).status_code == 202
    stack.wait_ended_once(endless, Status.CANCELLED, drained=False)
    assert [job["outcome"] for job in pod.fake.runs(endless)] == ["interrupted"]

    after = stack.submit(runtime, steps=2)
    stack.wait_ended_once(after, Status.SUCCEEDED)
