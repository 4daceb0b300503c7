"""Load and odd requests for the API: many clients at once, and bodies made from its own schema."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np

ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 10**30, 1e308, "", " ", "\x00", "\ud83d\ude00" * 40, "a" * 5000, [], {}),
    *("' OR 1=1 --", "<script>", "../../etc/passwd", [None], [[[]]], {"a": {"b": []}}, "NaN"),
    *("=cmd|' /C calc'!A0", "\u202e", "%00", "r/" + "x" * 60, [0.0] * 10, [1e39] * 64),
)


@dataclass
class Load:
    """What came back.

    Args:
        statuses: Answers by status; 0: no answer.
        seconds: Of every answer.
        elapsed_s: From the first request to the last answer.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    elapsed_s: float = 0.0

    def figures(self) -> dict[str, float]:
        """requests_per_s, p50_ms, p99_ms, errors (neither success nor a deliberate 429)."""
        answered = sum(self.statuses.values())
        fine = sum(self.statuses[status] for status in (200, 429))
        ms = 1000 * np.array(self.seconds or [float("nan")])
        return {
            "requests_per_s": answered / self.elapsed_s,
            "p50_ms": float(np.percentile(ms, 50)),
            "p99_ms": float(np.percentile(ms, 99)),
            "errors": float(answered - fine),
            "refused_429": float(self.statuses[429]),
        }


async def load(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Load:
    """Clients that each send one request after the other over one connection."""
    result = Load()
    start = time.perf_counter()
    end = start + seconds

    async def client(number: int) -> None:
        rng = random.Random(number)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            sent = time.perf_counter()
            writer.write(rng.choice(requests))
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                result.statuses[int(head[9:12])] += 1
            except (OSError, asyncio.IncompleteReadError, ValueError):
                result.statuses[0] += 1
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            result.seconds.append(time.perf_counter() - sent)
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    result.elapsed_s = time.perf_counter() - start
    return result


def get(path: str) -> bytes:
    """A GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, body: Any) -> bytes:
    """A POST request with a JSON body."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def fuzz(client: httpx.Client, tries: int, seed: int) -> Counter[int]:
    """Answers by status to requests that the API's own OpenAPI document suggests, made odd."""
    rng = random.Random(seed)
    document = client.get("/openapi.json").raise_for_status().json()
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    statuses: Counter[int] = Counter()
    for _ in range(tries):
        method, path, operation = rng.choice(operations)
        query = {}
        for parameter in operation.get("parameters", ()):
            odd = str(_value(parameter["schema"], document, rng))[:200]
            told = odd.encode("utf-8", "replace").decode()
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", quote(told, safe="") or "a")
            else:
                query[parameter["name"]] = told
        content = b""
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            content = json.dumps(_value(schema, document, rng)).encode("utf-8", "surrogatepass")
            content = content if rng.random() < 0.95 else content[: len(content) // 2]
        headers = {"content-type": "application/json"} if content else {}
        answer = client.request(method, path, params=query, content=content, headers=headers)
        statuses[answer.status_code] += 1
    return statuses


def _value(schema: dict[str, Any], document: dict[str, Any], rng: random.Random) -> Any:
    """A value of a schema, or, one time in eight, something else."""
    if rng.random() < 0.125:
        return rng.choice(ODD)
    if "$ref" in schema:
        named = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return _value(named, document, rng)
    choices = schema.get("anyOf") or schema.get("enum")
    if choices:
        chosen = rng.choice(choices)
        return _value(chosen, document, rng) if "anyOf" in schema else chosen
    if schema.get("type") == "object":
        required, told = set(schema.get("required", ())), schema.get("properties", {})
        names = [name for name in told if name in required or rng.random() < 0.6]
        return {name: _value(told[name], document, rng) for name in names}
    if schema.get("type") == "array":
        number = rng.randint(schema.get("minItems", 0), min(4, schema.get("maxItems", 4)))
        return [_value(schema.get("items", {}), document, rng) for _ in range(number)]
    low, high = schema.get("minimum", 0), min(schema.get("maximum", 50), 10**12)
    plain: dict[str | None, Any] = {
        "integer": rng.randint(low, high),
        "number": round(rng.uniform(low, high), 3),
        "boolean": rng.random() < 0.5,
        "null": None,
    }
    words = (*schema.get("examples", ()), "neon", "jazz", "a lake at dusk", "i:0a", "0" * 16)
    return plain.get(schema.get("type"), rng.choice(words))
