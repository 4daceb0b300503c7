"""The Kubernetes manifests: rendered, complete, of the shape that the operators take.

`shapes.json` holds what we use of each kind, exactly. Where the operators' own definitions lie in
`build/crds` (`make crds`), the same manifests are held to those, strictly, too.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from embed.config import ClipConfig
from orchestration import command_line, profiles
from orchestration.dagster.command import Command
from persona.web.deploy import read_settings
from pipelines.forgotten import tombstones

REPOSITORY = Path(__file__).resolve().parents[2]
K8S = REPOSITORY / "infra" / "k8s"
CRDS = REPOSITORY / "build" / "crds"
OVERLAYS = ("local", "staging", "production")
SHAPES = json.loads((Path(__file__).with_name("shapes.json")).read_text())
KINDS = sorted({*SHAPES["kinds"]})

Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> list[Manifest]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: it renders the overlays")
    words = ["kubectl", "kustomize", str(K8S / "overlays" / overlay)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def base() -> list[Manifest]:
    files = sorted(path for path in (K8S / "base").glob("*.yaml") if path.stem != "kustomization")
    return [m for path in files for m in yaml.safe_load_all(path.read_text())]


def problems(manifest: Manifest) -> list[str]:
    shape = {**SHAPES["kinds"][manifest["kind"]], "$defs": SHAPES["$defs"]}
    found = jsonschema.Draft202012Validator(shape).iter_errors(manifest)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


def named(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] == kind}


def pods(value: Any) -> Iterator[Manifest]:
    """Every pod's spec below."""
    if isinstance(value, dict):
        if isinstance(value.get("containers"), list):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from pods(item)


def test_the_base_has_the_shape_of_every_kind() -> None:
    assert {m["kind"] for m in base()} <= set(KINDS)
    assert [p for m in base() for p in problems(m)] == []


def test_a_shape_finds_what_is_wrong() -> None:
    job = named(base(), "RayJob")["refresh"]
    wrong = {**job, "spec": {**job["spec"], "entryPoint": "x", "backoffLimit": "many"}}
    assert len(problems(wrong)) == 2


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_renders_to_the_shape_of_every_kind(overlay: str) -> None:
    assert [p for m in rendered(overlay) if m["kind"] in KINDS for p in problems(m)] == []
    kinds = {m["kind"] for m in rendered(overlay)}
    assert {"RayJob", "RayService", "FlinkDeployment", "Job", "PersistentVolumeClaim"} <= kinds


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_finds_what_it_mounts(overlay: str) -> None:
    manifests = rendered(overlay)
    claims = named(manifests, "PersistentVolumeClaim").keys()
    maps = named(manifests, "ConfigMap").keys()
    secrets = {"tastegraph", "tastegraph-store"}
    if overlay == "local":
        assert named(manifests, "Secret").keys() == secrets
    for manifest in manifests:
        for pod in pods(manifest):
            volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
            for volume in volumes.values():
                assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}
                assert volume.get("secret", {}).get("secretName") in {None, *secrets}
            for container in pod["containers"]:
                mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
                assert mounts <= volumes.keys(), container["name"]
                for source in container.get("envFrom", []):
                    told = source.get("configMapRef", source.get("secretRef"))["name"]
                    assert told in {*maps, *secrets}
                if container.get("image", "").partition(":")[0] == "tastegraph":
                    assert ":" in container["image"], "an image without a version"
                    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_whoever_writes_the_volume_may(overlay: str) -> None:
    """A fresh volume is root's, and the image runs as a user of its own."""
    lines = (REPOSITORY / "infra" / "Dockerfile").read_text()
    (user,) = re.findall(r"useradd .*--uid (\d+)", lines)
    writers = [
        pod.get("securityContext", {}).get("fsGroup")
        for manifest in rendered(overlay)
        for pod in pods(manifest)
        for container in pod["containers"]
        for mount in container.get("volumeMounts", [])
        if mount["name"] == "shared" and not mount.get("readOnly")
    ]
    assert len(writers) >= 5 and set(writers) == {int(user)}


