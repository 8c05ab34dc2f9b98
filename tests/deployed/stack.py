"""Deploys `template.yaml` as `sam deploy` does, and sends requests to the stack."""

import io
import json
import re
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from emulator import Emulator
from waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
FUNCTIONS = sorted(folder.name for folder in (ROOT / "functions").iterdir() if (folder / "Cargo.toml").exists())
NAME = "medic"


def bootstrap(function: str) -> Path:
    path = ROOT / "target" / "lambda" / function / "bootstrap"
    assert path.is_file(), f"{path} is missing: run `make build-lambda`"
    return path


class Stack:
    def __init__(self, emulator: Emulator, secrets: dict[str, str], parameters: dict[str, str]):
        self.emulator = emulator
        secretsmanager = emulator.client("secretsmanager")
        secretsmanager.create_secret(Name=NAME, SecretString=json.dumps(secrets))
        cloudformation = emulator.client("cloudformation")
        cloudformation.create_stack(
            StackName=NAME,
            TemplateURL=self.package(TEMPLATE.read_text()),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )

        def settled():
            stack = cloudformation.describe_stacks(StackName=NAME)["Stacks"][0]
            return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

        stack = wait_for("the stack", settled)
        if stack["StackStatus"] != "CREATE_COMPLETE":
            events = cloudformation.describe_stack_events(StackName=NAME)["StackEvents"]
            failures = [
                f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}"
                for event in events
                if "FAILED" in event["ResourceStatus"]
            ]
            raise AssertionError("\n".join([stack["StackStatus"], *failures]))
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        # The emulator serves every API at its own address.
        self.url = f"{emulator.endpoint}/_aws/execute-api/{self.outputs['ApiId']}/$default"
        self.admin_key = self.create_admin_key()

    def package(self, template: str) -> str:
        """Does what `sam build` and `sam deploy` do: puts each bootstrap into a bucket, and the template that names them."""
        s3 = self.emulator.client("s3")
        s3.create_bucket(Bucket="code", CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
        for function in FUNCTIONS:
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
                entry = zipfile.ZipInfo("bootstrap")
                entry.external_attr, entry.compress_type = 0o755 << 16, zipfile.ZIP_DEFLATED
                zipped.writestr(entry, bootstrap(function).read_bytes())
            s3.put_object(Bucket="code", Key=f"{function}.zip", Body=archive.getvalue())
        packaged = re.sub(r"CodeUri: functions/(\w+)", r"CodeUri: s3://code/\1.zip", template)
        s3.put_object(Bucket="code", Key="template.yaml", Body=packaged.encode())
        return f"{self.emulator.endpoint}/code/template.yaml"

    def create_admin_key(self) -> str:
        """Does as docs/OPERATIONS.md says: whoever may invoke the function can create the first key."""
        order = {"create_api_key": {"name": "admin", "scopes": ["admin"]}}
        return self.invoke(self.outputs["ApiFunctionName"], order)["key"]

    def invoke(self, function: str, event: dict) -> dict:
        response = self.emulator.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
        body = json.loads(response["Payload"].read())
        assert "FunctionError" not in response, body
        return body

    def request(self, method: str, path: str, body: dict | None = None, key: str | None = None):
        """Sends a request, as admin unless another key is given. Returns the status, the headers and the body."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {key or self.admin_key}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.headers, refusal.read()

    def json(self, method: str, path: str, body: dict | None = None, expect: int = 200) -> dict:
        status, _, text = self.request(method, path, body)
        assert status == expect, (status, text)
        return json.loads(text)

    def register(self, name: str, seconds: float, **fields) -> int:
        """Registers a service that must report every so many seconds. Returns its id."""
        body = {"heartbeat_name": name, "service_name": name, "alert_interval": seconds / 60, **fields}
        return self.json("POST", "/v2/services", body, expect=201)["results"]["service_id"]

    def heartbeat(self, name: str, status: str = "UP", expect: int = 201):
        return self.json("POST", "/heartbeat", {"heartbeat_name": name, "status": status}, expect)

    def logs(self, function: str) -> list[str]:
        """Returns what a function has logged."""
        client = self.emulator.client("logs")
        group = f"/aws/lambda/{NAME}-{function}"
        pages = client.get_paginator("filter_log_events").paginate(logGroupName=group)
        return [event["message"] for page in pages for event in page["events"]]

    def keep_logs(self, folder: Path):
        """Keeps what the functions and the emulator logged, to see why a test failed."""
        folder.mkdir(parents=True, exist_ok=True)
        for function in FUNCTIONS:
            (folder / f"{function}.log").write_text("\n".join(self.logs(function)))
        (folder / "emulator.log").write_text(self.emulator.log.read_text())
