"""The processes of a control plane, each with its command line; every one listens on 127.0.0.1 alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster.builds import Programs
from cluster.pki import Authority, kubeconfig, make_signing_key
from cluster.ports import ControlPorts
from local.harness.plan import Component, Stage

CONTEXT: Final = "darkroom"
KEDA_NAMESPACE: Final = "keda"

_SERVICES: Final = "10.96.0.0/16"
_LOOPBACK: Final = "127.0.0.1"
_STOP_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Files:
    """Where a cluster keeps what it is made of."""

    folder: Path

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.folder / "pki"

    @property
    def kubeconfig(self) -> Path:
        """Of whoever started the cluster."""
        return self.folder / "kubeconfig"

    def kubeconfig_of(self, user: str) -> Path:
        """Returns where the kubeconfig of a component is."""
        return self.folder / "kubeconfigs" / user

    def log(self, name: str) -> Path:
        """Returns where a component's log is."""
        return self.folder / "logs" / f"{name}.log"


def write_identities(files: Files, ports: ControlPorts) -> None:
    """Makes the authorities, certificates and kubeconfigs of a new cluster."""
    for folder in (files.pki, files.folder / "kubeconfigs", files.folder / "logs"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority, front = Authority(files.pki, "ca"), Authority(files.pki, "front-proxy-ca")
    own = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", _LOOPBACK, "10.96.0.1"]
    authority.issue("apiserver", "kube-apiserver", names=own)
    front.issue("front-proxy-client", "front-proxy-client")
    make_signing_key(files.pki)
    services = [
        f"keda-{name}.{KEDA_NAMESPACE}{end}" for name in ("operator", "metrics-apiserver") for end in ("", ".svc")
    ]
    keda = files.pki / "keda"
    keda.mkdir(exist_ok=True)
    tls = authority.issue("keda-tls", "keda", names=["localhost", _LOOPBACK, *services])
    for source, name in ((authority.certificate, "ca.crt"), (tls, "tls.crt"), (tls.with_suffix(".key"), "tls.key")):
        (keda / name).write_bytes(source.read_bytes())
    (keda / "tls.key").chmod(0o600)
    server = f"https://{_LOOPBACK}:{ports.api_server}"
    # KEDA has the rights of its own service account, as in any cluster, and no more.
    accounts = ["system:serviceaccounts", f"system:serviceaccounts:{KEDA_NAMESPACE}", "system:authenticated"]
    users = {
        "admin": ("darkroom-admin", ["system:masters"]),
        "controllers": ("system:kube-controller-manager", []),
        "scheduler": ("system:kube-scheduler", []),
        "keda": (f"system:serviceaccount:{KEDA_NAMESPACE}:keda-operator", accounts),
    }
    for name, (user, groups) in users.items():
        certificate = authority.issue(name, user, groups=groups)
        namespace = KEDA_NAMESPACE if name == "keda" else "default"
        text = kubeconfig(server, authority.certificate, certificate, context=CONTEXT, namespace=namespace)
        path = files.kubeconfig if name == "admin" else files.kubeconfig_of(name)
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")


def etcd(programs: Programs, files: Files, ports: ControlPorts) -> Component:
    """Returns the store. It does not wait for the disk: nothing of it outlives the cluster."""
    client, peer = f"http://{_LOOPBACK}:{ports.etcd}", f"http://{_LOOPBACK}:{ports.etcd_peer}"
    return _component(
        "etcd",
        Stage.STORE,
        (
            *(str(programs.cluster), "etcd", "--data-dir", str(files.folder / "etcd"), "--unsafe-no-fsync"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}", "--log-level", "warn"),
        ),
        files,
        port=ports.etcd,
        ready_path="/health",
        secure=False,
    )


def api_server(programs: Programs, files: Files, ports: ControlPorts) -> Component:
    """Returns the API server."""
    pki = files.pki
    return _component(
        "kube-apiserver",
        Stage.CONTROL_PLANE,
        (
            *(str(programs.cluster), "kube-apiserver", f"--etcd-servers=http://{_LOOPBACK}:{ports.etcd}"),
            *(f"--secure-port={ports.api_server}", f"--bind-address={_LOOPBACK}"),
            # Services lead nowhere here: the endpoint of `kubernetes` could not be a loopback address.
            *("--endpoint-reconciler-type=none", f"--service-cluster-ip-range={_SERVICES}"),
            *(f"--tls-cert-file={pki / 'apiserver.crt'}", f"--tls-private-key-file={pki / 'apiserver.key'}"),
            *(f"--client-ca-file={pki / 'ca.crt'}", "--authorization-mode=Node,RBAC"),
            # What the API server says of its callers to KEDA's adapter.
            f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
            "--requestheader-allowed-names=front-proxy-client",
            *("--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki / 'front-proxy-client.crt'}",
            f"--proxy-client-key-file={pki / 'front-proxy-client.key'}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
        ),
        files,
        port=ports.api_server,
        ready_path="/readyz",
    )


def controllers(programs: Programs, files: Files, ports: ControlPorts) -> Component:
    """Returns the controller manager, with the HorizontalPodAutoscaler's controller among the others."""
    config, pki = files.kubeconfig_of("controllers"), files.pki
    return _component(
        "kube-controller-manager",
        Stage.CONTROL_PLANE,
        (
            *(str(programs.cluster), "kube-controller-manager", f"--kubeconfig={config}"),
            *(f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}"),
            *(f"--bind-address={_LOOPBACK}", f"--secure-port={ports.controllers}", "--leader-elect=false"),
            *(f"--root-ca-file={pki / 'ca.crt'}", f"--service-account-private-key-file={pki / 'sa.key'}"),
            "--use-service-account-credentials=true",
        ),
        files,
        port=ports.controllers,
        ready_path="/healthz",
    )


def scheduler(programs: Programs, files: Files, ports: ControlPorts) -> Component:
    """Returns the scheduler."""
    config = files.kubeconfig_of("scheduler")
    return _component(
        "kube-scheduler",
        Stage.CONTROL_PLANE,
        (
            *(str(programs.cluster), "kube-scheduler", f"--kubeconfig={config}"),
            *(f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}"),
            *(f"--bind-address={_LOOPBACK}", f"--secure-port={ports.scheduler}", "--leader-elect=false"),
        ),
        files,
        port=ports.scheduler,
        ready_path="/healthz",
    )


def keda_operator(programs: Programs, files: Files, ports: ControlPorts) -> Component:
    """Returns KEDA's operator."""
    return _component(
        "keda-operator",
        Stage.KEDA,
        (
            *(str(programs.keda_operator), f"--cert-dir={files.pki / 'keda'}"),
            f"--health-probe-bind-address={_LOOPBACK}:{ports.keda_health}",
            f"--metrics-bind-address={_LOOPBACK}:{ports.keda_metrics}",
            f"--metrics-service-bind-address={_LOOPBACK}:{ports.keda_grpc}",
            *("--zap-log-level=info", "--zap-encoder=console", "--zap-time-encoding=rfc3339nano"),
        ),
        files,
        port=ports.keda_health,
        ready_path="/readyz",
        secure=False,
        environment=_keda_environment(files),
    )


def keda_adapter(programs: Programs, files: Files, ports: ControlPorts) -> Component:
    """Returns KEDA's metrics server, which the HorizontalPodAutoscaler's controller asks."""
    config, tls = files.kubeconfig_of("keda"), files.pki / "keda"
    return _component(
        "keda-adapter",
        Stage.KEDA,
        (
            *(str(programs.keda_adapter), f"--secure-port={ports.adapter}", f"--bind-address={_LOOPBACK}"),
            *(f"--port={ports.adapter_metrics}", f"--metrics-service-address=localhost:{ports.keda_grpc}"),
            *(f"--client-ca-file={tls / 'ca.crt'}", f"--cert-dir={tls}"),
            *(f"--tls-cert-file={tls / 'tls.crt'}", f"--tls-private-key-file={tls / 'tls.key'}"),
            *(f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}"),
            f"--lister-kubeconfig={config}",
        ),
        files,
        port=ports.adapter,
        ready_path="/healthz",
        environment=_keda_environment(files),
    )


def _keda_environment(files: Files) -> dict[str, str]:
    return {
        "KUBECONFIG": str(files.kubeconfig_of("keda")),
        "WATCH_NAMESPACE": "",
        "POD_NAMESPACE": KEDA_NAMESPACE,
        "KEDA_CLUSTER_OBJECT_NAMESPACE": KEDA_NAMESPACE,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _component(
    name: str,
    stage: Stage,
    command: tuple[str, ...],
    files: Files,
    *,
    port: int,
    ready_path: str,
    secure: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Component:
    # Nothing of the caller's: neither a proxy nor credentials for AWS.
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TZ", "TMPDIR") if key in os.environ}
    return Component(
        name=name,
        stage=stage,
        command=command,
        environment=kept | dict(environment or {}),
        port=port,
        ready_path=ready_path,
        secure=secure,
        stop_timeout=_STOP_SECONDS,
        log=files.log(name),
    )