def commands(manifests: list[Manifest]) -> list[list[str]]:
    """Words of every `tastegraph` command that the manifests run."""
    texts = [m["spec"]["entrypoint"] for m in manifests if m["kind"] == "RayJob"]
    for pod in (pod for m in manifests for pod in pods(m)):
        texts += [text for c in pod["containers"] for text in c.get("args", []) if " run " in text]
    found = [shlex.split(text) for text in texts]
    return [words[words.index("tastegraph") + 1 :] for words in found if "tastegraph" in words]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_commands_are_ones_that_tastegraph_takes(overlay: str, tmp_path: Path) -> None:
    """Run as they are, in a place where the dumps are missing: that is all they may complain of."""
    found = commands(rendered(overlay))
    assert len(found) == 2
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "part-00000.parquet").touch()
    for words in found:
        moved = [str(tmp_path / "key") if "pseudonym-key" in w else w for w in words]
        moved[moved.index("--input") + 1] = str(tmp_path / "nowhere")
        moved[moved.index("--root") + 1] = str(tmp_path / "run")
        moved[moved.index("--archive") + 1] = str(tmp_path / "images")
        if "--clip-model" in moved:  # whose weights would be downloaded
            moved[moved.index("--clip-model") + 1] = ClipConfig().model
            moved[moved.index("--clip-pretrained") + 1] = ClipConfig().pretrained
        result = CliRunner().invoke(command_line.app, moved)
        assert "nowhere" in str(result.exception) and "has no dumps" in str(result.exception)
        settings = [moved[i + 1] for i, word in enumerate(moved) if word == "--set"]
        profile = profiles.dumps(tmp_path, ("x",), tmp_path / "key")
        assert profiles.override(profile, settings) != profile


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_dagster_makes_the_same_of_the_root_as_the_job_does(overlay: str) -> None:
    """Else each would find the other's results made with other settings, and make all again."""
    manifests = rendered(overlay)
    environment = named(manifests, "ConfigMap")["tastegraph"]["data"]
    (container,) = named(manifests, "Deployment")["dagster"]["spec"]["template"]["spec"][
        "containers"
    ]
    told = container["args"][0].partition('TASTEGRAPH_COMMAND="')[2].partition('"')[0]
    words = Command(tuple(shlex.split(Template(told).substitute(environment)))).words
    (job,) = [w for w in commands(manifests) if "--keep-encoder" in w]
    assert profile_of(words) == profile_of(job)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_refresh_can_be_applied_when_ingest_is_done(overlay: str) -> None:
    """By its label, as the operations guide says."""
    part = "app.kubernetes.io/component"
    labelled = [m for m in rendered(overlay) if m["metadata"].get("labels", {}).get(part)]
    assert [(m["kind"], m["metadata"]["labels"][part]) for m in labelled] == [("RayJob", "refresh")]
    guide = (REPOSITORY / "infra" / "operations.md").read_text()
    assert f"PART={part}" in guide and "-l $PART!=refresh" in guide and "-l $PART=refresh" in guide


