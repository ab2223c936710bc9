"""Stock DBOS Transact in a process of its own: its application, its client and its command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LAUNCH = """
import sys
from dbos import DBOS

url, run_migrations = sys.argv[1], sys.argv[2] == "migrate"
DBOS(config={"name": "stock-app", "system_database_url": url, "run_migrations": run_migrations, "log_level": "ERROR"})

@DBOS.step()
def add(a, b):
    return a + b

@DBOS.workflow()
def total(n):
    return add(add(n, 1), 2)

DBOS.launch()
print(total(39))
DBOS.destroy()
"""

MIGRATE = """
import sys
from dbos import DBOS
DBOS.migrate(sys.argv[1])
"""

CLIENT = """
import json, sys
from dbos import DBOSClient, WorkflowSerializationFormat
from dbos._error import DBOSException

client = DBOSClient(system_database_url=sys.argv[1])
answers = []
for name, args in json.loads(sys.argv[2]):
    try:
        if name == "get_result":
            answer = client.retrieve_workflow(*args).get_result(polling_interval_sec=0.05)
        elif name == "send":
            answer = client.send(*args, serialization_type=WorkflowSerializationFormat.PORTABLE)
        elif name == "resume_workflow_on":
            answer = client.resume_workflow(args[0], queue_name=args[1]).get_workflow_id()
        elif name == "fork":
            answer = client.fork_workflow(*args).get_workflow_id()
        elif name.startswith("list_"):
            answer = [vars(row) if hasattr(row, "__dict__") else row for row in getattr(client, name)(*args)]
        else:
            getattr(client, name)(*args)
            answer = None
    except Exception as error:
        answer = {"raised": type(error).__name__, "message": str(error)}
    answers.append(answer)
client.destroy()
print(json.dumps(answers, default=str))
"""


def run(program: str, *arguments: str) -> str:
    """Run a program to its end and return what it printed last."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def launch(url: str, *, migrate: bool) -> str:
    """Launch a stock application on the database and run a workflow of two steps."""
    return run(LAUNCH, url, "migrate" if migrate else "check")


def migrate(url: str) -> None:
    run(MIGRATE, url)


def client(url: str, *calls: tuple[str, list[Any]]) -> list[Any]:
    """Make calls on one stock client; results as JSON, exceptions as ``{"raised": name}``."""
    answers: list[Any] = json.loads(run(CLIENT, url, json.dumps(calls)))
    return answers


def command(url: str, *arguments: str) -> Any:
    """Run ``dbos workflow ...``; what it prints as JSON, or None."""
    program = Path(sys.executable).with_name("dbos")
    done = subprocess.run(
        [str(program), "workflow", *arguments, "-s", url], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    starts = [i for i in (done.stdout.find("["), done.stdout.find("{")) if i >= 0]
    return json.loads(done.stdout[min(starts) :]) if starts else None
