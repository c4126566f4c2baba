"""A loopback stand-in for the W&B server: answers what a run needs, and keeps what it was sent."""

import gzip
import json
import re
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"

KEY = "0123456789abcdef" * 3
"""What a key looks like."""


@dataclass
class ServedRun:
    """What the server knows of a run: the last values of its fields, and its files line by line."""

    fields: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[int, str]] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        lines = self.files.get(HISTORY, {})
        return [json.loads(lines[offset]) for offset in sorted(lines)]

    @property
    def summary(self) -> dict[str, Any]:
        lines = self.files.get(SUMMARY, {})
        return json.loads(lines[max(lines)]) if lines else {}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: dict[str, ServedRun] = {}
        self.artifacts: list[str] = []
        self.views: dict[str, dict[str, Any]] = {}  # workspaces and reports, by name
        self.refuse_uploads = False  # answers 404, which wandb does not try again
        self.dead = False  # hangs up
        self.key = KEY  # another one is answered with 401
        self.entities = {"me"}  # of others it says that they are not found
        self.too_many = 0  # so many requests are answered with 429
        self.drop_from: int | None = None  # rows from this number on, and summaries, are accepted and lost
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._body()
        self._answer({})

    def do_PUT(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        request = json.loads(self._body() or b"{}")
        if self.server.dead:
            self.close_connection = True
            return
        if self.headers.get("Authorization") != f"Basic {b64encode(f'api:{self.server.key}'.encode()).decode()}":
            self._answer({"errors": [{"message": "invalid API key"}]}, 401)
        elif self.server.too_many:
            self.server.too_many -= 1
            self._answer({"error": "rate limit exceeded"}, 429)
        elif self.path == "/graphql":
            entity = (request.get("variables") or {}).get("entity")
            if entity is not None and entity not in self.server.entities:
                self._answer({"errors": [{"message": f"entity {entity} not found"}], "data": None}, 404)
                return
            self._answer({"data": self._graphql(request["query"], request.get("variables") or {})})
        elif self.server.refuse_uploads:
            self._answer({"error": "refused"}, 404)
        else:
            run = self.server.runs.setdefault(self.path.split("/")[4], ServedRun())
            for name, part in (request.get("files") or {}).items():
                lines = dict(enumerate(part["content"], part["offset"]))
                if (end := self.server.drop_from) is not None:
                    lines = {number: line for number, line in lines.items() if name == HISTORY and number < end}
                run.files.setdefault(name, {}).update(lines)
            if request.get("complete"):
                run.exit_code = request.get("exitcode")
            self._answer({"exitcode": None, "limits": {}})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        operation, name = found[1] if found else "", variables.get("name")
        project = {"id": "p", "name": variables.get("project"), "entity": {"id": "e", "name": "me"}}
        if operation == "UpsertBucket":
            run = self.server.runs.setdefault(str(name), ServedRun())
            run.fields |= {key: value for key, value in variables.items() if value is not None}
            bucket = {"id": f"id-{name}", "name": name, "displayName": name, "config": run.fields.get("config")}
            bucket |= {"historyLineCount": len(run.history), "project": project}
            return {"upsertBucket": {"inserted": True, "bucket": bucket}}
        if operation == "RunResumeStatus":
            known = self.server.runs.get(str(name))
            return {"model": project | {"bucket": None if known is None else self._resume(str(name), known)}}
        if operation == "Run":
            known = self.server.runs.get(str(name))
            return {"project": {"run": None if known is None else self._run(str(name), known)}}
        if operation == "RunHistoryKeys":
            rows = self.server.runs[str(name)].history
            return {"project": {"run": {"historyKeys": {"lastStep": rows[-1]["_step"] if rows else -1}}}}
        if operation == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.server.url}/upload/{file}"} for file in variables["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if operation.startswith(("ProjectArtifact", "ArtifactType")):  # there is none yet
            return {"project": {"artifactType": None, "artifact": None, "artifactTypes": {"edges": []}}}
        if operation.endswith(("Artifact", "ArtifactManifest", "ArtifactFiles")):
            return self._artifact(operation, variables)
        if "upsertView" in query:
            return {"upsertView": self._view(variables)}
        if operation in ("ProjectInternalId", "GetProjectInternalId"):
            return {"project": {"id": "p", "internalId": "UHJvamVjdDp2MTo="}}
        if operation == "GetProjects":
            return {"models": {"edges": [], "pageInfo": {"endCursor": "", "hasNextPage": False}}}
        if operation in ("Viewer", "GetDefaultEntity", "GetViewer"):
            viewer = {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
            return {"viewer": viewer, "serverInfo": {"cliVersionInfo": {"max_cli_version": "1.0.0"}}}
        return {"serverInfo": {"features": []}}

    def _view(self, variables: dict[str, Any]) -> dict[str, Any]:
        """A saved workspace or report, by its id."""
        name = str(variables.get("name"))
        identity = variables.get("id") or f"VmlldzotLS0{name}"
        self.server.views[identity] = variables
        kept = {key: variables.get(key) or "" for key in ("type", "displayName", "description", "spec")}
        project = {"id": "p", "name": variables.get("projectName"), "entityName": "me"}
        view = {"id": identity, "name": name, **kept, "project": project, "updatedAt": "2026-01-01T00:00:00Z"}
        return {"view": view, "inserted": True}

    def _artifact(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """What wandb asks to store one; an empty answer would end its process."""
        asked = variables.get("input") or variables
        upload = {"uploadHeaders": [], "uploadUrl": f"{self.server.url}/upload/artifact"}
        if operation == "CreateArtifact":
            self.server.artifacts.append(str(asked.get("artifactCollectionName") or asked.get("artifactTypeName")))
            artifact = {"id": "a", "state": "PENDING", "artifactSequence": {"id": "s", "latestArtifact": None}}
            return {"createArtifact": {"artifact": artifact}}
        if operation in ("CreateArtifactManifest", "UpdateArtifactManifest"):
            name = f"{operation[0].lower()}{operation[1:]}"
            return {name: {"artifactManifest": {"id": "m", "file": {"id": "f", **upload}}}}
        if operation == "CreateArtifactFiles":
            nodes = [
                {"id": "x", "name": file["name"], "displayName": file["name"], "storagePath": file["name"], **upload,
                 "uploadMultipartUrls": None, "artifact": {"id": "a"}}
                for file in asked.get("artifactFiles") or []
            ]  # fmt: skip
            return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
        return {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}}

    @staticmethod
    def _run(name: str, run: ServedRun) -> dict[str, Any]:
        """As the public API has it."""
        return {
            "id": f"id-{name}",
            "name": name,
            "projectId": "1",
            "state": "finished",
            "historyLineCount": len(run.history),
            "summaryMetrics": json.dumps(run.summary),
            "config": run.fields.get("config") or "{}",
            "systemMetrics": "{}",
            "tags": run.fields.get("tags") or [],
            "user": {"name": "me", "username": "me"},
        }

    @staticmethod
    def _resume(name: str, run: ServedRun) -> dict[str, Any]:
        return {
            "id": f"id-{name}",
            "name": name,
            "historyLineCount": len(run.history),
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsLineCount": 0,
            "eventsTail": "[]",
            "logLineCount": 0,
            "summaryMetrics": json.dumps(run.summary),
            "config": run.fields.get("config") or "{}",
            "tags": run.fields.get("tags") or [],
            "wandbConfig": json.dumps({"t": {"1": []}}),  # without it the run counts as never started
        }


@contextmanager
def serve() -> Iterator[Server]:
    """A server that answers until the block ends."""
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
