"""The schema of `config.yaml`, the one file that describes a deployment, and errors that a person can act on."""

from __future__ import annotations

import difflib
import re
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from contract.identifiers import RuntimeName, StackName, check_tenant
from contract.origins import parse_origins
from contract.outputs import OutputRules
from contract.task import RuntimeType

_BUCKET: Final = re.compile(r"[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]", re.ASCII)
_BUCKET_ARN: Final = re.compile(r"arn:(aws|aws-cn|aws-us-gov):s3:::[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]", re.ASCII)
_NAMED_IMAGE: Final = re.compile(r"[a-z0-9][-a-zA-Z0-9._:/]*(?::[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})", re.ASCII)
_SNAPSHOT: Final = re.compile(r"snap-[0-9a-f]{8,17}", re.ASCII)
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
_ROLE: Final = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_URL: Final = re.compile(r"https?://[^\s/?#@]+/\S+", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_CERTIFICATE: Final = re.compile(r"arn:aws(-cn|-us-gov)?:(acm|iam):[-a-z0-9]*:[0-9]{12}:[-\w/]+", re.ASCII)
_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)


class ConfigError(Exception):
    """A config.yaml that cannot be used; one line per fault: where, what was found, what is allowed."""


def _bucket_arn(value: str) -> str:
    if value and not _BUCKET_ARN.fullmatch(value):
        raise ValueError("must be a bucket's ARN, such as arn:aws:s3:::my-models (arn:aws-cn:s3:::… in China)")
    return value


def _input_bucket(value: str) -> str:
    if not _BUCKET.fullmatch(value) or ".." in value:
        raise ValueError("must be a bucket's name, such as my-uploads, without s3:// and without a key")
    return value


def _output_bucket(value: str) -> str:
    if value and not _BUCKET.fullmatch(value):
        raise ValueError("must be a bucket's name, such as darkroom-output-123456789012")
    return value


def _account(value: str) -> str:
    if value and not _ACCOUNT.fullmatch(value):
        raise ValueError("must be an account's twelve digits, in quotes, such as '123456789012'")
    return value


def _role_name(value: str) -> str:
    if value and not _ROLE.fullmatch(value):
        raise ValueError("must be a role's name (not its ARN), such as KarpenterNodeRole-darkroom")
    return value


def _model_filename(value: str) -> str:
    if not value or "/" in value or "\\" in value or value.startswith("."):
        raise ValueError("must be a file name, such as v1-5-pruned-emaonly.safetensors")
    return value


def _namespace(value: str) -> str:
    if not _NAMESPACE.fullmatch(value):
        raise ValueError("must be a Kubernetes namespace: 1 to 63 lower-case letters, digits and dashes")
    return value


def _chart_repository(value: str) -> str:
    if value and not value.startswith(("oci://", "https://", "http://")):
        raise ValueError("must start with oci://, https:// or http://")
    return value


def _image(value: str) -> str:
    if value and not _NAMED_IMAGE.fullmatch(value):
        raise ValueError("must be an image with its digest or tag, such as registry/darkroom/api@sha256:…")
    return value


def _snapshot(value: str) -> str:
    if value and not _SNAPSHOT.fullmatch(value):
        raise ValueError("must be an EBS snapshot's id, such as snap-0123456789abcdef0")
    return value


def _download(value: str) -> str:
    if not _URL.fullmatch(value):
        raise ValueError("must be a file's URL of http:// or https://, without a user or a password")
    return value


def _sha256(value: str) -> str:
    if not _SHA256.fullmatch(value):
        raise ValueError("must be a SHA-256 of 64 lower-case hexadecimal digits, as sha256sum prints it")
    return value


def _safetensors(value: str) -> str:
    if not _model_filename(value).endswith(".safetensors"):
        raise ValueError("must be the name of a .safetensors file; other kinds can run code, so push them by hand")
    return value


def _certificate(value: str) -> str:
    if value and not _CERTIFICATE.fullmatch(value):
        raise ValueError("must be a certificate's ARN, such as arn:aws:acm:us-west-2:123456789012:certificate/0123abcd")
    return value


