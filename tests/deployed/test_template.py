"""What the template says, without deploying it."""

import re

import template
from stack import FUNCTIONS, ROOT

SECRETS = {
    "SLACK_API_TOKEN",
    "SLACK_SIGNING_SECRET",
    "PAGERDUTY_ROUTING_KEY",
    "MEDIC_WEBHOOK_SECRET",
    "MEDIC_SECRETS_KEY",
}


# What the script function's environment holds beside settings.
OF_SCRIPT = {"AWS_LAMBDA_EXEC_WRAPPER"}


def functions():
    return template.resources("AWS::Serverless::Function")


def test_every_folder_has_its_function_and_every_function_its_folder():
    assert sorted(one["CodeUri"] for one in functions().values()) == [f"functions/{name}" for name in FUNCTIONS]


def test_every_setting_has_its_variable():
    config = (ROOT / "shared/runtime/src/config.rs").read_text()
    read = set(re.findall(r'env\.\w+\("([A-Z_]+)"', config))
    of_all = set(template.read()["Globals"]["Function"]["Environment"]["Variables"])
    of_api = set(functions()["ApiFunction"]["Environment"]["Variables"])
    assert read - SECRETS <= of_all
    assert of_api == SECRETS <= read


def test_secrets_come_from_secrets_manager_and_are_no_parameter():
    for function in functions().values():
        for name, value in function.get("Environment", {}).get("Variables", {}).items():
            if name in OF_SCRIPT:
                assert function["CodeUri"] == "functions/script"
                continue
            assert value == {"Fn::Sub": "{{resolve:secretsmanager:${Secrets}:SecretString:" + name + "}}"}
    assert "Environment" not in functions()["IngestFunction"], "ingest needs no secret"


TIMEOUTS = {
    "VisibilityTimeoutSeconds": "WorkerTimeoutSeconds",
    "PlaybookVisibilityTimeoutSeconds": "PlaybookTimeoutSeconds",
    "ScriptVisibilityTimeoutSeconds": "ScriptTimeoutSeconds",
}


def test_queues_wait_six_times_as_long_as_their_functions_may_take():
    parameters = template.read()["Parameters"]
    for visibility, timeout in TIMEOUTS.items():
        assert parameters[visibility]["Default"] == 6 * parameters[timeout]["Default"]
    queues = template.resources("AWS::SQS::Queue")
    fed = {name: queue for name, queue in queues.items() if not name.endswith("DeadLetters")}
    for name, queue in fed.items():
        assert queue["VisibilityTimeout"]["Ref"] in TIMEOUTS
        dead_letters = name.replace("Queue", "DeadLetters")
        assert queues[dead_letters].get("FifoQueue") == queue.get("FifoQueue")
        assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": [dead_letters, "Arn"]}
    mapped = {}
    for function in functions().values():
        for event in function.get("Events", {}).values():
            properties = event["Properties"]
            assert properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
            queue = properties["Queue"]["Fn::GetAtt"][0]
            assert function["Timeout"] == {"Ref": TIMEOUTS[queues[queue]["VisibilityTimeout"]["Ref"]]}
            mapped[queue] = function
    assert set(mapped) == set(fed)


def listed(value):
    return value if isinstance(value, list) else [value]


def sends_to(function):
    """Returns the functions that are invoked by what a function sends: by the queues that its role lets it send to."""
    invoked = {}
    for name, one in functions().items():
        for event in one.get("Events", {}).values():
            invoked.setdefault(event["Properties"]["Queue"]["Fn::GetAtt"][0], set()).add(name)
    role = template.resources("AWS::IAM::Role")[functions()[function]["Role"]["Fn::GetAtt"][0]]
    sent = set()
    for statement in role["Policies"][0]["PolicyDocument"]["Statement"]:
        if "sqs:SendMessage" in listed(statement.get("Action")):
            sent |= {arn["Fn::GetAtt"][0] for arn in listed(statement["Resource"])}
    return set().union(*(invoked.get(queue, set()) for queue in sent))


def reached_from(function):
    reached, new = set(), sends_to(function)
    while new:
        reached |= new
        new = set().union(*map(sends_to, new)) - reached
    return reached


def test_lambda_stops_none_of_the_loops_that_messages_go_in():
    """Lambda ends what it takes for a loop of messages after some 16 rounds, unless each function of it allows that."""
    loops = {function for function in functions() if function in reached_from(function)}
    assert loops == {name for name, one in functions().items() if one.get("RecursiveLoop") == "Allow"}
    assert {"ScriptFunction", "PlaybookFunction"} <= loops, "what was computed is computed right"


def test_no_policy_is_for_every_resource():
    for role in template.resources("AWS::IAM::Role").values():
        for statement in role["Policies"][0]["PolicyDocument"]["Statement"]:
            if "Fn::If" in statement:
                assert statement["Fn::If"][1]["Sid"] == "Trace", "X-Ray knows no resources"
                continue
            assert statement["Resource"] != "*"
            actions = statement["Action"]
            assert all("*" not in action for action in ([actions] if isinstance(actions, str) else actions))


def test_a_function_writes_only_what_it_may():
    written = {}
    for name in FUNCTIONS:
        role = template.resources("AWS::IAM::Role")[f"{name.capitalize()}Role"]
        for statement in role["Policies"][0]["PolicyDocument"]["Statement"]:
            action = statement.get("Action")
            if action in ("dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"):
                keys = statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
                written.setdefault(name, set()).update(keys)
    assert "script" not in written
    # A ping may register its service: that also writes the counter of services, its name, the gauges and the audit log.
    registers = {"counter#service", "name#service#*", "stats", "audit#*"}
    assert written["ingest"] == {"service#*", "heartbeat#*", "run#*", "limit#heartbeats#*"} | registers
    # A notification is in the partition of what it is about. A webhook that is gone is disabled, which is audited.
    notifications = {"alert#*", "announcement#*", "execution#*", "circuit#*"}
    assert written["notify"] == notifications | {"lane#*", "delivery#*", "webhook#*", "audit#*"}
    # The outcome of a start is written beside its alert.
    assert written["playbook"] == {"execution#*", "circuit#*", "audit#*", "lane#*", "delivery#*", "alert#*"}
    assert "audit#*" not in written["sweep"]
    assert "pulse" in written["sweep"]


def test_logs_are_kept_for_thirty_days():
    groups = template.resources("AWS::Logs::LogGroup")
    assert {group["RetentionInDays"] for group in groups.values()} == {30}
    assert len(groups) == len(FUNCTIONS)


def test_the_script_function_may_only_report():
    role = template.resources("AWS::IAM::Role")["ScriptRole"]
    statements = role["Policies"][0]["PolicyDocument"]["Statement"]
    allowed = {one["Sid"]: (one["Action"], one["Resource"]) for one in statements if "Fn::If" not in one}
    assert allowed == {
        "Report": ("sqs:SendMessage", {"Fn::GetAtt": ["ScriptResultsQueue", "Arn"]}),
        "Receive": (
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
            {"Fn::GetAtt": ["ScriptQueue", "Arn"]},
        ),
        "Log": (["logs:CreateLogStream", "logs:PutLogEvents"], {"Fn::GetAtt": ["ScriptLogs", "Arn"]}),
    }
    [event] = functions()["ScriptFunction"]["Events"].values()
    assert event["Properties"]["BatchSize"] == 1
    assert template.resources("AWS::SQS::Queue")["ScriptQueue"]["FifoQueue"] is True
