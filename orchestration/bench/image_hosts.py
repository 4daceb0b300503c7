"""Hosts of images that misbehave by plan: paths name a fault, and each host notes how it was asked.

`python -m orchestration.bench.image_hosts` prints its ports as one line of JSON, serves until its
standard input ends, and prints what it saw as another.
"""

from __future__ import annotations

import asyncio
import io
import json
import socket
import struct
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

PRIVATE_NAME = "inside.bench"
OVERSIZED_BYTES = 1_000_000
PIXELS = 96
TRICKLE_S = 30.0
# Per request, so that requests overlap as they do with a host that is not next door.
SERVICE_S = 0.02


def picture(number: int) -> bytes:
    """A picture of its own for every number, as JPEG."""
    coarse = np.random.default_rng(number).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((PIXELS, PIXELS), Image.Resampling.BILINEAR)
    return _encoded(smooth, "JPEG")


def placeholder() -> bytes:
    """A PNG of the size of Imgur's for removed images."""
    return _encoded(Image.new("RGB", (161, 81), (34, 34, 34)), "PNG")


def _encoded(image: Image.Image, format_: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_)
    return buffer.getvalue()


@dataclass
class Seen:
    """How one host was asked."""

    requests: int = 0
    under_way: int = 0
    most_at_once: int = 0
    begun: list[float] = field(default_factory=list)

    def begin(self) -> None:
        self.requests += 1
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        self.begun.append(time.monotonic())

    def most_in(self, seconds: float) -> int:
        """Most requests that began within a window of that length."""
        begun = np.array(self.begun)
        return int((np.searchsorted(begun, begun + seconds) - np.arange(len(begun))).max(initial=0))


@dataclass
class Request:
    """One request under way."""

    fault: str
    number: int
    before: int
    host: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    done: Callable[[], None]

    def reply(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        """Answer in full; done by the time that the client can know it."""
        given = {"Content-Type": "image/jpeg", "Content-Length": str(len(body)), **(headers or {})}
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in given.items())]
        self.done()
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def start(self, length: str) -> None:
        """Send the headers of a body that follows."""
        self.writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n{length}\r\n\r\n".encode()
        )


