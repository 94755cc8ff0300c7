"""How input files are stored: whole, or in parts."""

from __future__ import annotations

from typing import Any

from api import schemas
from api.openapi.build import Build
from api.openapi.parameters import NAME, PART_NUMBER, UPLOAD
from api.part_uploads import WantedUpload


def paths(build: Build) -> dict[str, Any]:
    """Returns the operations of each path."""
    stored = build.json("Stored for 30 days; name it in tasks by `s3`.", schemas.Uploaded)
    return {
        "/v1/inputs": {
            "post": build.operation(
                "uploadInput",
                "Upload an input file",
                {201: stored},
                400,
                408,
                413,
                415,
                503,
                tag="submit",
                description="The body is the file itself, with its Content-Type; no form.",
                parameters=[NAME],
                body={
                    "required": True,
                    "content": {
                        "application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}
                    },
                },
            )
        },
        "/v1/inputs/uploads": {
            "post": build.operation(
                "beginUpload",
                "Begin to upload a large input file",
                {201: build.json("Begun; send its parts within a day.", schemas.BegunUpload)},
                400,
                408,
                413,
                415,
                503,
                tag="submit",
                description="Its bytes then go to S3 directly, part by part, each by a link of its own.",
                body={
                    "required": True,
                    "content": {"application/json": {"schema": build.schema_of[WantedUpload]}},
                },
            )
        },
        "/v1/inputs/uploads/{upload}": {
            "delete": build.operation(
                "giveUpUpload",
                "Give an upload up",
                {204: {"description": "What had come of it is gone."}},
                400,
                404,
                503,
                tag="submit",
                parameters=[UPLOAD],
            )
        },
        "/v1/inputs/uploads/{upload}/parts/{number}": {
            "get": build.operation(
                "uploadPart",
                "Get the link that takes one part",
                {200: build.json("Send the part there; a later link replaces none before.", schemas.UploadPart)},
                400,
                404,
                503,
                tag="submit",
                parameters=[UPLOAD, PART_NUMBER],
            )
        },
        "/v1/inputs/uploads/{upload}/complete": {
            "post": build.operation(
                "completeUpload",
                "Put the parts together",
                {200: stored},
                400,
                404,
                409,
                503,
                tag="submit",
                description="409 has the code `upload_incomplete`, and `details.missing` the numbers of the parts that "
                "have to be sent. Done before, it answers the same again.",
                parameters=[UPLOAD],
            )
        },
    }
