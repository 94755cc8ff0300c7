"""When an attribute counts as different."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from local.provision import differing

JSON = st.recursive(
    st.text(max_size=5) | st.integers(0, 99),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(wanted=st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.dictionaries(st.text(max_size=3), JSON)))
def test_what_was_set_does_not_differ_however_it_is_spaced(wanted: dict[str, Any]) -> None:
    found = {
        name: value if isinstance(value, str) else json.dumps(value, indent=2, sort_keys=True)
        for name, value in wanted.items()
    }
    assert differing(wanted, found) == {}
    assert differing(wanted, differing(wanted, {})) == {}


def test_only_what_differs_is_set() -> None:
    wanted = {"VisibilityTimeout": "60", "RedrivePolicy": {"maxReceiveCount": 100}, "Policy": {"Version": "1"}}
    found = {"VisibilityTimeout": "30", "RedrivePolicy": '{"maxReceiveCount": "100"}', "Policy": "{broken", "More": "x"}
    assert differing(wanted, found) == {"VisibilityTimeout": "60", "Policy": '{"Version":"1"}'}
