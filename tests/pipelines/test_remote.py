"""Against a real S3 server on loopback."""

from __future__ import annotations

import bz2
import socket
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import boto3
import pytest
import zstandard
from moto.server import ThreadedMotoServer

from pipelines.containers import CorruptDumpError, read_batches
from pipelines.contract import ConfigError, MissingInputError
from pipelines.dumps import discover
from pipelines.quiet_beam import FileSystems

COMMENTS = b"".join(b'{"id": "b%d", "body": "b"}\n' % n for n in range(5000))
SUBMISSION = b'{"id": "a1", "title": "t"}\n'


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[Any, tuple[str, ...]]]:
    """A client of an S3 server with the empty bucket `dumps`, and Beam's options to reach it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url, key, region = f"http://{host}:{port}", "key", "us-east-1"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=key,
        aws_secret_access_key=key,
        region_name=region,
    )
    client.create_bucket(Bucket="dumps")
    options = (
        f"--s3_endpoint_url={url}",
        f"--s3_access_key_id={key}",
        f"--s3_secret_access_key={key}",
        f"--s3_region_name={region}",
    )
    yield client, options
    server.stop()


def put(client: Any, key: str, data: bytes) -> int:
    client.put_object(Bucket="dumps", Key=key, Body=data)
    return len(data)


def test_folders_globs_and_objects_of_a_store_are_found(
    store: tuple[Any, tuple[str, ...]],
) -> None:
    client, options = store
    sizes = {
        "s3://dumps/found/RC_2020-01.zst": put(
            client, "found/RC_2020-01.zst", zstandard.compress(COMMENTS)
        ),
        "s3://dumps/found/deep/RS_2020-01": put(client, "found/deep/RS_2020-01", SUBMISSION),
        "s3://dumps/found/deep/things.json": put(client, "found/deep/things.json", SUBMISSION),
    }
    put(client, "found/hashes.txt", b"no dump")
    found = discover(["s3://dumps/found/"], options)
    told = {
        dump.path: (dump.month, dump.kind, dump.size_bytes)
        for dumps in found.values()
        for dump in dumps
    }
    assert told == {
        "s3://dumps/found/RC_2020-01.zst": (
            "2020-01",
            "RC",
            sizes["s3://dumps/found/RC_2020-01.zst"],
        ),
        "s3://dumps/found/deep/RS_2020-01": ("2020-01", "RS", len(SUBMISSION)),
        "s3://dumps/found/deep/things.json": ("undated", "RS", len(SUBMISSION)),
    }
    for text, expected in (
        ("s3://dumps/found/R*", ["s3://dumps/found/RC_2020-01.zst"]),
        ("s3://dumps/found/deep/RS_2020-01", ["s3://dumps/found/deep/RS_2020-01"]),
    ):
        (dumps,) = discover([text], options).values()
        assert [dump.path for dump in dumps] == expected


@pytest.mark.parametrize("name", ["RC.zst", "RC.bz2", "RC_2011-01"])
def test_objects_are_read_as_they_are_stored(name: str, store: tuple[Any, tuple[str, ...]]) -> None:
    client, options = store
    pack = {"RC.bz2": bz2.compress, "RC.zst": zstandard.compress}.get(name, zstandard.compress)
    put(client, f"read/{name}", pack(COMMENTS) * 2)
    batches = list(read_batches(f"s3://dumps/read/{name}", 1 << 16, options=options))
    assert len(batches) > 2
    assert b"".join(batch.data for batch in batches) == COMMENTS * 2


def test_a_store_is_read_without_any_options(
    store: tuple[Any, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, options = store
    put(client, "plain/things.json", SUBMISSION)
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)  # as where nothing ran before
    monkeypatch.setenv("AWS_ENDPOINT_URL", options[0].partition("=")[2])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    ((dump,),) = discover(["s3://dumps/plain/"]).values()
    assert dump.kind == "RS"
    (batch,) = read_batches(dump.path)
    assert batch.data == SUBMISSION


def test_missing_credentials_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/no/file")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigError, match=r"'s3://dumps/': there are no credentials.*AWS_ACCESS"):
        discover(["s3://dumps/"])


def test_an_option_that_a_store_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = ModuleType("hdfs")
    monkeypatch.setitem(sys.modules, "hdfs", installed)
    monkeypatch.setattr("apache_beam.io.hadoopfilesystem.hdfs", installed)
    with pytest.raises(MissingInputError, match=r"'hdfs://dumps/.*hdfs_host is not set"):
        discover(["hdfs://dumps/"])


def test_a_cut_object_is_detected(store: tuple[Any, tuple[str, ...]]) -> None:
    client, options = store
    size = put(client, "cut/RC.zst", zstandard.compress(COMMENTS)[:-9])
    with pytest.raises(CorruptDumpError, match=rf"s3://dumps/cut/RC\.zst.*at byte {size}"):
        list(read_batches("s3://dumps/cut/RC.zst", options=options))


@pytest.mark.parametrize("address", ["s3://dumps/none", "s3://dumps/none/*.zst", "s3://none/a"])
def test_an_address_without_dumps_is_named(
    address: str, store: tuple[Any, tuple[str, ...]]
) -> None:
    with pytest.raises(MissingInputError) as caught:
        discover([address], store[1])
    assert address in str(caught.value)


def test_a_store_that_does_not_answer_is_one_error_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(MissingInputError, match=f"{endpoint} takes no connection"):
            discover(["s3://dumps/"], (f"--s3_endpoint_url={endpoint}", "--s3_access_key_id=key"))


@pytest.mark.parametrize("endpoint", ["minio:9000", "//127.0.0.1:9000", "127.0.0.1", "s3://host"])
def test_an_endpoint_that_is_no_address_is_named(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=rf"--s3_endpoint_url={endpoint}: expected http://HOST"):
        discover(["s3://dumps/"], (f"--s3_endpoint_url={endpoint}", "--s3_access_key_id=key"))


@pytest.mark.parametrize(
    ("address", "module", "remedy"),
    [
        ("s3://b/RC_2020-01.zst", "boto3", r"pip install 'tastegraph\[s3\]'"),
        ("gs://b/RC_2020-01.zst", "google.cloud.storage", r"pip install 'tastegraph\[gcs\]'"),
        ("hdfs://b/RC_2020-01.zst", "hdfs", r"pip install 'tastegraph\[hdfs\]'"),
        ("ftp://b/RC_2020-01.zst", "", "expected a path, or an address of s3://"),
    ],
)
def test_what_is_not_installed_is_named(
    address: str, module: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(ConfigError, match=remedy):
        discover([address])
    with pytest.raises(ConfigError, match=remedy):
        list(read_batches(address))
