"""What brings a cluster: command lines, configurations and the cache of programs."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from pathlib import Path

import pytest
import yaml

from cloud import versions
from cluster import builds, control_plane, kind
from cluster.builds import BuildError, Programs, build_key, ensure_programs
from cluster.control_plane import Files
from cluster.keda import keda_options, metrics_service
from cluster.kubectl import Access, ClusterError, run_program
from cluster.nodes import node, node_status
from cluster.pki import Authority
from cluster.ports import ControlPorts, cluster_ports
from contract.cluster_tls import cluster_context
from local.harness.plan import Component

PROGRAMS = Programs(Path("/c/cluster"), Path("/c/operator"), Path("/c/adapter"), Path("/c/config"))


@pytest.fixture
def ports() -> ControlPorts:
    return cluster_ports(12_000)[1]


def control(files: Files, ports: ControlPorts) -> list[Component]:
    return [
        make(PROGRAMS, files, ports)
        for make in (
            *(control_plane.etcd, control_plane.api_server, control_plane.controllers, control_plane.scheduler),
            *(control_plane.keda_operator, control_plane.keda_adapter),
        )
    ]


def test_no_process_of_a_cluster_listens_anywhere_but_on_the_loopback_interface(
    tmp_path: Path, ports: ControlPorts
) -> None:
    for component in control(Files(tmp_path), ports):
        binds = [
            word
            for word in component.command
            if re.search(r"(bind-address|listen-client-urls|listen-peer-urls)", word) or word.startswith("http://")
        ]
        assert binds, component.name
        assert all("127.0.0.1" in word for word in binds if "=" in word or "://" in word), component.name


def test_a_cluster_gets_nothing_of_the_callers_environment(
    tmp_path: Path, ports: ControlPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    for component in control(Files(tmp_path), ports):
        assert not {"AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"} & set(component.environment), component.name


def test_identities_are_kept_from_others_and_keda_is_its_own_service_account(
    tmp_path: Path, ports: ControlPorts
) -> None:
    files = Files(tmp_path)
    control_plane.write_identities(files, ports)
    keys = [*files.pki.rglob("*.key"), files.kubeconfig, *(tmp_path / "kubeconfigs").iterdir()]
    assert len(keys) > 8
    assert {path.stat().st_mode & 0o077 for path in keys} == {0}
    config = json.loads(files.kubeconfig_of("keda").read_text())
    assert config["contexts"][0]["context"]["namespace"] == "keda"
    assert config["clusters"][0]["cluster"]["server"] == f"https://127.0.0.1:{ports.api_server}"
    # What every component opens is there.
    for component in control(files, ports):
        for word in component.command:
            path = word.partition("=")[2]
            if path.startswith(str(tmp_path)):
                assert Path(path).exists(), word


async def test_the_authority_has_the_shape_of_eks_and_its_server_is_verified_all_the_same(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    certificate = authority.issue("server", "server", names=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server:
        strict = ssl.create_default_context(cafile=authority.certificate)
        with pytest.raises(ssl.SSLCertVerificationError, match="Key Identifier"):
            await asyncio.open_connection("127.0.0.1", port, ssl=strict)
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=cluster_context(str(authority.certificate)))
        writer.close()


def test_what_is_built_is_what_is_pinned_and_at_most_one_minor_version_behind_the_clouds() -> None:
    pinned = (builds.MODULE / "go.mod").read_text()
    assert f"k8s.io/kubernetes {builds.KUBERNETES}\n" in pinned
    assert f"go.etcd.io/etcd/server/v3 {builds.ETCD}\n" in pinned

    def minor(version: str) -> int:
        return int(version.removeprefix("v").split(".")[1])

    assert minor(versions.KUBERNETES) - minor(builds.KUBERNETES) in {0, 1}
    assert minor(versions.KUBERNETES) - minor(kind.NODE_IMAGE.rpartition(":")[2]) in {0, 1}
    assert minor(versions.KEDA.version) - minor(builds.KEDA) in {0, 1}
    assert keda_options()[3:5] == ("--version", versions.KEDA.version)


async def test_programs_in_the_cache_are_taken_and_without_go_the_way_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    with pytest.raises(BuildError, match=r"Go 1\.26.*--context NAME"):
        await ensure_programs(said.append, tmp_path)
    folder = tmp_path / build_key()
    for name in ("cluster", "keda-operator", "keda-adapter", "keda-config"):
        (folder / name).mkdir(parents=True)
    found = await ensure_programs(said.append, tmp_path)
    assert found.keda_operator == folder / "keda-operator"
    assert said == []


async def test_a_build_that_fails_says_why_and_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho 'main.go:7:2: no required module provides package' >&2\nexit 1\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(BuildError, match=r"building Kubernetes .* failed: .*no required module"):
        await ensure_programs(lambda _: None, tmp_path / "cache")
    assert list((tmp_path / "cache" / build_key()).iterdir()) == []


def test_kedas_metrics_server_is_built_to_listen_on_the_loopback_interface_alone(tmp_path: Path) -> None:
    module, main = tmp_path / "module", Path("cmd") / "adapter" / "main.go"
    (module / main).parent.mkdir(parents=True)
    (module / main).write_text('address := fmt.Sprintf(":%v", metricsAPIServerPort)')
    builds._copy_on_loopback(module, tmp_path / "copy")
    assert (tmp_path / "copy" / main).read_text() == 'address := fmt.Sprintf("127.0.0.1:%v", metricsAPIServerPort)'
    (module / main).write_text("address := elsewhere")
    with pytest.raises(BuildError, match="listens in another way than was known"):
        builds._copy_on_loopback(module, tmp_path / "other")


def test_kind_gets_a_cluster_whose_api_stays_on_this_machine() -> None:
    configuration = kind.configuration()
    assert configuration["networking"]["apiServerAddress"] == "127.0.0.1"
    assert yaml.safe_load(json.dumps(configuration)) == configuration
    assert kind.create_command()[:3] == ("kind", "create", "cluster")
    assert f"kind-{configuration['name']}" == kind.CONTEXT
    assert kind.load_command("a:1", "b:1") == ("kind", "load", "docker-image", "a:1", "b:1", "--name", "darkroom")


@pytest.mark.parametrize(
    ("network", "system", "wanted"),
    [
        ([{"IPAM": {"Config": [{"Gateway": "fc00::1"}, {"Gateway": "172.18.0.1"}]}}], "Linux", "172.18.0.1"),
        ([{"IPAM": {"Config": [{"Subnet": "fc00::/64"}, {"Gateway": "172.19.0.1/16"}]}}], "Linux", "172.19.0.1"),
        ([], "Darwin", "host.docker.internal"),
    ],
)
def test_pods_of_kind_reach_this_machine(network: list[object], system: str, wanted: str) -> None:
    assert kind.host_address(json.dumps(network), system) == wanted


def test_a_network_without_a_gateway_is_said() -> None:
    with pytest.raises(ValueError, match="no IPv4 gateway"):
        kind.host_address(json.dumps([{"IPAM": {"Config": None}}]), "Linux")


def test_the_way_to_kedas_metrics_leads_to_this_machine_with_its_authority(tmp_path: Path, ports: ControlPorts) -> None:
    (tmp_path / "ca.crt").write_text("x")
    service, registration = metrics_service(tmp_path / "ca.crt", ports)
    assert service["spec"]["externalName"] == "localhost"
    assert registration["spec"]["service"]["port"] == ports.adapter
    assert registration["spec"]["caBundle"]


def test_a_node_has_one_gpu_and_keeps_others_away() -> None:
    assert node(1)["spec"]["taints"][0]["key"] == "nvidia.com/gpu"
    assert node_status("2026-11-29T12:00:00Z")["status"]["allocatable"]["nvidia.com/gpu"] == "1"
    assert {node(number)["metadata"]["labels"]["topology.kubernetes.io/zone"] for number in range(1, 5)} == {
        "local-a",
        "local-b",
        "local-c",
    }


async def test_what_a_program_says_when_it_fails_is_passed_on() -> None:
    with pytest.raises(ClusterError, match=r"`sh -c .*` fails: no such release"):
        await run_program(("sh", "-c", "echo no such release >&2; exit 3"))
    with pytest.raises(ClusterError, match="took more than 0 s"):
        await run_program(("sleep", "30"), within=0.2)
    with pytest.raises(ClusterError, match="does not start"):
        await run_program(("/nowhere/kubectl",))


async def test_nothing_found_is_no_error() -> None:
    access = Access(("/bin/true",), "helm")
    assert await access.get("pods", "a") is None
    assert await access.items("pods") == []
