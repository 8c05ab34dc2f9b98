"""Least privilege: what each function may do, against what it did in the whole run."""

import fnmatch
import re

import pytest

import template
from stack import FUNCTIONS, NAME

# Calls that do not happen in the run, or that the emulator does not record, with the reason.
BY_LAMBDA = "Lambda does it with the function's role; the emulator does it by itself"
IF_LOST = "sweep does it where a hand-over was lost; notify and api do it in each run"
IF_FAILED = "sweep puts off a row whose handling failed"
IF_REFUSED = "notify refuses to report while another notification of the alert is still to be sent"
NOT_RECORDED = {
    "sqs:ReceiveMessage": BY_LAMBDA,
    "sqs:DeleteMessage": BY_LAMBDA,
    "sqs:GetQueueAttributes": BY_LAMBDA,
    "sqs:SendMessage SweepDeadLetters": BY_LAMBDA,
    "logs:CreateLogStream": BY_LAMBDA,
    "logs:PutLogEvents": BY_LAMBDA,
    "iam:PassRole": "no call of its own: scheduler:CreateSchedule requires it",
    "dynamodb:GetItem Table announcement#*": IF_LOST,
    "dynamodb:UpdateItem Table announcement#*": IF_LOST,
    "dynamodb:GetItem Table execution#*": IF_LOST,
    "dynamodb:UpdateItem Table execution#*": IF_LOST,
    "dynamodb:GetItem Table circuit#*": IF_LOST,
    "dynamodb:UpdateItem Table circuit#*": IF_LOST,
    "dynamodb:BatchGetItem Table execution#*": IF_LOST,
    "dynamodb:GetItem Table delivery#*": IF_LOST,
    "dynamodb:UpdateItem Table delivery#*": IF_LOST,
    "dynamodb:ConditionCheckItem Table alert#*": IF_REFUSED,
    "dynamodb:GetItem Table run#*": IF_FAILED,
    "dynamodb:UpdateItem Table run#*": IF_FAILED,
}
# Of playbook alone: a report of a script is sent again when it could not be recorded.
SENT_AGAIN = ("playbook", "sqs:SendMessage ScriptResultsQueue")


def listed(value):
    return value if isinstance(value, list) else [value]


def resource(arn):
    """Returns the resource that a statement names: its logical id, and the index of a table."""
    if "Fn::GetAtt" in arn:
        return arn["Fn::GetAtt"][0]
    return re.sub(r"^\$\{(\w+)\.Arn\}", r"\1", arn["Fn::Sub"])


def granted(function):
    """Yields every permission of a function, as `action resource` and the leading key that it is for."""
    role = template.resources("AWS::IAM::Role")[f"{function.capitalize()}Role"]
    for statement in role["Policies"][0]["PolicyDocument"]["Statement"]:
        # X-Ray is off in this run.
        if "Fn::If" in statement:
            continue
        condition = statement.get("Condition", {}).get("ForAllValues:StringLike", {})
        for action in listed(statement["Action"]):
            for arn in listed(statement["Resource"]):
                for key in condition.get("dynamodb:LeadingKeys", [None]):
                    yield f"{action} {resource(arn)}", key


def calls_of(stack, function):
    """Returns every call of a function that the emulator recorded, in the form of its permissions."""
    client = stack.emulator.client("lambda")
    arns = client.get_function_configuration(FunctionName=f"{NAME}-{function}")
    queues = {stack.outputs[f"{queue}Url"]: queue for queue in ("SweepQueue", "NotifyQueue", "PlaybookQueue", "ScriptQueue", "ScriptResultsQueue")}
    found = set()
    for event in stack.emulator.calls(stack.emulator.access_key_of(arns["FunctionArn"], arns["Role"])):
        name, parameters = event["eventName"], event["requestParameters"]
        match event["eventSource"]:
            case "dynamodb.amazonaws.com":
                found |= {(f"dynamodb:{action} {on}", key) for action, on, key in items(name, parameters)}
            case "sqs.amazonaws.com":
                found.add((f"sqs:{name} {queues[parameters['QueueUrl']]}", None))
            # The emulator names a call of a REST API by its method.
            case "scheduler.amazonaws.com" if name.startswith("POST"):
                found.add(("scheduler:CreateSchedule", None))
            case other:
                found.add((f"{other.removesuffix('.amazonaws.com')}:{name}", None))
    return found


def items(name, parameters):
    """Yields what a call to DynamoDB does to each item, which is what IAM checks."""
    match name:
        case "TransactWriteItems":
            for write in parameters["TransactItems"]:
                for member, one in write.items():
                    yield from items({"ConditionCheck": "ConditionCheckItem"}.get(member, f"{member}Item"), one)
        case "BatchGetItem":
            for table in parameters["RequestItems"].values():
                for key in table["Keys"]:
                    yield name, "Table", key["pk"]["S"]
        case "BatchWriteItem":
            for writes in parameters["RequestItems"].values():
                for write in writes:
                    yield name, "Table", write["DeleteRequest"]["Key"]["pk"]["S"]
        case "Query" if "IndexName" in parameters:
            yield name, f"Table/index/{parameters['IndexName']}", None
        case "Query":
            value = re.match(r"pk = (:\w+)", parameters["KeyConditionExpression"]).group(1)
            yield name, "Table", parameters["ExpressionAttributeValues"][value]["S"]
        case "PutItem":
            yield name, "Table", parameters["Item"]["pk"]["S"]
        case _:
            yield name, "Table", parameters["Key"]["pk"]["S"]


def allows(grant, call):
    (granted_action, pattern), (action, key) = grant, call
    same = granted_action == action or granted_action.split(" ")[0] == action == "scheduler:CreateSchedule"
    return same and (pattern is None or fnmatch.fnmatchcase(key, pattern))


def is_listed(function, permission, key):
    if (function, permission) == SENT_AGAIN:
        return True
    reason = NOT_RECORDED.get(f"{permission} {key}")
    if reason in (IF_LOST, IF_FAILED):
        return function == "sweep"
    if reason == IF_REFUSED:
        return function == "notify"
    return permission in NOT_RECORDED or permission.split(" ")[0] in NOT_RECORDED


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_used_all_of_its_permissions_and_no_others(stack, function):
    calls, grants = calls_of(stack, function), list(granted(function))
    assert calls, "it did something"
    refused = [call for call in calls if not any(allows(grant, call) for grant in grants)]
    assert refused == []
    unused = [grant for grant in grants if not any(allows(grant, call) for call in calls)]
    assert [grant for grant in unused if not is_listed(function, *grant)] == []


def test_nothing_was_refused(stack):
    for function in FUNCTIONS:
        refusals = [line for line in stack.logs(function) if "AccessDenied" in line or "not authorized" in line]
        assert refusals == [], function
