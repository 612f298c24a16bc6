"""A stand-in for W&B's server on this machine alone.

It has enough of the protocol for the real client to create a sweep, run an agent and log runs. It shows what the client sends;
that wandb.ai takes it, it can't show. Its search is a grid. A GraphQL operation that has no method here gets an error, as the
real server gives for one that it doesn't know. It can fail in the ways in which servers and the networks before them do.
"""

import gzip
import itertools
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

from tests.wandb_artifacts import ArtifactStore

ENTITY = "someone"
KEY = "0123456789" * 4  # a key has at least 40 characters

FAULTS = ("refuses", "hangs", "401", "429", "500", "html")
"""Hangs up, never answers, answers an error of HTTP, or a page for people as the portal of a hotel's network does."""

Json = dict[str, Any]
StopRule = Callable[["Run"], bool]


@dataclass
class Run:
    """What the server knows of a run."""

    name: str
    display_name: str | None = None
    args: Json = field(default_factory=dict)  # that a sweep gave to it
    config: Json = field(default_factory=dict)
    history: list[Json] = field(default_factory=list)
    summary: Json = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None  # None while it runs, or where it never started
    stopped: bool = False  # by the server's wish


@dataclass
class Sweep:
    """A grid search over the values of a sweep file."""

    name: str
    config: Json
    canceled: bool = False
    runs: list[str] = field(default_factory=list)

    def combinations(self) -> list[Json]:
        """The arguments of all runs, in order."""
        parameters = self.config["parameters"]
        choices = [entry["values"] if "values" in entry else [entry["value"]] for entry in parameters.values()]
        return [
            {key: {"value": value} for key, value in zip(parameters, values, strict=True)}
            for values in itertools.product(*choices)
        ]


