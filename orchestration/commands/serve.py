"""`tastegraph serve`: the API and its page over one root."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from orchestration.commands import SAMPLE_ROOT
from pipelines.contract import ConfigError

if TYPE_CHECKING:
    from persona.web.config import ApiConfig


def serve(
    root: Annotated[
        Path | None, typer.Option("--root", help=f"Folder of the run; default {SAMPLE_ROOT}.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option("--config", help="Settings file: sections `api`, `verbalize`.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at.")] = None,
    keys_file: Annotated[
        str | None, typer.Option(help="File with the API keys, one a line.")
    ] = None,
    archive: Annotated[str | None, typer.Option(help="Folder of the exemplar images.")] = None,
    plain: Annotated[bool, typer.Option(help="In this one process, without Ray Serve.")] = False,
) -> None:
    """Serve personas over HTTP: lookups, search, new users, prompts, and a page to look at.

    Example: `tastegraph serve --root runs/2019 --host 0.0.0.0 --keys-file keys`
    """
    from persona.web.deploy import read_file

    sections: dict[str, dict[str, Any]] = read_file(settings) if settings else {}
    given = {"root": root and str(root), "host": host, "port": port, "archive": archive}
    given["keys_file"] = keys_file
    api = {"root": str(SAMPLE_ROOT), **sections.get("api", {})}
    api |= {name: value for name, value in given.items() if value is not None}
    if api.get("archive"):
        from embed.archive import archive_files

        archive_files(Path(api["archive"]))  # a wrong folder would only show no image
    sections = {**sections, "api": api}
    (_serve_plain if plain else _serve_ray)(sections)


def _listen(config: ApiConfig) -> socket.socket:
    """A socket at the address, before anything is loaded.

    Raises:
        ConfigError: It is taken, or none of this machine.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        told = f"host={config.host!r}, port={config.port}: {why}; choose another"
        raise ConfigError(told) from error


def _tell(config: ApiConfig) -> None:
    Console().print(f"http://{config.host}:{config.port}/  (stop with Ctrl-C)", highlight=False)


def _serve_plain(sections: dict[str, dict[str, Any]]) -> None:
    import uvicorn

    from persona.rewrite import Rewriter
    from persona.serve import load_verbalizer
    from persona.web.app import build_app
    from persona.web.deploy import VERBALIZER_REQUESTS, read_settings
    from persona.web.service import PersonaService

    config, verbalize = read_settings(sections)
    listening = _listen(config)
    verbalizer = load_verbalizer(verbalize, VERBALIZER_REQUESTS)
    rewriter = verbalizer if isinstance(verbalizer, Rewriter) else None
    service = PersonaService(Path(config.root), verbalizer, rewriter, config.archive)
    app = build_app(config, service)
    _tell(config)
    settings = uvicorn.Config(app, access_log=False, log_level="warning")
    uvicorn.Server(settings).run(sockets=[listening])


def _serve_ray(sections: dict[str, dict[str, Any]]) -> None:
    import ray
    from ray import serve as ray_serve

    from orchestration.engines import without_notice
    from persona.web.deploy import API, build, read_settings

    config, _ = read_settings(sections)
    graph = build(sections)
    _listen(config).close()
    if not ray.is_initialized():
        # Replicas wait more than they compute: two of the API and the verbalizer fit two cores.
        with without_notice():
            ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        ray_serve.start(http_options={"host": config.host, "port": config.port})
        ray_serve.run(graph, name=API, route_prefix="/")
        _tell(config)
        stop.wait()
    finally:
        ray_serve.shutdown()
        ray.shutdown()
