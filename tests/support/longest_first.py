"""The order of test files where several processes share them: the longest first, so that none is left for the end."""

from __future__ import annotations

from typing import Final

LONGEST: Final = (
    "tests/integration/loadtest/test_loadtest.py",
    "tests/integration/chaos/test_chaos.py",
    "tests/integration/local/test_up.py",
    "tests/integration/local/test_autoscale.py",
    "tests/integration/e2e/test_aws_trouble.py",
    "tests/integration/e2e/test_hard_times.py",
    "tests/integration/e2e/test_killed_agents.py",
    "tests/integration/console/test_console.py",
    "tests/integration/e2e/test_journeys.py",
    "tests/integration/e2e/test_aws_outage.py",
    "tests/cloud/tools/test_canary.py",
    "tests/integration/readme/test_readme.py",
    "tests/cloud/test_synthesis.py",
    "tests/integration/e2e/test_slots.py",
    "tests/integration/conformance/test_example_runtime.py",
    "tests/integration/conformance/test_comfyui.py",
    "tests/integration/e2e/test_recycling.py",
    "tests/integration/api/test_tasks.py",
    "tests/cloud/tools/test_image_cache.py",
    "tests/integration/e2e/test_hostile_links.py",
    "tests/cloud/tools/test_deploy.py",
    "tests/cloud/tools/test_redrive.py",
    "tests/integration/bench/test_bench.py",
    "tests/integration/e2e/test_runtime_faults.py",
    "tests/integration/local/test_environment.py",
    "tests/unit/loadtest/planner/test_command.py",
    "tests/integration/e2e/test_cancel.py",
    "tests/cloud/chart/test_objects.py",
)
"""Files that take six seconds and more on an idle machine, longest first."""

_PLACES: Final = {path: place for place, path in enumerate(LONGEST)}


def place_of(nodeid: str) -> int:
    """Returns where the file of a test comes; all others share the last place."""
    return _PLACES.get(nodeid.partition("::")[0], len(LONGEST))
