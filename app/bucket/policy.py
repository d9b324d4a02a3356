"""The smallest IAM policy with which the server works."""

from __future__ import annotations

from typing import Any, Final

from app.bucket.client import common_prefix
from app.place import S3Place

BUCKET_ACTIONS: Final = ("s3:ListBucket", "s3:ListBucketMultipartUploads")
OBJECT_ACTIONS: Final = (
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
)

# IAM user guide, 'Amazon resource names': regions elsewhere than in the ordinary partition.
_PARTITIONS: Final = (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"))


def smallest_policy(place: S3Place, region: str = "") -> dict[str, Any]:
    """Return the policy, as IAM takes it, for the user or role that the server runs as."""
    partition = next((name for prefix, name in _PARTITIONS if region.startswith(prefix)), "aws")
    bucket = f"arn:{partition}:s3:::{place.bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": list(BUCKET_ACTIONS), "Resource": bucket},
            {
                "Effect": "Allow",
                "Action": list(OBJECT_ACTIONS),
                "Resource": f"{bucket}/{common_prefix(place)}*",
            },
        ],
    }
