"""What an agent and SQS say to each other tells when each message came and went."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.bench.exchanges import Handling, QueueDiary, is_whole


def _request(operation: str, **document: object) -> bytes:
    body = json.dumps(document).encode()
    return b"POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.%s\r\nContent-Length: %d\r\n\r\n%s" % (
        operation.encode(),
        len(body),
        body,
    )


def _answer(status: int = 200, **document: object) -> bytes:
    body = json.dumps(document).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def _message(handle: str, task: str) -> dict[str, str]:
    return {"MessageId": "m", "ReceiptHandle": handle, "Body": json.dumps({"metadata": {"id": task}})}


def test_a_message_that_is_received_and_deleted_was_handled_between_the_two() -> None:
    diary = QueueDiary()

    diary.note(_request("ReceiveMessage"), _answer(Messages=[_message("h1", "one"), _message("h2", "two")]), 10.0)
    diary.note(_request("DeleteMessage", ReceiptHandle="h1"), _answer(), 11.5)

    assert diary.handlings() == [Handling("one", 10.0, 11.5)]


def test_messages_deleted_together_are_each_deleted_and_refused_deletions_are_none() -> None:
    diary = QueueDiary()
    diary.note(_request("ReceiveMessage"), _answer(Messages=[_message("h1", "one"), _message("h2", "two")]), 1.0)

    diary.note(_request("DeleteMessage", ReceiptHandle="h1"), _answer(400), 2.0)
    diary.note(_request("DeleteMessageBatch", Entries=[{"ReceiptHandle": "h2"}, {"ReceiptHandle": "h1"}]), _answer(), 3)

    assert {(item.task_id, item.deleted) for item in diary.handlings()} == {("one", 3), ("two", 3)}


def test_an_answer_in_chunks_is_read_too() -> None:
    body = json.dumps({"Messages": [_message("h", "one")]}).encode()
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:10], body[10:]))
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
    diary = QueueDiary()

    diary.note(_request("ReceiveMessage"), answer, 1.0)

    assert is_whole(answer)
    assert not is_whole(answer[:-5])
    assert diary.received == {"h": ("one", 1.0)}


@given(st.integers(0, 40))
def test_an_answer_is_whole_when_its_announced_length_is_there(missing: int) -> None:
    answer = _answer(text="x" * 50)

    assert is_whole(answer[: len(answer) - missing]) == (missing == 0)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_passes_by_the_diary_stays_readable(request: bytes, response: bytes) -> None:
    diary = QueueDiary()

    diary.note(request, response, 1.0)
    diary.note(_request("ReceiveMessage"), b"HTTP/1.1 200 OK\r\n\r\n" + response, 1.0)

    is_whole(response)
    assert diary.handlings() == []
