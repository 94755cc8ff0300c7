"""What the hash of an environment stands for, what differs between two, and which of them are about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.environment import FRESH, LATELY, Extension, Index, Lock, ModelFile, differences
from contract.task import RuntimeType

LOCK = Lock(
    type=RuntimeType.COMFYUI,
    image="registry/comfyui@sha256:aa",
    version="0.33.0",
    packages={"python": "3.13.1", "pytorch": "2.13.0"},
    extensions=(Extension(name="KJNodes", version="1.2.3"), Extension(name="mine")),
    models=(ModelFile(folder="checkpoints", name="a.safetensors", size=7, digest="sha256:00"),),
    settings={"--cpu": True},
)
NOW = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "change",
    [
        {"type": RuntimeType.HTTP},
        {"fake": True},
        {"image": "registry/comfyui@sha256:bb"},
        {"image": None},
        {"server": "other"},
        {"version": "0.34.0"},
        {"packages": {"python": "3.13.1", "pytorch": "2.14.0"}},
        {"extensions": (Extension(name="KJNodes", version="1.2.4"), Extension(name="mine"))},
        {"extensions": ()},
        {"extensions": None},
        {"models": (ModelFile(folder="checkpoints", name="a.safetensors", size=7, digest="sha256:01"),)},
        {"models": (ModelFile(folder="loras", name="a.safetensors", size=7, digest="sha256:00"),)},
        {"models": None},
        {"settings": {"--cpu": "2"}},
    ],
)
def test_every_part_counts_for_the_hash_and_is_named_by_the_difference(change: dict[str, Any]) -> None:
    other = LOCK.model_copy(update=change)
    assert other.hash != LOCK.hash
    assert differences(LOCK, other)
    assert Lock.model_validate_json(other.model_dump_json()).hash == other.hash


@given(st.permutations([("a", "1"), ("b", "2"), ("c", "3")]))
def test_the_order_in_which_a_server_lists_counts_for_nothing(items: list[tuple[str, str]]) -> None:
    def lock(listed: list[tuple[str, str]]) -> Lock:
        return LOCK.model_copy(
            update={
                "packages": dict(listed),
                "extensions": tuple(Extension(name=name, version=version) for name, version in listed),
                "models": tuple(ModelFile(folder=version, name=name) for name, version in listed),
            }
        )

    assert lock(items).hash == lock(sorted(items)).hash
    assert differences(lock(items), lock(sorted(items))) == []


def test_the_hash_of_a_lock_stays_what_it_is() -> None:
    """It stands in records and requests: a change of the canonical form would rename all of them."""
    assert Lock(type=RuntimeType.HTTP).hash == "9a706511b14280337ab6f0cc7263a1b9c2cbbe0195bbd6feeb0f0dfa49864c00"
    assert LOCK.hash == "61dad575b824f2b58fb34123d9ae24afdee5fc91e6b760ce0789d97b6951f339"


def test_a_difference_reads_as_a_sentence_and_tells_unknown_from_absent() -> None:
    other = LOCK.model_copy(
        update={
            "version": None,
            "packages": {"python": "3.13.1"},
            "extensions": (Extension(name="KJNodes"), Extension(name="new", version="2")),
            "models": (ModelFile(folder="checkpoints", name="a.safetensors", size=7),),
        }
    )
    assert [item.sentence for item in differences(LOCK, other)] == [
        "version: 0.33.0 -> unknown",
        "package pytorch: removed, was 2.13.0",
        "extension KJNodes: 1.2.3 -> version unknown",
        "extension mine: removed, was version unknown",
        "extension new: added, 2",
        "model checkpoints/a.safetensors: 7 bytes, sha256:00 -> 7 bytes, digest unknown",
    ]


def test_an_index_knows_which_environments_are_about_and_forgets_the_oldest() -> None:
    index = Index()
    for minute in range(60):
        index = index.noting(f"{minute:064x}", NOW + timedelta(minutes=minute))
    assert len(index.seen) == 50
    assert index.newest_first()[0][0] == f"{59:064x}"
    later = NOW + timedelta(minutes=59)
    assert index.lately(f"{59:064x}", later + LATELY / 2)
    assert not index.lately(f"{59:064x}", later + LATELY)
    assert not index.lately(f"{0:064x}", later)
    assert FRESH < LATELY / 2
