"""Wait for the server of the store, and create the bucket unless it exists."""

import sys
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from schemas import settings

TIMEOUT_SECONDS = 60
"""Seconds to wait for the server."""


def attempt(client, name):
    """Create the bucket unless it exists; return the error, or None."""
    try:
        if name not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=name)
    except (BotoCoreError, ClientError) as error:
        return error
    return None


def main():
    """Try until the server answers."""
    store = settings.load().store
    given = store.spec()
    scheme = "https" if store.secure else "http"
    client = boto3.client(
        "s3",
        endpoint_url=f"{scheme}://{store.endpoint}",
        aws_access_key_id=given["access_key"],
        aws_secret_access_key=given["secret_key"],
        region_name="us-east-1",
    )
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while reason := attempt(client, store.bucket):
        if time.monotonic() > deadline:
            sys.exit(f"{store.endpoint}: the bucket cannot be created ({reason}).")
        time.sleep(1)


if __name__ == "__main__":
    main()
