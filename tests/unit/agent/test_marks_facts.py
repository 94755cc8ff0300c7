"""What content credentials tell of a request is found in any, and is short."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.marks.facts import MOST, MOST_TEXT, Facts, facts_of_answer, facts_of_request
from tests.support.stack import workflow

FACTS = facts_of_request({"prompt": workflow("a dog")})


def test_what_a_workflow_tells() -> None:
    assert FACTS.models == ("v1-5-pruned-emaonly.safetensors",)
    assert (FACTS.seeds, FACTS.prompts, len(FACTS.workflow)) == ((1,), ("a dog",), 64)
    assert facts_of_request({"prompt": dict(reversed(workflow("a dog").items()))}).workflow == FACTS.workflow
    assert facts_of_request({"prompt": workflow("a cat")}).workflow != FACTS.workflow
    asked = facts_of_request({"prompt": "a dog", "seed": -1, "override_settings": {"sd_model_checkpoint": "x"}})
    assert (asked.models, asked.seeds, asked.prompts) == (("x",), (), ("a dog",))


NAMES = st.sampled_from(["seed", "ckpt_name", "text", "model", "name", "prompt", "other"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, JSON))
def test_whatever_a_request_holds_its_facts_are_few_short_and_can_be_written(content: dict[str, Any]) -> None:
    facts = facts_of_request(content)
    assert max(map(len, (facts.models, facts.seeds, facts.prompts))) <= MOST
    assert all(0 < len(text) <= MOST_TEXT and text.encode() for text in (*facts.models, *facts.prompts))
    assert all(seed >= 0 for seed in facts.seeds)
    assert facts.joined(Facts()) == facts
    assert facts_of_answer(content) == Facts()
