"""An agent of before there were webhooks: its callbacks bear no flag, and its record's model has no such field."""

from __future__ import annotations

from agent.__main__ import main
from contract import callback
from contract.processes import leave
from contract.record import Record, Submission

_attributes = callback.callback_attributes


def _without_flag(made: callback.Callback, submission: Submission, tenant: str) -> dict[str, str]:
    return {name: text for name, text in _attributes(made, submission, tenant).items() if name != "webhook"}


if __name__ == "__main__":
    del Submission.model_fields["webhook"]
    Submission.model_rebuild(force=True)
    Record.model_rebuild(force=True)
    vars(callback)["callback_attributes"] = _without_flag
    leave(main())
