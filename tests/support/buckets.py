"""An S3-compatible store on loopback, with one bucket."""

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import requests

BUCKET = "bwm"
KEYS = {"access_key": "key", "secret_key": "secret"}
LOGIN = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}


@dataclass(frozen=True)
class Bucket:
    """A bucket, a client to it, and the address of its server."""

    client: Any
    endpoint: str

    def store(self, **more):
        """Setting `bwm.store` that puts objects there, below `store`."""
        given = {"endpoint": self.endpoint, "bucket": BUCKET, "secure": False, **KEYS}
        return {"protocol": "s3", "location": "store", **given, **more}

    def read(self, path):
        """Content of an object, by its path in the store."""
        return self.client.get_object(Bucket=BUCKET, Key=f"store/{path}")["Body"].read()

    def write(self, path, content):
        self.client.put_object(Bucket=BUCKET, Key=f"store/{path}", Body=content)

    @contextmanager
    def checked(self, policies):
        """Let the server check keys: `policies` are the policies of new users, by their names.

        The block gets the keys of each user as settings of the store.
        """
        iam = boto3.client("iam", endpoint_url=f"http://{self.endpoint}", **LOGIN)
        keys = {}
        for user, policy in policies.items():
            iam.create_user(UserName=user)
            iam.put_user_policy(UserName=user, PolicyName="its", PolicyDocument=policy)
            made = iam.create_access_key(UserName=user)["AccessKey"]
            keys[user] = {"access_key": made["AccessKeyId"], "secret_key": made["SecretAccessKey"]}
        self._check_after("0")
        try:
            yield keys
        finally:
            self._check_after("inf")

    def _check_after(self, n_requests):
        url = f"http://{self.endpoint}/moto-api/reset-auth"
        requests.post(url, data=n_requests, timeout=10).raise_for_status()

    def remove(self, path):
        self.client.delete_object(Bucket=BUCKET, Key=f"store/{path}")

    def paths(self):
        """Paths of all objects in the store."""
        listed = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", ())
        return {one["Key"].removeprefix("store/") for one in listed}


@contextmanager
def bucket():
    """Serve a bucket until the block ends."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        # Another server of this process may have left objects.
        requests.post(f"http://{host}:{port}/moto-api/reset", timeout=10).raise_for_status()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **LOGIN)
        client.create_bucket(Bucket=BUCKET)
        yield Bucket(client, f"{host}:{port}")
    finally:
        server.stop()
