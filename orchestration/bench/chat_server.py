"""A small real HTTP server on loopback that speaks the chat-completions protocol.

It has no model: it reads the evidence between the boundary lines, as a model would, and answers
with a persona that cites it. What it does instead is scripted by a subreddit among the evidence:
`script_http429_ok` answers the user's first request with 429 and the second with a persona. It
obeys injected text where the script says `obey`: the worst model there is.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from persona.prompts import SYSTEM_PROMPT

SCRIPT = "script_"
# What gateways answer, with status 200, in place of a completion.
NO_COMPLETIONS: dict[str, dict[str, Any] | bytes] = {
    "page": b"<html>busy</html>",
    "gatewayerror": {"error": {"message": "overloaded"}},
    "nochoice": {"id": "1", "object": "chat.completion", "created": 0, "choices": []},
}


@dataclass
class ChatServer:
    """What came in, and where it listens.

    Args:
        base_url: For the client.
        requests: Bodies, in order of arrival.
        keys: Authorization headers.
        most_at_once: Requests that were under way at the same time, at most.
        delay_s: Seconds that an answer takes.
        limit: Requests beyond as many at once get 429.
        storm: Share of requests that get 429 and 500 by turns.
        refused: Requests that limit and storm refused.
        answered: Requests that got a completion.
        first_s, last_s: When the first request came and the last completion went, by one clock.
    """

    base_url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    most_at_once: int = 0
    delay_s: float = 0.0
    limit: int = 1_000_000
    storm: float = 0.0
    refused: int = 0
    answered: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    _under_way: int = 0
    _arrived: int = 0
    _seen: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, body: dict[str, Any], key: str) -> str:
        """Note a request; return what the script says to do with it."""
        if is_rewrite(body):
            ids = ["s:script_prose_rewritten"]
        else:
            ids = [line["id"] for line in evidence_lines(body)]
        script = next((id_ for id_ in ids if id_.startswith(f"s:{SCRIPT}")), "s:script_ok")
        with self._lock:
            self._under_way += 1
            self.first_s = self.first_s or time.perf_counter()
            self.most_at_once = max(self.most_at_once, self._under_way)
            self._arrived += 1
            stormy = int(self._arrived * self.storm) > int((self._arrived - 1) * self.storm)
            if stormy or self._under_way > self.limit:
                self.refused += 1
                return "http500" if stormy and self.refused % 2 else "http429"
            self.requests.append(body)
            self.keys.append(key)
            marker = " ".join(ids)
            steps = script.removeprefix(f"s:{SCRIPT}").split("_")
            place = min(self._seen[marker], len(steps) - 1)
            self._seen[marker] += 1
        return steps[place]

    def leave(self) -> None:
        """Note that a request was answered."""
        with self._lock:
            self._under_way -= 1


def evidence_lines(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The evidence as a model reads it: JSON lines between the boundaries of the user message."""
    text = user_text(body)
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("=== evidence "))
    last = next(i for i, line in enumerate(lines) if line.startswith("=== end "))
    return [json.loads(line) for line in lines[first + 1 : last]]


def is_rewrite(body: dict[str, Any]) -> bool:
    """Whether a prompt is to be rewritten; else a persona is asked for."""
    return bool(body["response_format"]["json_schema"]["name"] == "rewritten")


