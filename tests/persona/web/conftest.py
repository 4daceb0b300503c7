"""One small root, and one server over it, for all tests of the API."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from pipelines.contract import Run
from tests.persona.web.served import Served, make_root, served


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole small run; read it only."""
    return make_root(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def server(root: Run) -> Iterator[Served]:
    """A server without keys, and with limits that no test reaches by chance."""
    with served(root, requests_per_s=1e6, burst=1_000_000) as running:
        yield running


@pytest.fixture
def client(server: Served) -> httpx.Client:
    """A client of that server."""
    return server.client
