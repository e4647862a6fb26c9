"""`deploy/template.yaml`: the buckets that it creates, and when it creates none."""

import pytest

from .cloudformation import deploy

BUCKETS = ["SourceBucket", "DestinationBucket"]


def test_only_buckets_that_were_not_named_are_made() -> None:
    def made(**given: str) -> set[str]:
        stack = deploy(**given)
        return {name for name in stack.resources if "Bucket" in name}

    assert made() == {name + kind for name in BUCKETS for kind in ("", "Policy")}
    assert made(SourceBucketName="raw-1") == {"DestinationBucket", "DestinationBucketPolicy"}
    assert made(DestinationBucketName="clean-1") == {"SourceBucket", "SourceBucketPolicy"}
    assert made(SourceBucketName="raw-1", DestinationBucketName="clean-1") == set()


@pytest.mark.parametrize("name", BUCKETS)
def test_they_are_encrypted_closed_and_swept(name: str) -> None:
    bucket = deploy()[name]
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]

    assert encryption == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert bucket["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    }
    assert rule["Status"] == "Enabled"
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert "Prefix" not in rule


@pytest.mark.parametrize("name", BUCKETS)
def test_they_refuse_requests_without_tls(name: str) -> None:
    policy = deploy()[f"{name}Policy"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    arn = f"arn:aws:s3:::{policy['Bucket']}"

    assert f"-{name.lower()}-" in policy["Bucket"]
    assert statement["Effect"] == "Deny"
    assert (statement["Principal"], statement["Action"]) == ("*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [arn, f"{arn}/*"]


def test_only_the_source_of_a_trigger_sends_events() -> None:
    sends = {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}

    assert deploy(Trigger="yes")["SourceBucket"]["NotificationConfiguration"] == sends
    assert "NotificationConfiguration" not in deploy()["SourceBucket"]
    assert "NotificationConfiguration" not in deploy(Trigger="yes")["DestinationBucket"]