def test_tombstones_may_be_left_beside_the_key() -> None:
    """The key is mounted read-only; links of the image lead to it and to where one may write."""
    lines = (REPOSITORY / "infra" / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    (made,) = [line for line in lines if "/opt/tastegraph/keys" in line]
    links = {link: target for target, link in re.findall(r"ln -s (\S+) (\S+)", made)}
    for manifest in (m for overlay in OVERLAYS for m in rendered(overlay)):
        for key in set(re.findall(r"--key-file (\S+)", json.dumps(manifest))):
            mounts = [
                mount
                for pod in pods(manifest)
                for container in pod["containers"]
                for mount in container.get("volumeMounts", [])
            ]
            writable = {m["mountPath"] for m in mounts if not m.get("readOnly")}
            read_only = {m["mountPath"] for m in mounts if m.get("readOnly")}
            assert str(Path(links[key]).parent) in read_only
            assert str(Path(links[str(tombstones(key))]).parent) in writable


def test_schedules_that_were_turned_on_outlive_the_pod() -> None:
    pod = named(base(), "Deployment")["dagster"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    home = container["args"][0].partition("export DAGSTER_HOME=")[2].partition(";")[0]
    (volume,) = [m["name"] for m in container["volumeMounts"] if m["mountPath"] == home]
    kept = {v["name"] for v in pod["volumes"] if "persistentVolumeClaim" in v}
    assert volume in kept


def profile_of(words: Sequence[str]) -> dict[str, Any]:
    """Configs by step that a `run` with these words has, and the precision of its embedding."""
    made: list[profiles.Profile] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(command_line, "_run", lambda profile, *_: made.append(profile))
        patched.setattr(command_line, "_key", lambda path: path)
        CliRunner().invoke(command_line.app, list(words), catch_exceptions=False)
    (profile,) = made
    configs = {step: profile.settings(step)[0] for step in profiles.SETTINGS}
    return {**configs, "precision": profile.embedding.precision, "keep": profile.keep}


def services(manifests: list[Manifest]) -> set[str]:
    """Addresses, `name:port`, that pods can ask."""
    return {
        f"{name}:{port['port']}"
        for name, service in named(manifests, "Service").items()
        for port in service["spec"]["ports"]
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ingest_reaches_the_job_server_and_its_workers_the_dumps(overlay: str) -> None:
    manifests = rendered(overlay)
    (words,) = [w for w in commands(manifests) if "beam.runner=FlinkRunner" in w]
    (text,) = [word for word in words if word.startswith("beam.options=")]
    told = dict(option.removeprefix("--").split("=") for option in text[13:].split(","))
    assert {told["job_endpoint"], told["artifact_endpoint"]} <= services(manifests)
    workers = named(manifests, "FlinkDeployment")["flink"]["spec"]["taskManager"]["podTemplate"]
    (pool,) = [c for c in workers["spec"]["containers"] if c["name"] == "python-workers"]
    assert {"secretRef": {"name": "tastegraph-store"}} in pool["envFrom"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_service_is_told_what_the_api_knows(overlay: str) -> None:
    told = yaml.safe_load(named(rendered(overlay), "RayService")["api"]["spec"]["serveConfigV2"])
    (application,) = told["applications"]
    config, _ = read_settings(application["args"])
    assert config.keys_file and config.host == "0.0.0.0"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_api_may_fill_all_workers_that_come(overlay: str) -> None:
    spec = named(rendered(overlay), "RayService")["api"]["spec"]
    (application,) = yaml.safe_load(spec["serveConfigV2"])["applications"]
    (group,) = spec["rayClusterConfig"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    processors = group["maxReplicas"] * int(container["resources"]["limits"]["cpu"])
    assert application["args"]["api"]["max_replicas"] >= processors


def test_production_asks_for_spot_gpus_that_come_and_go() -> None:
    job = named(rendered("production"), "RayJob")["refresh"]["spec"]
    spec = job["rayClusterSpec"]
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert spec["enableInTreeAutoscaling"] is True
    assert groups["gpu"]["minReplicas"] == 0 < groups["gpu"]["maxReplicas"]
    (container,) = groups["gpu"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    threads = int(job["entrypoint"].split("embedding.threads_per_actor=")[1].split()[0])
    assert 1 < threads < int(container["resources"]["limits"]["cpu"])


@cache
def official() -> dict[tuple[str, str], Any]:
    """Schemas of the operators by version and kind."""
    found = {}
    for path in sorted(CRDS.glob("*.y*ml")):
        crd = yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for version in crd["spec"]["versions"]:
            api = f"{crd['spec']['group']}/{version['name']}"
            schema = strict(version["schema"]["openAPIV3Schema"])
            found[api, crd["spec"]["names"]["kind"]] = schema
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_operators_own_definitions_take_them(overlay: str) -> None:
    definitions = official()
    checked = [m for m in rendered(overlay) if (m["apiVersion"], m["kind"]) in definitions]
    if not checked:
        pytest.skip("no definitions in build/crds: `make crds` fetches them (needs Go)")
    for manifest in checked:
        schema = definitions[manifest["apiVersion"], manifest["kind"]]
        errors = jsonschema.Draft202012Validator(schema).iter_errors(manifest)
        told = [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in errors]
        assert told == [], manifest["kind"]


def strict(schema: Any, top: bool = True) -> Any:
    """A definition's schema as Kubernetes means it: fields that it does not name are wrong."""
    if isinstance(schema, list):
        return [strict(item, top=False) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    told = {
        name: {key: strict(value, top=False) for key, value in item.items()}
        if name == "properties"
        else strict(item, top=False)
        for name, item in schema.items()
        if name != "format"
    }
    if "properties" in told and not schema.get("x-kubernetes-preserve-unknown-fields"):
        told["additionalProperties"] = False
    if top:
        told["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
    return told


def test_the_image_takes_what_it_copies() -> None:
    lines = (REPOSITORY / "infra" / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--" not in line]
    ignore = (REPOSITORY / "infra" / "Dockerfile.dockerignore").read_text().splitlines()
    for name in (name for names in copied for name in names):
        assert (REPOSITORY / name).exists(), name
        assert f"!{name}" in ignore, name
