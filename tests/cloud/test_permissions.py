"""Who may do what: each pod exactly what its part needs, and nobody else anything."""

from __future__ import annotations

import ast
from fnmatch import fnmatchcase
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from cloud.constructs.karpenter_policy import Scope, controller_policies
from cloud.constructs.results import API_ALONE
from contract import objects
from contract.topology import Topology, topology
from tests.cloud.synthesis import ACCOUNT, ROOT, Synthesis


@pytest.fixture(scope="module")
def place(default: Synthesis) -> Topology:
    return topology(default.config, region=default.region, account=ACCOUNT)


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements_of(assembly: Synthesis, namespace: str, service_account: str) -> list[dict[str, Any]]:
    """All statements of the policies that the pods of a service account have."""
    (association,) = [
        item
        for item in assembly.properties("AWS::EKS::PodIdentityAssociation")
        if (item["Namespace"], item["ServiceAccount"]) == (namespace, service_account)
    ]
    role = {"Ref": association["RoleArn"]["Fn::GetAtt"][0]}
    return [
        statement
        for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
        for policy in assembly.properties(kind)
        if role in policy.get("Roles", [])
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def allowed(assembly: Synthesis, namespace: str, service_account: str) -> set[tuple[str, str]]:
    """Pairs of action and resource that the pods of a service account may use; denials and conditions are left out."""
    return {
        (action, str(resource))
        for statement in statements_of(assembly, namespace, service_account)
        if statement["Effect"] == "Allow"
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


def may(assembly: Synthesis, who: tuple[str, str], action: str, resource: str) -> bool:
    """Returns what IAM decides of a call: a denial comes before all that allows it. Conditions are left out."""
    effects = {
        statement["Effect"]
        for statement in statements_of(assembly, *who)
        if any(fnmatchcase(action, item) for item in as_list(statement["Action"]))
        and any(fnmatchcase(resource, str(item)) for item in as_list(statement["Resource"]))
    }
    return effects == {"Allow"}


AGENT, API = ("default", "sdruntime"), ("darkroom", "api")


@pytest.mark.parametrize(
    ("key", "agent", "api"),
    [
        ("output/a/a-abcd-1.png", {"Get", "Put", "Delete"}, {"Get"}),
        (".tasks/a.json", {"Get", "Put"}, {"Get", "Put"}),
        (".tasks/alice/a.json", {"Get", "Put"}, {"Get", "Put"}),
        (".ended/a/01.json", {"Get", "Put"}, {"Get", "Put"}),
        (".payloads/a/01.json", {"Get", "Delete"}, {"Get", "Put"}),
        (".inputs/01.png", {"Get"}, {"Get", "Put"}),
        (".inputs/alice/01.png", {"Get"}, {"Get", "Put"}),
        (".lists/alice/submitted/head.json", {"Get", "Put"}, {"Get", "Put"}),
        (".usage/alice/days/2026-01-31/01/head.json", {"Get", "Put"}, {"Get", "Put"}),
        (".requests/a/01.json", set(), {"Get", "Put"}),
        (".runtimes/comfyruntime.jsonl.gz", {"Get", "Put"}, {"Get", "Put"}),
        (".agents/sdruntime/01.json", {"Get", "Put"}, {"Get", "Put"}),
        (".idempotency/a.json", set(), {"Get", "Put"}),
        (".sweeps/expiry.json", set(), {"Get", "Put"}),
        (".deadlines/20261201T083000.000Z/01/alice/a", set(), {"Get", "Put", "Delete"}),
        (".webhooks/alice/a/01.json", set(), {"Get", "Put"}),
    ],
)
def test_each_part_does_with_an_object_what_it_has_to(
    default: Synthesis, place: Topology, key: str, agent: set[str], api: set[str]
) -> None:
    for who, expected in ((AGENT, agent), (API, api)):
        arn = f"arn:aws:s3:::{place.output_bucket}/{key}"
        assert {name for name in ("Get", "Put", "Delete") if may(default, who, f"s3:{name}Object", arn)} == expected


def test_every_place_that_is_reserved_belongs_to_somebody() -> None:
    reserved = {value for name, value in vars(objects).items() if name.isupper() and str(value).startswith(".")}
    assert reserved >= {objects.RECORDS, objects.PAYLOADS, objects.IDEMPOTENCY}
    agents = (objects.RUNTIMES, objects.AGENTS, objects.USAGE)
    shared = (objects.RECORDS, objects.ENDED, objects.PAYLOADS, objects.INPUTS, objects.LISTS, *agents)
    assert all(value.startswith((*shared, *API_ALONE)) for value in reserved)


def test_agents_list_results_and_no_notes(default: Synthesis, place: Topology) -> None:
    [listing] = [
        item
        for item in statements_of(default, *AGENT)
        if item["Action"] == "s3:ListBucket" and place.output_bucket in str(item["Resource"])
    ]
    assert listing["Condition"] == {
        "StringNotLike": {"s3:prefix": ".*"},
        "StringEquals": {"aws:ResourceAccount": place.account},
    }


def test_a_runtimes_pods_reach_their_own_queue_and_no_other(default: Synthesis, place: Topology) -> None:
    bucket = f"arn:aws:s3:::{place.output_bucket}"
    models = place.model_bucket_arn
    for runtime in default.config.runtimes:
        queue = place.queue(runtime.name)
        own = place.queue_arn(queue.name)
        assert allowed(default, runtime.namespace, runtime.name) == {
            ("sqs:ReceiveMessage", own),
            ("sqs:DeleteMessage", own),
            ("sqs:ChangeMessageVisibility", own),
            ("sqs:GetQueueAttributes", own),
            ("sqs:GetQueueUrl", own),
            ("sqs:SendMessage", place.queue_arn(queue.dead_letter_name)),
            ("sns:Publish", place.callback_topic_arn),
            ("s3:ListBucket", bucket),
            ("s3:GetObject", f"{bucket}/*"),
            ("s3:PutObject", f"{bucket}/*"),
            ("s3:DeleteObject", f"{bucket}/*"),
            ("s3:ListBucket", models),
            ("s3:GetObject", f"{models}/*"),
        }


def test_agents_may_get_the_objects_of_input_buckets_and_nothing_else_there(everything: Synthesis) -> None:
    assert everything.config.cloud.input_buckets == ("studio-uploads",)
    for runtime in everything.config.runtimes:
        found = allowed(everything, runtime.namespace, runtime.name)
        assert [pair for pair in found if "studio-uploads" in pair[1]] == [
            ("s3:GetObject", "arn:aws:s3:::studio-uploads/*")
        ]
    assert not [pair for pair in allowed(everything, "darkroom", "api") if "studio-uploads" in pair[1]]


def test_agents_read_the_secret_that_signs_their_runtimes_results_and_no_other(everything: Synthesis) -> None:
    for runtime in everything.config.runtimes:
        found = allowed(everything, runtime.namespace, runtime.name)
        secret = runtime.outputs.signing_secret_arn
        wanted = [("secretsmanager:GetSecretValue", secret)] if secret else []
        assert [pair for pair in found if pair[0].startswith("secretsmanager")] == wanted
    assert any(runtime.outputs.signing_secret_arn for runtime in everything.config.runtimes)


def test_the_api_publishes_keeps_records_reads_lengths_and_takes_only_what_went_astray(
    default: Synthesis, place: Topology
) -> None:
    bucket = f"arn:aws:s3:::{place.output_bucket}"
    (secret,) = default.resources("AWS::SecretsManager::Secret")
    assert allowed(default, "darkroom", "api") == {
        ("secretsmanager:GetSecretValue", str({"Ref": secret})),
        ("sns:Publish", place.task_topic_arn),
        ("sns:Publish", place.callback_topic_arn),
        ("sns:GetTopicAttributes", place.task_topic_arn),
        ("sns:GetTopicAttributes", place.callback_topic_arn),
        *(("sqs:GetQueueAttributes", place.queue_arn(queue.name)) for queue in place.queues),
        *(("sqs:GetQueueUrl", place.queue_arn(queue.name)) for queue in place.queues),
        *(("sqs:SendMessage", place.queue_arn(queue.name)) for queue in place.queues),
        *(
            (f"sqs:{action}", place.queue_arn(astray))
            for astray in (place.undelivered, *(queue.dead_letter_name for queue in place.queues))
            for action in ("GetQueueUrl", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility")
        ),
        ("sqs:GetQueueUrl", place.queue_arn(place.webhooks)),
        ("sqs:SendMessage", place.queue_arn(place.webhooks)),
        ("s3:ListBucket", bucket),
        ("s3:GetObject", f"{bucket}/*"),
        ("s3:PutObject", f"{bucket}/.*"),
        ("s3:AbortMultipartUpload", f"{bucket}/.inputs/*"),
        ("s3:ListMultipartUploadParts", f"{bucket}/.inputs/*"),
        ("s3:DeleteObject", f"{bucket}/.deadlines/*"),
    }


ACTIONS = {
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListParts": "s3:ListMultipartUploadParts",
    "sns:PublishBatch": "sns:Publish",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
}
"""Operations that IAM knows under another name (Service Authorization Reference)."""


def actions_of(part: str, *, shared: bool = True) -> set[str]:
    """What IAM has to allow for the calls of AWS that a part makes itself and, if so, through what it shares.

    Calls are known by the names of botocore's methods.
    """
    operations = {
        xform_name(name): f"{service}:{name}"
        for service in ("s3", "sns", "sqs")
        for name in botocore.session.get_session().get_service_model(service).operation_names
    }
    called = {
        node.attr
        for folder in (part, *(["contract"] if shared else []))
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    return {ACTIONS.get(operation, operation) for name, operation in operations.items() if name in called}


@pytest.mark.parametrize(
    ("part", "namespace", "service_account"), [("api", "darkroom", "api"), ("agent", "default", "sdruntime")]
)
def test_each_call_of_aws_in_the_source_is_allowed(
    default: Synthesis, part: str, namespace: str, service_account: str
) -> None:
    made = actions_of(part)
    assert {"s3:GetObject", "s3:PutObject", "s3:ListBucket", "sns:Publish", "sqs:GetQueueAttributes"} <= made
    assert made - {action for action, _ in allowed(default, namespace, service_account)} == set()


def test_keda_may_read_the_length_of_our_queues_and_nothing_else(default: Synthesis, place: Topology) -> None:
    assert allowed(default, "keda", "keda-operator") == {
        ("sqs:GetQueueAttributes", place.queue_arn(queue.name)) for queue in place.queues
    }


def test_only_its_topic_may_send_to_a_queue_and_only_over_tls(default: Synthesis, place: Topology) -> None:
    stack = f"{default.config.stack_name}-messaging"
    queues = default.resources("AWS::SQS::Queue", stack)
    policies = {
        item["Queues"][0]["Ref"]: item["PolicyDocument"]["Statement"]
        for item in default.properties("AWS::SQS::QueuePolicy", stack)
    }
    assert policies.keys() == queues.keys()
    for logical_id, statements in policies.items():
        name = queues[logical_id]["Properties"]["QueueName"]
        grants = [statement for statement in statements if statement["Effect"] == "Allow"]
        assert len(grants) == (0 if name.endswith("-dlq") else 1)
        for grant in grants:
            assert grant["Principal"] == {"Service": "sns.amazonaws.com"}
            topic = place.callback_topic_arn if name == place.webhooks else place.task_topic_arn
            assert grant["Condition"] == {"ArnEquals": {"aws:SourceArn": topic}}
        assert [item["Condition"] for item in statements if item["Effect"] == "Deny"] == [
            {"Bool": {"aws:SecureTransport": "false"}}
        ]


def test_runtimes_on_a_file_system_are_not_let_into_the_model_bucket(everything: Synthesis) -> None:
    for runtime in everything.config.runtimes:
        granted = allowed(everything, runtime.namespace, runtime.name)
        assert granted
        assert not [resource for _, resource in granted if everything.config.model_bucket in resource]


def test_karpenters_controller_has_the_eighteen_published_statements(default: Synthesis) -> None:
    synthesized = [
        statement
        for item in default.properties("AWS::IAM::ManagedPolicy")
        for statement in item["PolicyDocument"]["Statement"]
    ]
    assert len(synthesized) == 18
    # Whatever writes must be held to this cluster, or to what one name says.
    unconditional = {item["Sid"] for item in synthesized if "Condition" not in item}
    assert unconditional == {
        "AllowScopedEC2InstanceAccessActions",  # what instances are started from
        "AllowAPIServerEndpointDiscovery",
        "AllowInterruptionQueueActions",
        "AllowSSMReadActions",
        "AllowPricingReadActions",
        "AllowUnscopedInstanceProfileListAction",
        "AllowInstanceProfileReadActions",
    }


def test_karpenter_may_use_the_keys_of_the_volumes_through_ec2_alone(default: Synthesis, everything: Synthesis) -> None:
    def statements(assembly: Synthesis) -> dict[str, Any]:
        return {
            item["Sid"]: item
            for policy in assembly.properties("AWS::IAM::ManagedPolicy")
            for item in policy["PolicyDocument"]["Statement"]
            if "kms" in str(item["Action"])
        }

    assert statements(default) == {}
    found = statements(everything)
    key = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/0123abcd-0123-4567-89ab-0123456789ab"
    assert {item["Resource"] for item in found.values()} == {key}
    assert found["AllowVolumeKeyGrants"]["Condition"]["Bool"] == {"kms:GrantIsForAWSResource": "true"}
    through = {"kms:ViaService": "ec2.us-east-1.amazonaws.com"}
    assert all(item["Condition"]["StringEquals"] == through for item in found.values())


def test_karpenters_policies_fit_for_the_longest_name() -> None:
    name = "S" * 40
    scope = Scope(
        partition="aws-us-gov",
        region="us-gov-west-1",
        account=ACCOUNT,
        cluster=name,
        node_role_arn=f"arn:aws-us-gov:iam::{ACCOUNT}:role/KarpenterNodeRole-{name}",
        queue_arn=f"arn:aws-us-gov:sqs:us-gov-west-1:{ACCOUNT}:{name}",
    )
    for statements in controller_policies(scope).values():
        # IAM quotas: a managed policy is at most 6,144 characters, white space not counted.
        assert len("".join(str(statements).split())) < 6144


def test_the_cluster_is_administered_by_the_access_role_alone(default: Synthesis) -> None:
    administrators = [
        item["PrincipalArn"]
        for item in default.properties("AWS::EKS::AccessEntry")
        for policy in item.get("AccessPolicies", [])
        if "AmazonEKSClusterAdminPolicy" in str(policy["PolicyArn"])
    ]
    roles = [arn["Fn::GetAtt"][0] for arn in administrators]
    # The other is the CDK's own function, which applies manifests and charts.
    assert sorted(role.rstrip("0123456789ABCDEF") for role in roles) == [
        "ClusterAccessRole",
        "ClusterKubectlProviderHandlerServiceRole",
    ]
    (cluster,) = default.properties("AWS::EKS::Cluster")
    assert cluster["AccessConfig"] == {
        "AuthenticationMode": "API",
        "BootstrapClusterCreatorAdminPermissions": False,
    }
