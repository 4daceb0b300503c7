"""Addresses of object stores and HDFS -> files, through Beam's file systems.

Beam's own options say where a store is and who asks: `--s3_endpoint_url=...`, `--hdfs_host=...`.
"""

from __future__ import annotations

import importlib
import re
import socket
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

from pipelines.contract import ConfigError, MissingInputError
from pipelines.engine import CONNECT_S, options_from
from pipelines.quiet_beam import BeamIOError, CompressionTypes, FileSystems

_GLOB = re.compile(r"[*?\[]")
# Scheme -> our extra, and what of it Beam imports.
_EXTRAS = {
    "s3": ("s3", "boto3"),
    "gs": ("gcs", "apache_beam.io.gcp.gcsfilesystem"),
    "hdfs": ("hdfs", "hdfs"),
    "azfs": ("azure", "azure.storage.blob"),
}


class RemoteFile(NamedTuple):
    """A file that a store lists."""

    url: str
    size_bytes: int
    modified_utc: float


def find_remote(url: str, options: Sequence[str] = ()) -> tuple[list[RemoteFile], bool]:
    """Files that `url` names: an object, a glob, or all below a folder; whether it is a folder.

    Raises:
        ConfigError: No file system of the scheme is installed, or options are wrong.
        MissingInputError: The store cannot be asked.
    """
    _require(url, options)
    _assert_answers(url, options)
    is_named = not url.endswith("/")
    found = _match(url) if is_named else []
    if found or (is_named and _GLOB.search(url)):
        return found, False
    return _match(url.rstrip("/") + "/**"), True


def open_remote(url: str, options: Sequence[str] = ()) -> BinaryIO:
    """The object at `url`, as it is stored.

    Raises:
        ConfigError: No file system of the scheme is installed.
    """
    _require(url, options)
    file: BinaryIO = FileSystems.open(url, compression_type=CompressionTypes.UNCOMPRESSED)
    return file


def _assert_answers(url: str, options: Sequence[str]) -> None:
    """Nothing, if S3 can be asked as the options say: Beam would try for minutes, or hours.

    Raises:
        ConfigError: There are no credentials, or the option is no address of a server.
        MissingInputError: The server that the options name takes no connection.
    """
    if url.partition("://")[0].lower() != "s3":
        return
    import boto3  # for those who need it

    told = options_from(options).get_all_options()
    if not told["s3_access_key_id"] and boto3.session.Session().get_credentials() is None:
        raise ConfigError(
            f"input {url!r}: there are no credentials; expected AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, a profile, a role, or Beam's option --s3_access_key_id=..."
        )
    endpoint = told["s3_endpoint_url"]
    if not endpoint:
        return
    server = urlsplit(endpoint)
    if server.scheme not in ("http", "https") or not server.hostname:
        raise ConfigError(
            f"--s3_endpoint_url={endpoint}: expected http://HOST:PORT or https://HOST"
        )
    port = server.port or (80 if server.scheme == "http" else 443)
    try:
        socket.create_connection((server.hostname, port), CONNECT_S).close()
    except OSError as error:
        raise MissingInputError(
            f"input {url!r} cannot be looked up: --s3_endpoint_url={endpoint} takes no connection "
            f"({error}); see that the store is up, then run again"
        ) from error


def _match(pattern: str) -> list[RemoteFile]:
    try:
        (result,) = FileSystems.match([pattern])
    except (BeamIOError, ValueError) as error:  # the latter where an option is missing
        causes = list((getattr(error, "exception_details", None) or {}).values()) or [error]
        raise MissingInputError(
            f"input {pattern!r} cannot be looked up: {causes[0]}; expected an address that Beam's "
            "options (--s3_endpoint_url=..., credentials) give access to"
        ) from error
    return sorted(
        RemoteFile(file.path, file.size_in_bytes, float(file.last_updated_in_seconds or 0))
        for file in result.metadata_list
    )


def _require(url: str, options: Sequence[str]) -> None:
    """Make sure that the address can be read, with these options.

    Beam opens no store before it was told options, be they none; and workers that the local runner
    starts are not told the pipeline's.
    """
    FileSystems.set_options(options_from(options))
    scheme = url.partition("://")[0].lower()
    if scheme not in _EXTRAS:
        schemes = ", ".join(f"{known}://" for known in _EXTRAS)
        raise ConfigError(f"{url!r}: expected a path, or an address of {schemes}")
    extra, module = _EXTRAS[scheme]
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{url!r}: what reads {scheme}:// is not installed ({error}); "
            f"pip install 'tastegraph[{extra}]'"
        ) from error