def _network_list(value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    for item in value or ():
        try:
            IPv4Network(item)
        except ValueError as error:
            raise ValueError(f"must be IPv4 networks, such as 203.0.113.0/24: {error}") from error
    return value


def _email(value: str) -> str:
    if value and not _EMAIL.fullmatch(value):
        raise ValueError("must be an e-mail address, such as operators@example.com")
    return value


TenantName = Annotated[str, AfterValidator(check_tenant)]
KeyIds = Annotated[tuple[Annotated[str, Field(pattern=r"^[a-z0-9]{1,19}$")], ...], Field(strict=False)]
"""Of API keys in Amazon API Gateway, such as a1b2c3d4e5. The keys themselves, which never stand here, are longer."""


class _Strict(BaseModel):
    """Refuses keys it does not know, and never turns one type into another."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Throttle(_Strict):
    """How many requests one API key may send."""

    rate_limit: Annotated[float, Field(alias="rateLimit", gt=0, le=10_000)] = 30
    """Requests per second, sustained."""
    burst_limit: Annotated[int, Field(alias="burstLimit", gt=0, le=5_000)] = 50
    """Requests at once."""


class ApiGateway(_Strict):
    """The front door. In AWS an API key is known by its id, which `aws apigateway get-api-keys` lists."""

    stage_name: Annotated[str, Field(alias="stageName", pattern=r"^[A-Za-z0-9_]{1,128}$")] = "prod"
    throttle: Throttle = Throttle()
    cors_allowed_origins: Annotated[
        tuple[str, ...], Field(alias="corsAllowedOrigins", strict=False), AfterValidator(parse_origins)
    ] = ()
    """Browser applications that may use the API and read results, such as https://studio.example; empty: none."""
    tenants: dict[TenantName, KeyIds] = {}
    """The ids of each tenant's API keys in AWS. Any other key is a tenant by itself, named by its id."""
    admins: dict[TenantName, KeyIds] = {}
    """The same for keys that may read and cancel every tenant's tasks."""
    shared: bool = False
    """All keys share one space of tasks in AWS; there are no tenants."""
    secret_version: Annotated[str, Field(alias="secretVersion", pattern=r"^([-A-Za-z0-9]{32,64})?$")] = ""
    """The version of its secret by which the gateway proves itself; empty: the one that is current when it is
    deployed."""

    @model_validator(mode="after")
    def _each_key_once(self) -> Self:
        keys = [key for named in (self.tenants, self.admins) for ids in named.values() for key in ids]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise ValueError(f"the API key {twice!r} is named twice in tenants and admins; leave it in one place")
        return self


class RuntimeConfig(_Strict):
    """One runtime: one queue, one deployment, one kind of server."""

    name: RuntimeName
    namespace: Annotated[str, AfterValidator(_namespace)] = "default"
    type: Annotated[RuntimeType, Field(strict=False)]
    model_filename: Annotated[str | None, Field(alias="modelFilename")] = None
    """SD Web UI: the checkpoint that a static runtime holds."""
    dynamic_model: Annotated[bool, Field(alias="dynamicModel")] = False
    """SD Web UI: whether a request may name its checkpoint."""
    outputs: OutputRules = OutputRules()
    """What becomes of its results before they are stored (docs/marks.md)."""
    chart_repository: Annotated[str, Field(alias="chartRepository"), AfterValidator(_chart_repository)] = ""
    chart_version: Annotated[str, Field(alias="chartVersion")] = ""
    chart_name: Annotated[str, Field(alias="chartName", pattern=r"^([a-z0-9][-a-z0-9.]{0,127})?$")] = ""
    """Of the chart in an HTTP repository; empty: `darkroom-runtime`. The address of an OCI one ends with it."""
    extra_values: Annotated[dict[str, Any], Field(alias="extraValues")] = {}
    """Values handed to the Helm chart as they are; the chart has a schema of its own."""

    @field_validator("model_filename")
    @classmethod
    def _check_model_filename(cls, value: str | None) -> str | None:
        return None if value is None else _model_filename(value)

    @property
    def static_checkpoint(self) -> str | None:
        """The checkpoint by which tasks reach this runtime; None for any but static SD Web UI runtimes."""
        if self.type is RuntimeType.SDWEBUI and not self.dynamic_model:
            return self.model_filename
        return None


class ModelStorage(StrEnum):
    """Where the runtimes find their models."""

    S3 = "s3"
    """The model bucket itself, mounted read-only by Mountpoint for S3."""
    EFS = "efs"
    """A shared file system, to which the model bucket is copied every hour."""


_Image = Annotated[str, AfterValidator(_image)]
_Email = Annotated[str, AfterValidator(_email)]


class Images(_Strict):
    """Which images run, best by digest; empty: the tag `latest` of the repository that the registry stack makes."""

    api: _Image = ""
    agent: _Image = ""
    collector: _Image = ""
    """The AWS Distro for OpenTelemetry's, which takes traces; empty: the pinned one of ECR Public."""
    webhooks: _Image = ""
    runtimes: dict[Annotated[RuntimeType, Field(strict=False)], _Image] = {}
    """By type. A runtime's own `extraValues.runtime.inferenceApi.image` comes first."""


class ModelSource(_Strict):
    """Where a model comes from that the model bucket lacks; `deploy --fetch-models` fetches it."""

    url: Annotated[str, AfterValidator(_download)]
    sha256: Annotated[str, AfterValidator(_sha256)]
    license: str = ""
    """What whoever fetches it agrees to: its name, and where it can be read."""


ChartName = Literal["karpenter", "karpenter-crd", "keda", "aws-load-balancer-controller"]
"""The charts of others that are installed."""


class InstalledChart(_Strict):
    """Where a chart of somebody else comes from; its version is pinned."""

    repository: Annotated[str, AfterValidator(_chart_repository)] = ""
    """Of HTTP, or the whole address of an OCI one; empty: its makers'."""
    values: dict[str, Any] = {}
    """Merged over those that the stack gives it, such as the address of its images."""


class ImageCache(_Strict):
    """The EBS snapshot that holds the images of every runtime."""

    snapshot_id: Annotated[str, Field(alias="snapshotId"), AfterValidator(_snapshot)] = ""
    """Empty: images are pulled. A runtime's own `karpenter.nodeTemplate.dataVolume.snapshotID` comes first."""


class Delivery(_Strict):
    """CloudFront over the output bucket: links to images that do not expire, open to whoever knows them."""

    enabled: bool = False
    price_class: Annotated[Literal["PriceClass_100", "PriceClass_200", "PriceClass_All"], Field(alias="priceClass")] = (
        "PriceClass_100"
    )
    """How far the images are carried; `PriceClass_100` is North America, Europe and Israel."""


class Releases(_Strict):
    """What EKS itself runs; `deploy` asks for the current ones. What is not named stays as it was when it was made."""

    component_nodes: Annotated[str, Field(alias="componentNodes", pattern=r"^([0-9]+\.[0-9]+\.[0-9]+-[0-9a-f]+)?$")] = (
        ""
    )
    """Of the managed nodes that the components run on: Bottlerocket's version and commit, such as 1.66.0-0123abcd."""
    add_ons: Annotated[dict[str, Annotated[str, Field(pattern=r"^v[0-9][-.0-9a-z]*$")]], Field(alias="addOns")] = {}
    """By the add-on's name, such as v1.20.4-eksbuild.1."""


class Alarms(_Strict):
    """When somebody is to look."""

    email: _Email = ""
    """Who is told; empty: the alarms are there, and tell nobody."""
    oldest_message_seconds: Annotated[int, Field(alias="oldestMessageSeconds", ge=60)] = 900
    """A task has waited so long."""
    failed_percent: Annotated[float, Field(alias="failedPercent", gt=0, le=100)] = 5
    """Share of tasks that fail, over ten minutes."""
    gpu_idle_percent: Annotated[float, Field(alias="gpuIdlePercent", gt=0, le=100)] = 5
    """GPUs that are paid for are used less than this, for an hour."""


class Budget(_Strict):
    """A monthly budget of the whole deployment, by its tag; CloudFormation makes budgets in the older regions only."""

    monthly_usd: Annotated[int, Field(alias="monthlyUsd", gt=0)]
    email: Annotated[str, AfterValidator(_email), Field(min_length=1)]
    """Who is told at 80 per cent spent, and at 100 per cent forecast."""


class Sample(_Strict):
    """The sample application: the console on Fargate behind a load balancer, with the callbacks of the topic."""

    enabled: bool = False
    allowed_cidrs: Annotated[tuple[str, ...], Field(alias="allowedCidrs", strict=False)] = ()
    """Whom the load balancer lets in from outside; empty: it is reached from within the network alone."""
    certificate_arn: Annotated[str, Field(alias="certificateArn"), AfterValidator(_certificate)] = ""
    """Of its TLS certificate; empty: it speaks HTTP, which must not leave the network."""

    @field_validator("allowed_cidrs")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _network_list(value) or ()

    @model_validator(mode="after")
    def _keys_are_not_read(self) -> Self:
        if self.allowed_cidrs and not self.certificate_arn:
            raise ValueError(
                "with allowedCidrs, certificateArn is required: API keys would cross the Internet in the clear"
            )
        return self


class Cloud(_Strict):
    """What only AWS has; the local stack does not look at it."""

    nat_gateways: Annotated[int, Field(alias="natGateways", ge=1, le=3)] = 3
    """One per zone by default; fewer cost less, and a zone's failure then takes the way out of the others with it."""
    availability_zones: Annotated[tuple[str, ...], Field(alias="availabilityZones", strict=False)] = ()
    """Three zones or two; empty: those that `deploy` finds, since EKS does not take every zone of us-east-1, us-west-1
    and ca-central-1. They cannot be changed later: the network would have to be made anew."""
    public_access_cidrs: Annotated[tuple[str, ...] | None, Field(alias="publicAccessCidrs", strict=False)] = None
    """Who may reach the cluster's Kubernetes API besides the VPC (credentials are needed as well). None: the machine
    that `deploy` runs on, by the address that it finds. Empty: nobody."""
    model_storage: Annotated[ModelStorage, Field(alias="modelStorage", strict=False)] = ModelStorage.S3
    model_bucket_owner: Annotated[str, Field(alias="modelBucketOwner"), AfterValidator(_account)] = ""
    """The account that owns the model bucket; empty: the deployment's own. Models from any other are refused."""
    model_sources: Annotated[
        dict[Annotated[str, AfterValidator(_safetensors)], ModelSource], Field(alias="modelSources")
    ] = {}
    """By file name, as `modelFilename` has it. Stable Diffusion 1.5 needs no entry."""
    output_bucket: Annotated[str, Field(alias="outputBucket"), AfterValidator(_output_bucket)] = ""
    """Empty: a name with stack, account and region. A deployment that has one keeps it: `deploy` looks."""
    node_role: Annotated[str, Field(alias="nodeRole"), AfterValidator(_role_name)] = ""
    """The role of Karpenter's nodes; empty: a name with stack and region. It is kept likewise."""
    input_buckets: Annotated[
        tuple[Annotated[str, AfterValidator(_input_bucket)], ...], Field(alias="inputBuckets", strict=False)
    ] = ()
    """Buckets besides the output bucket that tasks' `s3://` links may name; the agents may read their objects."""
    task_message_kib: Annotated[int, Field(alias="taskMessageKib", ge=256, le=1024)] = 256
    """Up to which size a task's content travels in its message; above it lies in the output bucket meanwhile."""
    upload_max_mib: Annotated[int, Field(alias="uploadMaxMib", ge=1, le=50 * 1024)] = 32
    """The largest input file that may be uploaded in parts. Agents fetch what their own `INPUT_MAX_BYTES` lets in."""
    webhooks: bool = False
    """Whether tasks may name webhooks: what delivers them runs beside the API then."""
    callback_errors: Annotated[bool, Field(alias="callbackErrors")] = False
    """Whether the JSON of callbacks has `status` and `error` besides what the reference documents."""
    keep_requests: Annotated[bool, Field(alias="keepRequests")] = True
    """Whether what tasks ask for is kept with their records, without its secrets, to be shown and retried."""
    images: Images = Images()
    charts: dict[ChartName, InstalledChart] = {}
    """Charts, and so images, that come from somewhere else, as in China."""
    image_cache: Annotated[ImageCache, Field(alias="imageCache")] = ImageCache()
    releases: Releases = Releases()
    delivery: Delivery = Delivery()
    sample: Sample = Sample()
    log_retention_days: Annotated[Literal[1, 3, 5, 7, 14, 30, 60, 90, 180, 365], Field(alias="logRetentionDays")] = 30
    alarms: Alarms = Alarms()
    budget: Budget | None = None
    tags: dict[str, str] = {}
    """Put on every resource."""

    @field_validator("availability_zones")
    @classmethod
    def _two_or_three_zones(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value and (len(set(value)) not in {2, 3} or len(set(value)) != len(value)):
            raise ValueError("must name two or three different zones, such as [us-east-1a, us-east-1b, us-east-1d]")
        return value

    @field_validator("public_access_cidrs")
    @classmethod
    def _networks(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return _network_list(value)


class Config(_Strict):
    """A whole deployment."""

    stack_name: Annotated[StackName, Field(alias="stackName")] = "darkroom"
    model_bucket_arn: Annotated[str, Field(alias="modelBucketArn"), AfterValidator(_bucket_arn)] = ""
    """Empty: a bucket of the deployment's own, whose name has stack, account and region."""
    api_gateway: Annotated[ApiGateway, Field(alias="APIGW")] = ApiGateway()
    runtimes: Annotated[tuple[RuntimeConfig, ...], Field(alias="modelsRuntime", strict=False)]
    cloud: Cloud = Cloud()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.runtimes:
            raise ValueError("modelsRuntime: must name at least one runtime; found []")
        _refuse_repeats("name", [runtime.name for runtime in self.runtimes])
        _refuse_repeats(
            "modelFilename", [runtime.static_checkpoint for runtime in self.runtimes if runtime.static_checkpoint]
        )
        if self.cloud.delivery.enabled and self.partition not in {"", "aws"}:
            raise ValueError(
                f"cloud.delivery.enabled: CloudFront has no origin access control in {self.partition}; set it to false"
            )
        for index, runtime in enumerate(self.runtimes):
            where = f"modelsRuntime.{index}"
            if runtime.name.endswith("-dlq") and self.runtime(runtime.name.removesuffix("-dlq")):
                raise ValueError(
                    f"{where}.name: the queue of {runtime.name!r} would be the dead-letter queue of "
                    f"{runtime.name.removesuffix('-dlq')!r}; choose another name"
                )
            if runtime.type is not RuntimeType.SDWEBUI and runtime.dynamic_model:
                raise ValueError(
                    f"{where}.dynamicModel: only an sdwebui runtime switches models; remove it or set it to false"
                )
            if runtime.chart_repository.startswith("oci://") and not runtime.chart_version:
                raise ValueError(f"{where}.chartVersion: is required with an oci:// chartRepository, such as 1.1.0")
            if runtime.chart_name and not runtime.chart_repository.startswith("http"):
                raise ValueError(
                    f"{where}.chartName: is for a chartRepository of https:// or http://; remove it (the address of an "
                    "oci:// one ends with the chart's name)"
                )
            if len(self.stack_name) + len(runtime.name) > 74:
                raise ValueError(
                    f"{where}.name: stackName and name together must be at most 74 characters, "
                    "because they name an SQS queue and its dead-letter queue (80 characters)"
                )
        return self

    def runtime(self, name: str) -> RuntimeConfig | None:
        """Returns the runtime of that name, or None."""
        return next((runtime for runtime in self.runtimes if runtime.name == name), None)

    def runtime_for_checkpoint(self, checkpoint: str | None) -> RuntimeConfig | None:
        """Returns who serves a checkpoint: the static runtime that holds it, else the first dynamic one, else None."""
        for runtime in self.runtimes:
            if checkpoint is not None and runtime.static_checkpoint == checkpoint:
                return runtime
        return next((runtime for runtime in self.runtimes if runtime.dynamic_model), None)

    def with_cors(self, origins: tuple[str, ...]) -> Self:
        """Returns the deployment with other origins of browser applications."""
        gateway = self.api_gateway.model_copy(update={"cors_allowed_origins": origins})
        return self.model_copy(update={"api_gateway": gateway})

    @property
    def model_bucket(self) -> str:
        """The name of the bucket that holds the models; empty: see `contract.topology`."""
        return self.model_bucket_arn.rpartition(":")[2]

    @property
    def partition(self) -> str:
        """The AWS partition that the model bucket names: `aws`, `aws-cn` or `aws-us-gov`; empty: it names none."""
        return self.model_bucket_arn.split(":")[1] if self.model_bucket_arn else ""


def _refuse_repeats(key: str, values: list[str]) -> None:
    seen: dict[str, int] = {}
    for index, value in enumerate(values):
        if value in seen:
            raise ValueError(
                f"modelsRuntime.{index}.{key}: {value!r} is already the {key} of modelsRuntime.{seen[value]}"
            )
        seen[value] = index


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a key that is there twice (the last one would win silently)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


def load_config(path: Path) -> Config:
    """Reads and checks a config.yaml.

    Raises:
        ConfigError: it is missing, unreadable, no YAML, or wrong; the text names the file and each faulty key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    try:
        return parse_config(text)
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


def describe_yaml_error(error: Exception) -> str:
    """Returns in one line what is wrong with a text and where; the file is for its reader to name."""
    # PyYAML calls a text that it was given without a name so.
    return " ".join(str(error).split()).replace('in "<unicode string>", ', "in ")[:500]


def parse_config(text: str) -> Config:
    """Reads and checks the text of a config.yaml.

    Raises:
        ConfigError: it is no YAML, or wrong; one line for each faulty key.
    """
    try:
        document = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a subclass of SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise ConfigError(f"is not YAML: {describe_yaml_error(error)}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"must be a mapping with the keys {_listed(_keys(Config))}; found {_found(document)}")
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError("\n".join(_line(item) for item in error.errors(include_url=False))) from error


_FORMER: Final = {
    "dynamicModelRuntime": "is an entry of modelsRuntime now; add {name: dynamicruntime, type: sdwebui, "
    "dynamicModel: true} there if it was enabled, and remove this"
}
"""Keys of the reference's predecessor that have gone, and what stands in their place."""

_SHAPES: Final = {
    "dict_type": "must be a mapping (key: value)",
    "tuple_type": "must be a list, each entry with a dash in front",
}
"""What YAML calls what pydantic names in Python's words, by its error types."""


def _line(item: Any) -> str:
    """Returns one fault as `path.to.key: what is wrong; found …`."""
    where = ".".join(str(part) for part in item["loc"])
    kind, message = item["type"], item["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        if where in _FORMER:
            return f"{where}: {_FORMER[where]}"
        allowed = _keys(_model_at(item["loc"][:-1]))
        close = difflib.get_close_matches(str(item["loc"][-1]), allowed, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{where}: unknown key; {hint}allowed here: {_listed(allowed)}"
    if kind == "missing":
        return f"{where}: is required and missing"
    if kind == "model_type":
        message = f"must be a mapping with keys of {_listed(_keys(_model_at(item['loc'])))}"
    message = _SHAPES.get(kind, message)
    if not where:
        return str(message)
    return f"{where}: {message[:1].lower()}{message[1:]}; found {_found(item['input'])}"


def _model_at(path: tuple[Any, ...]) -> type[BaseModel]:
    """Returns the model that describes the mapping at a path of config.yaml."""
    model: type[BaseModel] = Config
    for part in path:
        if isinstance(part, int):
            continue
        for name, field in model.model_fields.items():
            if part in {name, field.alias}:
                candidates = [field.annotation, *get_args(field.annotation)]
                model = next(
                    (item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)), model
                )
    return model


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _listed(names: list[str]) -> str:
    return ", ".join(names)


def _found(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