class WandbServer(ArtifactStore):
    """Listens on the loopback until ``close``. ``stop_when`` decides which runs of a sweep an agent is told to stop.

    ``fault``, one of ``FAULTS``, is how it fails; None, as it begins, for not at all.
    """

    def __init__(self, stop_when: StopRule = lambda run: False) -> None:
        super().__init__()
        self.stop_when = stop_when
        self.fault: str | None = None
        self.closed = threading.Event()
        self.runs: dict[str, Run] = {}
        self.sweeps: dict[str, Sweep] = {}
        self.agents: dict[str, str] = {}  # to their sweeps
        self.views: list[Json] = []  # workspaces, as they were sent
        self.unknown: list[str] = []  # operations that no method here answers
        self.lock = threading.RLock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self._body()
                if server.fault:
                    return self._fail(server.fault)
                with server.lock:
                    if self.path.startswith("/graphql"):
                        self._answer(server.graphql(json.loads(body)))
                    elif self.path.endswith("/file_stream"):
                        self._answer(server.file_stream(self.path, json.loads(body)))
                    else:
                        self._answer({})

            def do_PUT(self) -> None:
                kind, owner, name = self.path.removeprefix("/").split("/", 2)
                content = self._body()
                if server.fault:
                    return self._fail(server.fault)
                with server.lock:
                    files = server.artifacts[owner].files if kind == "artifact" else server.run(owner).files
                    files[name] = content
                self._answer({})

            def do_GET(self) -> None:
                if server.fault:
                    return self._fail(server.fault)
                self._answer({})

            def _fail(self, fault: str) -> None:
                if fault == "hangs":
                    server.closed.wait()
                if fault in ("hangs", "refuses"):
                    self.close_connection = True
                elif fault == "html":
                    self._send(200, "text/html", b"<!doctype html><title>Welcome to our hotel</title>")
                else:
                    self._send(int(fault), "application/json", json.dumps({"error": f"the stand-in says {fault}"}).encode())

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    chunks = []
                    while length := int(self.rfile.readline().split(b";")[0], 16):
                        chunks.append(self.rfile.read(length))
                        self.rfile.readline()
                    self.rfile.readline()
                    body = b"".join(chunks)
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

            def _answer(self, answer: Json) -> None:
                self._send(200, "application/json", json.dumps(answer).encode())

            def _send(self, status: int, kind: str, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that hangs up in the middle is no news; what it should have sent is missed by the tests."""

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self.closed.set()
        self._http.shutdown()
        self._http.server_close()

    def run(self, name: str) -> Run:
        """The run of this name, new where there was none."""
        return self.runs.setdefault(name, Run(name))

    def graphql(self, request: Json) -> Json:
        """Answer one GraphQL request."""
        found = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
        operation = found[1] if found else "?"
        answer: Callable[[Json], Json] | None = getattr(self, f"_{operation}", None)
        if answer is None:
            self.unknown.append(operation)
            return {"errors": [{"message": f"the stand-in knows no {operation}"}]}
        return {"data": answer(request.get("variables") or {})}

    def file_stream(self, path: str, content: Json) -> Json:
        """Take lines of a run's history and summary, and its end."""
        run = self.run(path.split("/")[-2])
        for name, part in content.get("files", {}).items():
            lines = [json.loads(line) for line in part["content"]] if name.endswith(("jsonl", "json")) else []
            if name == "wandb-history.jsonl":
                run.history[part["offset"] :] = lines
            elif name == "wandb-summary.json":
                run.summary.update(lines[-1])
        if content.get("complete"):
            run.exit_code = content["exitcode"]
        return {}

    # GraphQL's operations, by their names.

    def _Viewer(self, variables: Json) -> Json:
        team = {"edges": [{"node": {"name": ENTITY, "id": "1"}}]}
        return {"viewer": {"id": "1", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": team}}

    def _GetDefaultEntity(self, variables: Json) -> Json:
        return {"viewer": {"id": "1", "entity": ENTITY}}

    def _UpsertView2(self, variables: Json) -> Json:
        self.views.append(variables)
        return {"upsertView": {"view": {"id": f"view{len(self.views)}", "name": variables["name"]}, "inserted": True}}

    def _ServerFeaturesQuery(self, variables: Json) -> Json:
        return {"serverInfo": {"features": []}}

    def _ServerInfo(self, variables: Json) -> Json:
        return {"serverInfo": {"cliVersionInfo": {"max_cli_version": "9.0.0"}, "latestLocalVersionInfo": None}}

    def _OrganizationCoreWeaveOrganizationID(self, variables: Json) -> Json:
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def _UpsertSweep(self, variables: Json) -> Json:
        if variables.get("id"):
            self.sweeps[variables["id"]].canceled = variables["state"] == "CANCELED"
            return {"upsertSweep": {"sweep": {"name": variables["id"]}}}
        name = f"sweep{len(self.sweeps) + 1}"
        self.sweeps[name] = Sweep(name, yaml.safe_load(variables["config"]))
        project = {"id": "1", "name": variables["projectName"], "entity": {"id": "1", "name": ENTITY}}
        return {"upsertSweep": {"sweep": {"name": name, "project": project}, "configValidationWarnings": []}}

    def _SweepWithRuns(self, variables: Json) -> Json:
        sweep = self.sweeps[variables["sweep"]]
        found = {"id": sweep.name, "name": sweep.name, "state": "RUNNING", "config": yaml.safe_dump(sweep.config)}
        return {"project": {"sweep": found | {"runs": {"edges": []}}}}

    def _GetSweep(self, variables: Json) -> Json:
        sweep = self.sweeps[variables["name"]]
        return {"project": {"sweep": {"id": "1", "name": sweep.name, "config": yaml.safe_dump(sweep.config)}}}

    def _CreateAgent(self, variables: Json) -> Json:
        name = f"agent{len(self.agents) + 1}"
        self.agents[name] = variables["sweep"]
        return {"createAgent": {"agent": {"id": name}}}

    def _Heartbeat(self, variables: Json) -> Json:
        sweep, alive = self.sweeps[self.agents[variables["id"]]], json.loads(variables["runState"])
        commands: list[Json] = []
        for name in alive:
            run = self.run(name)
            if not run.stopped and (sweep.canceled or self.stop_when(run)):
                run.stopped = True
                commands.append({"type": "stop", "run_id": name})
        combinations = sweep.combinations()
        if not (alive or sweep.canceled) and len(sweep.runs) < len(combinations):
            run = self.run(f"{sweep.name}-run{len(sweep.runs) + 1}")
            run.args = combinations[len(sweep.runs)]
            sweep.runs.append(run.name)
            commands.append({"type": "run", "run_id": run.name, "args": run.args, "program": sweep.config["program"]})
        elif not alive:
            commands.append({"type": "exit"})
        return {"agentHeartbeat": {"agent": {"id": variables["id"]}, "commands": json.dumps(commands)}}

    def _UpsertBucket(self, variables: Json) -> Json:
        run = self.run(variables["name"])
        run.display_name = variables.get("displayName") or run.display_name
        run.config |= {key: entry["value"] for key, entry in json.loads(variables.get("config") or "{}").items()}
        project = {"id": "1", "name": variables.get("project") or "p", "entity": {"id": "1", "name": ENTITY}}
        bucket = {"id": run.name, "name": run.name, "displayName": variables.get("displayName"), "project": project}
        bucket |= {"config": json.dumps({}), "sweepName": variables.get("sweep"), "historyLineCount": len(run.history)}
        return {"upsertBucket": {"bucket": bucket, "inserted": not run.history}}

    def _RunResumeStatus(self, variables: Json) -> Json:
        run = self.runs.get(variables["name"])
        if run is None or not run.history:
            return {"model": {"bucket": None}}
        bucket: Json = {"name": run.name, "displayName": run.name, "summaryMetrics": json.dumps(run.summary), "config": "{}"}
        bucket |= {"wandbConfig": json.dumps({"t": 1}), "tags": [], "historyLineCount": len(run.history)}
        bucket |= {"historyTail": json.dumps([json.dumps(run.history[-1])]), "eventsTail": "[]", "eventsLineCount": 0}
        return {"model": {"bucket": bucket | {"logLineCount": 0}}}

    def _RunStoppedStatus(self, variables: Json) -> Json:
        return {"project": {"run": {"stopped": False}}}

    def _CreateRunFiles(self, variables: Json) -> Json:
        run = variables.get("run") or variables.get("runName")
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{run}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}

    def _MarkRunFilesUploaded(self, variables: Json) -> Json:
        return {"markRunFilesUploaded": {"success": True}}
