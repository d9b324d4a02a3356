"""Make a bucket: python -m tests.lab.bucket ENDPOINT BUCKET ACCESS_KEY SECRET_KEY"""

from __future__ import annotations

import sys

from tests.stores import S3Store

if __name__ == "__main__":
    endpoint, bucket, access_key, secret_key = sys.argv[1:]
    S3Store("laboratory", endpoint, access_key, secret_key, bucket).create()
