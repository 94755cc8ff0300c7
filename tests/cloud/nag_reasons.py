"""Why each finding of cdk-nag (pack AwsSolutions) is left as it is: rule, construct, reason."""

from __future__ import annotations

from typing import Final

_MANAGED = r"AwsSolutions-IAM4\[Policy::arn:<AWS::Partition>:iam::aws:policy/"

REASONS: Final = [
    # AWS's own policies, where AWS's service documents them.
    (
        _MANAGED + r"(AmazonEKSWorkerNodePolicy|AmazonEKS_CNI_Policy|AmazonEC2ContainerRegistryPullOnly"
        r"|AmazonSSMManagedInstanceCore)\]",
        r"(Cluster/ComponentNodeRole|Karpenter/NodeRole)/Resource",
        "what EKS asks of a node's role; EKS changes them with what its nodes do",
    ),
    (
        _MANAGED + r"(AmazonEC2ContainerRegistryPullOnly|AmazonSSMManagedInstanceCore)\]",
        r"-registry/ImageCache/Role/Resource",
        "pulls images and is steered by Systems Manager, as a node",
    ),
    (_MANAGED + r"AmazonEKSClusterPolicy\]", r"Cluster/Cluster/Role/Resource", "EKS's own, for the control plane"),
    (
        _MANAGED + r"CloudWatchAgentServerPolicy\]",
        r"ContainerInsights/Agent/Role/Resource",
        "the add-on's documented policy: puts metrics and logs",
    ),
    (
        _MANAGED + r"service-role/AmazonEFSCSIDriverPolicy\]",
        r"Models/Controller/Role/Resource",
        "the driver's documented policy: access points that carry the driver's tag",
    ),
    (
        _MANAGED + r"service-role/AmazonAPIGatewayPushToCloudWatchLogs\]",
        r"FrontDoor/Api/CloudWatchRole/Resource",
        "the account's role for API Gateway's logs, which takes no other policy",
    ),
    # The CDK's own helper, which runs kubectl and helm.
    (
        r"AwsSolutions-IAM4\[.*\]",
        r"Cluster/Cluster/KubectlProvider/.*/ServiceRole/Resource",
        "made by the CDK for its Lambda functions",
    ),
    (
        r"AwsSolutions-IAM5\[.*\]",
        r"Cluster/Cluster/KubectlProvider/.*/ServiceRole/DefaultPolicy/Resource",
        "made by the CDK: reads its own assets, calls its own function",
    ),
    (
        r"AwsSolutions-L1",
        r"Cluster/Cluster/KubectlProvider/Handler/Resource",
        "the CDK chooses the Python for which the kubectl layer is built",
    ),
    # Karpenter, as published with it.
    (
        r"AwsSolutions-IAM5\[Resource::arn:aws:ec2:us-east-1:.*\]",
        r"Karpenter/NodeLifecycle/Resource",
        "instances that do not exist yet have no name; conditions hold it to this cluster's tags, and what it starts "
        "them from (images, subnets, groups) is named by node classes",
    ),
    (
        r"AwsSolutions-IAM5\[Resource::arn:aws:iam::\d+:instance-profile/\*\]",
        r"Karpenter/(IamIntegration|ResourceDiscovery)/Resource",
        "Karpenter names the profiles itself; conditions hold it to this cluster's tags, or it only reads",
    ),
    (
        r"AwsSolutions-IAM5\[Resource::\*\]",
        r"Karpenter/(ZonalShift|ResourceDiscovery)/Resource",
        "descriptions and prices, which have no resources in IAM; by condition of this region, or of this cluster",
    ),
    (
        r"AwsSolutions-IAM5\[Resource::arn:aws:ssm:us-east-1::parameter/aws/service/\*\]",
        r"Karpenter/ResourceDiscovery/Resource",
        "AWS's public parameters, which name the images of nodes",
    ),
    (
        r"AwsSolutions-IAM5\[Action::kms:(GenerateDataKey|ReEncrypt)\*\]",
        r"Karpenter/VolumeKeys/Resource",
        "both forms of a data key, and from and to a key, as EC2 asks for; of the named keys alone, and through EC2",
    ),
    (
        r"AwsSolutions-SQS3",
        r"Karpenter/Interruptions/Resource",
        "a warning that was not read in five minutes is of no use to anybody",
    ),
    # Ours.
    (
        r"AwsSolutions-SQS3",
        r"-messaging/Messaging/Undelivered/Resource",
        "the dead-letter queue of the subscriptions to the task topic; the rule knows those of queues only",
    ),
    (
        r"AwsSolutions-IAM5\[Resource::\*\]",
        r"(Tracing/Identity|LoadBalancerController/Controller)/Role/DefaultPolicy/Resource",
        "actions that have no resources in IAM: putting traces, describing targets",
    ),
    (
        r"AwsSolutions-IAM5\[Resource::arn:aws:s3:::[-a-z]+-(output-\d+|models|uploads)/(\.|\.(inputs|webhooks|deadlines)/)?\*\]",
        r"(Api/Identity/Role|Webhooks/Identity/Role|Runtimes/[-a-z]+\.identity/Role|Models/CopyRole)/DefaultPolicy/Resource",
        "objects are named by tasks and models; the buckets are named one by one",
    ),
    (
        r"AwsSolutions-VPC7",
        r"-network/Network/Vpc/Resource",
        "flow logs cost by the gigabyte, and models come by the terabyte; an organisation that needs them adds its own",
    ),
    (
        r"AwsSolutions-S1",
        r"-messaging/Results/Output/Resource",
        "the record of a task says who submitted it; an access log would need a further bucket to outlive the stack",
    ),
    (r"AwsSolutions-ELB2", r"FrontDoor/Entrance/Resource", "API Gateway, the only caller, logs every request"),
    (
        r"AwsSolutions-SMG4",
        r"Webhooks/Secret/Resource",
        "receivers must have a new value before it alone signs: docs/webhooks.md says how it is replaced",
    ),
    (
        r"AwsSolutions-SMG4",
        r"FrontDoor/Secret/Resource",
        "the gateway sends the value that it was deployed with: docs/cloud.md has the steps that replace it",
    ),
    (r"AwsSolutions-APIG2", r"FrontDoor/Api/Resource", "the API validates, and names the faulty field"),
    (r"AwsSolutions-APIG3", r"FrontDoor/Api/DeploymentStage.*/Resource", "a key is asked for; a firewall is optional"),
    (
        r"AwsSolutions-APIG6",
        r"FrontDoor/Api/DeploymentStage.*/Resource",
        "access logs tell every request; execution logs would hold the keys' requests, prompts and all",
    ),
    (
        r"AwsSolutions-(APIG4|COG4)",
        r"FrontDoor/Api/Default/.*Resource",
        "an API key is the reference's way in, and its clients'",
    ),
    (
        r"AwsSolutions-CFR[1234]",
        r"-messaging/Delivery/Distribution/Resource",
        "results are for whoever has the link, everywhere; certificate and firewall need a domain of one's own",
    ),
    # The sample application.
    (
        r"AwsSolutions-SQS3",
        r"-sample/Application/Callbacks/Resource",
        "what a page shows of the last minutes; each callback is in the task's record too",
    ),
    (
        r"AwsSolutions-IAM5\[Resource::\*\]",
        r"-sample/Application/ExecutionRole/DefaultPolicy/Resource",
        "pulls images as nodes do, from whichever registry the config names",
    ),
    (r"AwsSolutions-ELB2", r"-sample/Application/Entrance/Resource", "API Gateway logs every call that goes on to it"),
    (
        r"AwsSolutions-ECS4",
        r"-sample/Application/Cluster/Resource",
        "one small task; its metrics would cost more than it",
    ),
    (r"AwsSolutions-ECS2", r"-sample/Application/Task/Resource", "addresses alone: it holds no key and no secret"),
]
