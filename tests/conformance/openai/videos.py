"""Videos: jobs that are polled, fetched and deleted."""

from __future__ import annotations

from tests.conformance.case import Mark, case, check
from tests.conformance.openai.client import VIDEOS, OpenAi


@case("a video is made by a job, and its content is an MP4", Mark.NEEDS_MODEL)
async def video(server: OpenAi) -> None:
    job = await server.create_video()
    done = await server.ended(job["id"])
    check("the job", {"status": "completed"}, done)
    content = await server.send("GET", f"{VIDEOS}/{job['id']}/content", timeout=120)
    check("its content", (200, b"ftyp"), (content.status, content.data[4:8]))
    check("DELETE", 200, (await server.send("DELETE", f"{VIDEOS}/{job['id']}")).status)
    check("afterwards", 404, (await server.video(job["id"])).status)


@case("a video that is not made yet has no content, and can be deleted", Mark.NEEDS_MODEL)
async def video_deleted(server: OpenAi) -> None:
    job = await server.create_video(num_inference_steps=100, seconds="4", size="512x512")
    check("its content", 404, (await server.send("GET", f"{VIDEOS}/{job['id']}/content")).status)
    check("DELETE", 200, (await server.send("DELETE", f"{VIDEOS}/{job['id']}")).status)
    check("afterwards", 404, (await server.video(job["id"])).status)


@case("an unknown video is 404")
async def unknown_video(server: OpenAi) -> None:
    await server.create_video()
    check("GET", 404, (await server.video("video_unknown")).status)
    check("DELETE", 404, (await server.send("DELETE", f"{VIDEOS}/video_unknown")).status)