def user_text(body: dict[str, Any]) -> str:
    """All text of the first user message."""
    content = body["messages"][1]["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def persona_reply(items: list[dict[str, Any]], **changes: Any) -> str:
    """A persona that cites the evidence of a request."""
    first = items[0]["id"]
    persona: dict[str, Any] = {
        "summary": f"This one follows {len(items)} things. Little more can be said.",
        "interests": [{"text": f"Follows {first}", "evidence": [first], "confidence": 0.5}],
        "aesthetic": [
            {"facet": item["facet"], "text": item["text"], "evidence": [item["id"]]}
            | {"confidence": 0.5}
            for item in items
            if item["kind"] == "tag"
        ],
        "affect": [],
        "confidence": 0.5,
    }
    return json.dumps(persona | changes)


def scripted_reply(step: str, body: dict[str, Any]) -> tuple[str, str]:
    """(content, finish reason) of a step that answers."""
    if is_rewrite(body):
        asked = json.loads(user_text(body).splitlines()[1])["prompt"]
        rewritten = json.dumps({"prompt": f"{asked} in neon light"})
        return (rewritten if step == "rewritten" else "Sure! Here it is."), "stop"
    items = evidence_lines(body)
    snippets = [item["text"] for item in items if item["kind"] == "snippet"]
    claim = {"evidence": [items[0]["id"]], "confidence": 0.5}

    def saying(text: str, **changes: Any) -> str:
        return persona_reply(items, interests=[{"text": text, **claim, **changes}])

    replies = {
        "ok": lambda: persona_reply(items),
        "fenced": lambda: f"```json\n{persona_reply(items)}\n```",
        "broken": lambda: persona_reply(items)[:-20],
        "prose": lambda: "Sure! Here is the persona you asked for.",
        "schema": lambda: persona_reply(items, confidence=7),
        "extra": lambda: persona_reply(items, **{snippets[0] if snippets else "secret": 1}),
        "ghost": lambda: saying("Likes ghosts", evidence=["t1_ghost"]),
        "quote": lambda: saying(" ".join(snippets[0].split()[:9])),
        "contact": lambda: saying("See https://example.net for more"),
        "party": lambda: saying("Always votes for the same party"),
        "leak": lambda: saying(SYSTEM_PROMPT.splitlines()[0][:200]),
        "obey": lambda: saying(next((s for s in snippets if "ZEBRAFLUTE" in s), "")[:200]),
        "cut": lambda: persona_reply(items)[:40],
        "refuse": lambda: "",
    }
    reason = {"cut": "length", "refuse": "content_filter"}.get(step, "stop")
    return replies[step](), reason


class Counted(NamedTuple):
    """Counters of a `ChatServer`, as it serves them."""

    answered: int
    refused: int
    first_s: float
    last_s: float


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer one request by its script."""
        chat = self.server.chat
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        step = chat.enter(body, self.headers.get("Authorization", ""))
        try:
            if chat.delay_s:
                threading.Event().wait(chat.delay_s)
            self._answer(step, body)
        finally:
            chat.leave()

    def do_GET(self) -> None:
        """What was counted so far."""
        chat = self.server.chat
        self._send(200, {name: getattr(chat, name) for name in Counted._fields})

    def _answer(self, step: str, body: dict[str, Any]) -> None:
        if step == "drop":
            self.close_connection = True
            self.connection.close()
        elif step.startswith("http"):
            self._send(int(step[4:]), {"error": {"message": f"scripted {step}", "code": step}})
        elif step in NO_COMPLETIONS:
            self._send(200, NO_COMPLETIONS[step])
        elif step == "toolong":
            message = "This model's maximum context length is 4096 tokens."
            self._send(400, {"error": {"message": message, "code": "context_length_exceeded"}})
        else:
            chat = self.server.chat
            content, reason = scripted_reply(step, body)
            chat.answered += 1
            chat.last_s = time.perf_counter()
            answer = {"role": "assistant", "content": content, "refusal": None}
            choice = {"index": 0, "message": answer, "finish_reason": reason}
            self._send(
                200,
                {
                    "id": "chatcmpl-1",
                    "object": "chat.completion",
                    "created": 0,
                    "model": body["model"],
                    "choices": [choice],
                    "usage": {
                        "prompt_tokens": 100,
                        "completion_tokens": 20,
                        "total_tokens": 120,
                    },
                },
            )

    def _send(self, status: int, payload: dict[str, Any] | bytes) -> None:
        is_page = isinstance(payload, bytes)
        content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if is_page else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Retry-After-Ms", "1")  # the client's own first back-off is 0.5 s
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, chat: ChatServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.chat = chat

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that were killed: some are, on purpose."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def chat_server(
    delay_s: float = 0.0, limit: int = 1_000_000, storm: float = 0.0
) -> Iterator[ChatServer]:
    """A server on a free port of the loopback interface."""
    chat = ChatServer(delay_s=delay_s, limit=limit, storm=storm)
    with _Server(chat) as server:
        chat.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield chat
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class DistantServer:
    """A `ChatServer` in a process of its own: it shares no interpreter with what is measured."""

    base_url: str

    def counted(self) -> Counted:
        """Its counters now."""
        with urllib.request.urlopen(self.base_url) as answer:
            return Counted(**json.load(answer))


@contextmanager
def distant_chat_server(**settings: float) -> Iterator[DistantServer]:
    """As `chat_server`, in another process."""
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, settings))
    process.start()
    try:
        yield DistantServer(ours.recv())
    finally:
        ours.send(None)
        process.join()


def _serve(pipe: Connection, settings: dict[str, Any]) -> None:
    with chat_server(**settings) as server:
        pipe.send(server.base_url)
        pipe.recv()
