"""Starts the AWS emulator, and creates clients for it."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from waiting import wait_for

REGION = "eu-west-1"
ACCOUNT = "000000000000"


class Emulator:
    """ministack, with IAM enforced and every call recorded. It runs bootstraps as processes of this machine."""

    def __init__(self, folder: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # Not 127.0.0.1: with that the emulator passes functions an invalid Host header.
        self.endpoint = f"http://localhost:{self.port}"
        self.log = folder / "emulator.log"
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "AUTH": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "BIND_HOST": "127.0.0.1",
            "CLOUDTRAIL_RECORDING": "1",
            "CLOUDTRAIL_MAX_EVENTS": "1000000",
            "GATEWAY_PORT": str(self.port),
            "IOT_MTLS_ENABLED": "0",
            "LAMBDA_EXECUTOR": "local",
            "MINISTACK_HOST": "localhost",
            "MINISTACK_REGION": REGION,
            "PERSIST_STATE": "0",
            "SFTP_ENABLED": "0",
            "TMPDIR": str(folder),
        }
        command = Path(sys.executable).parent / "ministack"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([command], env=environment, stdout=log, stderr=subprocess.STDOUT)

    def wait(self):
        def is_healthy():
            assert self.process.poll() is None, f"the emulator ended; see {self.log}"
            with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=1) as response:
                return response.status == 200

        wait_for("the emulator", is_healthy)

    def client(self, service: str):
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
        )

    def calls(self, access_key: str) -> list[dict]:
        """Returns every call with an access key."""
        credentials = Credentials("test", "test")
        found, before = {}, {}
        while True:
            # As it is written on the wire: boto3 cuts times to seconds, which are full of calls here.
            body = {"LookupAttributes": [{"AttributeKey": "AccessKeyId", "AttributeValue": access_key}], **before}
            request = AWSRequest("POST", self.endpoint, data=json.dumps(body), headers={
                "content-type": "application/x-amz-json-1.1",
                "x-amz-target": "CloudTrail_20131101.LookupEvents",
            })
            SigV4Auth(credentials, "cloudtrail", REGION).add_auth(request)
            signed = urllib.request.Request(self.endpoint, request.data.encode(), dict(request.headers))
            with urllib.request.urlopen(signed, timeout=20) as response:
                page = json.load(response)["Events"]
            new = {event["EventId"]: json.loads(event["CloudTrailEvent"]) for event in page if event["EventId"] not in found}
            if not new:
                return list(found.values())
            found |= new
            before = {"EndTime": page[-1]["EventTime"]}

    @staticmethod
    def access_key_of(function_arn: str, role_arn: str) -> str:
        """Returns the access key with which the emulator lets a function act as its role."""
        digest = hashlib.sha256(f"{function_arn}:{role_arn}".encode()).hexdigest()
        return f"ASIA{digest[:16].upper()}"

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
