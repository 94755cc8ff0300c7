"""A callback travels as JSON that SQS takes, whatever the context holds."""

from __future__ import annotations

import json

from contract.callback import Callback, encode_callback


def test_a_callback_is_the_documented_json_without_characters_that_sqs_refuses() -> None:
    callback = Callback(id="ü", result=True, image_url=["s3://b/k"], output_url="", context={"a": "\ufffe\uffff\x01"})

    text = encode_callback(callback)

    assert not {"\ufffe", "\uffff", "\x01"} & set(text)
    assert json.loads(text) == {
        "id": "ü",
        "result": True,
        "image_url": ["s3://b/k"],
        "output_url": "",
        "context": {"a": "\ufffe\uffff\x01"},
    }
