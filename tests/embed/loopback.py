"""A real HTTP server on the loopback, scripted by path, that remembers what it was asked."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler, int], None]


@dataclass
class Loopback:
    """A running server: what it answers, and what it saw, and when (epoch seconds)."""

    host: str
    answers: dict[str, Answer] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, path: str, headers: dict[str, str]) -> int:
        """Note a request; the number of requests for its path before it."""
        with self._lock:
            before = sum(known == path for known, _ in self.seen)
            self.seen.append((path, headers))
            self.times.append(time.time())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        return before

    def leave(self) -> None:
        """Note that a request is answered."""
        with self._lock:
            self._at_once -= 1

    def count(self, path: str) -> int:
        """Requests for a path."""
        return sum(known == path for known, _ in self.seen)


def reply(status: int = 200, content: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
    """Answers with a status, body and headers; an image unless the headers say otherwise."""

    def answer(handler: BaseHTTPRequestHandler, before: int) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": "image/png", **(headers or {})}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def in_turn(*answers: Answer) -> Answer:
    """The first answer to the first request, and so on; the last to all further ones."""

    def answer(handler: BaseHTTPRequestHandler, before: int) -> None:
        answers[min(before, len(answers) - 1)](handler, before)

    return answer


@contextmanager
def serve(tls: ssl.SSLContext | None = None) -> Iterator[Loopback]:
    """A server on a free port of 127.0.0.1, reached as localhost, until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            before = state.enter(self.path, dict(self.headers.items()))
            try:
                state.answers.get(self.path, reply(404))(self, before)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                state.leave()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    state = Loopback(host=f"localhost:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
