"""What operations take beside a body: parts of the path, of the query, and headers."""

from __future__ import annotations

from typing import Final

from api.lists import MOST, USUAL
from contract.record import Status
from contract.task import TaskType

TASK_ID: Final = {
    "name": "task_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "The task's id.",
}
IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]*$"},
    "description": "The same key with the same body happens once, however often it is sent; with another body: 409.",
}
COMFYUI: Final = {
    "name": "runtime",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "A runtime of type comfyui.",
}
OF_RUNTIME: Final = {
    "name": "runtime",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "Its name, as in config.yaml.",
}
ENVIRONMENT: Final = {
    "name": "hash",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "The environment's hash, such as a task's view has it.",
}
AGAINST: Final = {
    "name": "against",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "The hash of another environment of the runtime; the answer tells what has changed since that.",
}
WAIT: Final = {
    "name": "wait",
    "in": "query",
    "required": False,
    "schema": {"type": "number", "minimum": 0, "maximum": 60, "default": 0},
    "description": "Seconds to wait for the end of the task: 200 if it comes in time, otherwise 202. The server may "
    "wait shorter.",
}
NAME: Final = {
    "name": "name",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "The file's name, of which the ending counts; otherwise it follows from the Content-Type.",
}
UPLOAD: Final = {
    "name": "upload",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "As `POST /v1/inputs/uploads` has named it.",
}
PART_NUMBER: Final = {
    "name": "number",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
    "description": "From 1 to the number of parts.",
}
RUNTIME: Final = {
    "name": "runtime",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "Only this one's.",
}
TENANT: Final = {
    "name": "tenant",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "For an admin's API key: whose task is meant, where it is another one than the key's own.",
}
FILTERS: Final = [
    {"name": name, "in": "query", "required": False, "schema": schema, "description": description}
    for name, schema, description in (
        ("status", {"type": "string"}, f"With commas between them: {', '.join(Status)}."),
        ("runtime", {"type": "string"}, "Names of runtimes, with commas between them."),
        ("tasktype", {"type": "string"}, f"With commas between them: {', '.join(TaskType)}."),
        ("since", {"type": "string", "format": "date-time"}, "Submitted then or later."),
        ("until", {"type": "string", "format": "date-time"}, "Submitted before."),
        ("id_prefix", {"type": "string"}, "How the task's id begins."),
        ("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL}, "Tasks of a page."),
        ("cursor", {"type": "string"}, "`next` of the page before."),
    )
]
SPAN: Final = [
    {"name": name, "in": "query", "required": False, "schema": schema, "description": description}
    for name, schema, description in (
        (
            "by",
            {"type": "string"},
            "With commas between them: key, runtime, tag (all tags together), tag:NAME. Empty: the sum alone.",
        ),
        ("from", {"type": "string", "format": "date-time"}, "Ended then or later; otherwise the day so far (UTC)."),
        ("to", {"type": "string", "format": "date-time"}, "Ended before; otherwise now."),
    )
]
SUBMISSION: Final = {
    "name": "submission",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "An earlier submission of the task; left out: the newest one.",
}
DELIVERY: Final = {
    "name": "number",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
    "description": "The delivery's `n`.",
}
LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The id of the last event seen; a client that knows the end is answered with 204.",
}
LAST_SEEN: Final = {**LAST_EVENT_ID, "description": "The id of the last event seen."}
