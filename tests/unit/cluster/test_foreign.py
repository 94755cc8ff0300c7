"""kind, and a cluster that is there: which programs are run, in which order, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.versions import KEDA
from cluster import kind, providers
from cluster.kubectl import ClusterError
from cluster.options import ClusterOptions, Provider
from cluster.providers import ForeignCluster

PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >> "{log}"
case "$(basename "$0") $*" in
  "kind get clusters") printf '{clusters}' ;;
  "kubectl "*" version "*) echo '{{"serverVersion": {{"gitVersion": "v1.35.0"}}}}' ;;
  "kubectl "*" get customresourcedefinitions "*) printf '{keda}' ;;
  "docker network inspect kind") echo '[{{"IPAM": {{"Config": [{{"Gateway": "172.18.0.1"}}]}}}}]' ;;
esac
"""


class Machine:
    """A machine whose programs only note that they were run."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._log = folder / "log"
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        monkeypatch.setattr(providers, "_helm", lambda: str(folder / "helm"))
        monkeypatch.setattr("platform.system", lambda: "Linux")
        self.has()

    def has(self, *, clusters: str = "", keda: str = "") -> None:
        for name in ("kind", "docker", "kubectl", "helm"):
            path = self._folder / name
            path.write_text(PROGRAM.format(log=self._log, clusters=clusters, keda=keda))
            path.chmod(0o755)

    @property
    def ran(self) -> list[str]:
        return self._log.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def foreign(provider: Provider = Provider.KIND, context: str = "", host: str = "") -> tuple[ForeignCluster, list[str]]:
    said: list[str] = []
    options = ClusterOptions(Path("config.yaml"), provider, context=context, host_address=host)
    return ForeignCluster(options, said.append), said


async def through(cluster: ForeignCluster) -> str:
    await cluster.start()
    host = await cluster.emulator_host()
    await cluster.bring_keda()
    await cluster.bring_images()
    await cluster.end()
    return host


async def test_kinds_cluster_is_made_filled_and_removed(machine: Machine) -> None:
    cluster, _ = foreign()
    assert await through(cluster) == "172.18.0.1"
    short = [" ".join(line.split()[:4]) for line in machine.ran]
    assert short == [
        "kind get clusters",
        "kind create cluster --name",
        "kubectl --context kind-darkroom version",
        "docker network inspect kind",
        "kubectl --context kind-darkroom get",
        "helm upgrade --install keda",
        *(
            [
                "docker build --file " + str(Path(__file__).parents[3] / part / "Dockerfile")
                for part in ("agent", "fake_runtime")
            ]
        ),
        "kind load docker-image darkroom/agent:local",
        "kind delete cluster --name",
    ]
    [helm] = [line for line in machine.ran if line.startswith("helm")]
    assert f"keda --repo {KEDA.repository} --version {KEDA.version} --namespace keda" in helm
    assert helm.endswith("--kube-context kind-darkroom")


async def test_a_cluster_of_kinds_that_was_there_stays_and_so_does_keda(machine: Machine) -> None:
    machine.has(clusters="darkroom", keda="{}")
    cluster, said = foreign()
    await through(cluster)
    assert not [line for line in machine.ran if line.startswith(("kind create", "kind delete", "helm"))]
    assert said[0] == f"kind's cluster {kind.NAME!r} is there already: it is used, and stays"


async def test_in_a_cluster_that_is_there_only_keda_is_made_and_removed(machine: Machine) -> None:
    cluster, said = foreign(Provider.CONTEXT, context="mine", host="10.0.0.7")
    assert await through(cluster) == "10.0.0.7"
    assert not [line for line in machine.ran if line.startswith(("kind", "docker"))]
    assert [line.split()[1] for line in machine.ran if line.startswith("helm")] == ["upgrade", "uninstall"]
    assert all("mine" in line for line in machine.ran)
    assert said[0] == "Kubernetes v1.35.0 at the context mine"


async def test_the_way_to_this_machine_must_be_named_where_nobody_can_know_it(machine: Machine) -> None:
    cluster, _ = foreign(Provider.CONTEXT, context="mine")
    await cluster.start()
    with pytest.raises(ClusterError, match="needs --host-address"):
        await cluster.emulator_host()


async def test_a_program_that_is_missing_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    cluster, _ = foreign()
    with pytest.raises(ClusterError, match="needs docker on the PATH; or use --provider processes"):
        await cluster.start()