class ImageHosts:
    """All hosts behind one port, and a private server behind another that nobody may reach."""

    def __init__(self) -> None:
        self.seen: defaultdict[str, Seen] = defaultdict(Seen)
        self.private_reached = 0
        self.port = self.private_port = 0
        self._asked: Counter[str] = Counter()
        self._placeholder = placeholder()

    async def start(self) -> None:
        """Listen on two free ports of the loopback."""
        public = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        private = await asyncio.start_server(self._private, "127.0.0.1", 0)
        self.port = public.sockets[0].getsockname()[1]
        self.private_port = private.sockets[0].getsockname()[1]

    async def _private(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.private_reached += 1
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                await self._answer(head, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        path = head.split(" ", 2)[1]
        host = next(
            line[5:].strip() for line in head.split("\r\n") if line.lower().startswith("host:")
        )
        name = host.partition(":")[0]
        seen = self.seen[name]
        seen.begin()
        ended = False

        def done() -> None:
            nonlocal ended
            seen.under_way -= not ended
            ended = True

        _, fault, number = path.split("/")
        before = self._asked[path]
        self._asked[path] += 1
        request = Request(fault, int(number.partition(".")[0]), before, name, reader, writer, done)
        try:
            await asyncio.sleep(SERVICE_S)
            await self._misbehave(request)
            await writer.drain()
        finally:
            done()

    async def _misbehave(self, request: Request) -> None:
        fault, once = request.fault.removesuffix("_once"), request.fault.endswith("_once")
        body = picture(request.number)
        if once and request.before:
            return request.reply(200, body=body)
        if fault in _SLOW_OR_BROKEN:
            return await _SLOW_OR_BROKEN[fault](request, body)
        status, headers, body = self._reply_of(fault, request, body)
        return request.reply(status, headers, body)

    def _reply_of(
        self, fault: str, request: Request, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        number, private = request.number, self.private_port
        moved = {
            "moved": f"http://{request.host}:{self.port}/fine/{number}.jpg",
            "loop": f"/loop/{number}.jpg",
            "to_private": f"http://127.0.0.1:{private}/",
            "to_private_name": f"http://{PRIVATE_NAME}:{private}/",
            "to_private_mapped": f"http://[::ffff:127.0.0.1]:{private}/",
            "to_own_port": f"http://127.0.0.1:{self.port}/fine/{number}.jpg",
            "to_metadata": "http://169.254.169.254/latest/meta-data",
            "placeholder": "/removed.png",
        }
        html = b"<!doctype html><title>gone</title>"
        replies: dict[str, tuple[int, dict[str, str], bytes]] = {
            "fine": (200, {}, body),
            "octet_stream": (200, {"Content-Type": "application/octet-stream"}, body),
            "says_png": (200, {"Content-Type": "image/png"}, body),
            "busy": (429, {}, b""),
            "busy_waits": (429, {"Retry-After": "1"}, b""),
            "error": (500, {}, b"oops"),
            "html": (200, {"Content-Type": "text/html; charset=utf-8"}, html),
            "html_as_jpeg": (200, {}, html),
            "json": (200, {"Content-Type": "application/json"}, b"{}"),
            "truncated": (200, {}, body[: len(body) * 2 // 3]),
            "oversized": (200, {}, bytes(OVERSIZED_BYTES)),
            "noai": (200, {"X-Robots-Tag": "noai"}, body),
            "noimageai": (200, {"X-Robots-Tag": "noindex, noimageai"}, body),
            "placeholder_body": (200, {"Content-Type": "image/png"}, self._placeholder),
            "missing": (404, {}, b""),
            "forbidden": (403, {}, b""),
            "empty": (200, {}, b""),
        }
        if fault in moved:
            return 302, {"Location": moved[fault]}, b""
        return replies[fault]

    def report(self) -> dict[str, object]:
        """What was seen: requests, most at once and most in a second, by host."""
        hosts = {
            name: {
                "requests": seen.requests,
                "most_at_once": seen.most_at_once,
                "most_in_1_s": seen.most_in(1.0),
                "per_s": round(len(seen.begun) / max(1.0, seen.begun[-1] - seen.begun[0]), 1),
            }
            for name, seen in sorted(self.seen.items())
        }
        return {"hosts": hosts, "private_reached": self.private_reached}


async def _slow(request: Request, body: bytes) -> None:
    request.start(f"Content-Length: {10_000}")
    for _ in range(int(TRICKLE_S / 0.1)):
        request.writer.write(b"x")
        try:
            # A client that gave up is seen at once.
            if not await asyncio.wait_for(request.reader.read(1), 0.1):
                break
        except TimeoutError:
            continue
    request.done()
    request.writer.close()


async def _reset(request: Request, body: bytes) -> None:
    request.start(f"Content-Length: {len(body)}")
    request.writer.write(body[: len(body) // 2])
    await request.writer.drain()
    request.done()
    linger = struct.pack("ii", 1, 0)
    request.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    request.writer.transport.abort()


async def _endless(request: Request, body: bytes) -> None:
    request.start("Transfer-Encoding: chunked")
    chunk = b"4000\r\n" + bytes(0x4000) + b"\r\n"
    for _ in range(64 * OVERSIZED_BYTES // 0x4000):
        request.writer.write(chunk)
        await request.writer.drain()
    request.done()


_SLOW_OR_BROKEN: dict[str, Callable[[Request, bytes], Awaitable[None]]] = {
    "slow": _slow,
    "reset": _reset,
    "endless": _endless,
}


async def main() -> None:
    """Serve until standard input ends."""
    hosts = ImageHosts()
    await hosts.start()
    print(json.dumps({"port": hosts.port, "private_port": hosts.private_port}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps(hosts.report()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
