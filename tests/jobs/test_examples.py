"""Every file that people start from is valid: jobs, nightly, the AWS cluster, Kubernetes, alerts, dashboard."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from jobs.cli import main
from pipeline.config import load_job
from pipeline.library.config import load_nightly
from pipeline.weights import node_cache
from tests.jobs.kuberay_schema import SCHEMAS

ROOT = Path(__file__).parents[2]
JOBS = ROOT / "jobs"
KUBERNETES = "1.34"
METRIC = re.compile(r"\bray_(m2n2_\w+?)(?:_total|_bucket)?\b(?=[{\[)])")


def documents(folder: str) -> list[Any]:
    """(file, document) of every YAML document below a folder of jobs/."""
    return [
        pytest.param(path, document, id=f"{path.stem}-{document['kind']}")
        for path in sorted((JOBS / folder).glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if "kind" in document
    ]


def pods(document: Any) -> Iterator[dict[str, Any]]:
    """Every pod template anywhere in a document: whatever has containers."""
    if isinstance(document, dict):
        if "containers" in document:
            yield document
        for value in document.values():
            yield from pods(value)
    elif isinstance(document, list):
        for value in document:
            yield from pods(value)


def test_every_example_has_its_check() -> None:
    checked = {"examples", "kuberay", "monitoring"}
    assert {path.relative_to(JOBS).parts[0] for path in JOBS.rglob("*.yaml")} == checked


@pytest.mark.parametrize("path", sorted((JOBS / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_example_jobs(path: Path) -> None:
    if "library" in yaml.safe_load(path.read_text()):
        assert load_nightly(path).job.workers.count == 16
    else:
        load_job(path)


def test_the_cluster_on_aws_is_valid_for_ray() -> None:
    config = prepare_config(yaml.safe_load((ROOT / "ray_cluster.yaml").read_text()))
    validate_config(config)
    head, *workers = (config["available_node_types"][name] for name in ("head", "worker_a10g", "worker_l4"))
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"], "a head on a spot node takes the driver with it"
    for worker in workers:
        assert worker["resources"]["GPU"] == 1
        assert worker["min_workers"] == 0
        assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    starts = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in starts
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in " ".join(commands)


def test_a_wrong_cluster_file_would_be_found() -> None:
    config = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    config["max_wrokers"] = 3
    with pytest.raises(jsonschema.ValidationError, match="max_wrokers"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize(("path", "document"), documents("kuberay"))
def test_kubernetes_manifests(path: Path, document: dict[str, Any]) -> None:
    if document["kind"] in SCHEMAS:
        jsonschema.validate(document, SCHEMAS[document["kind"]])
    elif document["kind"] == "Kustomization":
        named = [*document["resources"], *(name for each in document["configMapGenerator"] for name in each["files"])]
        assert all((path.parent / name).exists() for name in named)
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    for pod in pods(document):
        check_pod(pod)


def check_pod(pod: dict[str, Any]) -> None:
    """A pod that Kubernetes knows, that is not root, and whose containers have limits."""
    as_pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": copy.deepcopy(pod)}
    kubernetes_validate.validate(as_pod, KUBERNETES, strict=True)
    assert pod["securityContext"]["runAsNonRoot"] is True
    mounts = {volume["name"] for volume in pod.get("volumes", [])}
    for container in pod["containers"] + pod.get("initContainers", []):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= mounts


def manifest(name: str, kind: str) -> dict[str, Any]:
    found = yaml.safe_load_all((JOBS / "kuberay" / name).read_text())
    document: dict[str, Any] = next(each for each in found if each["kind"] == kind)
    return document


def test_both_schedules_start_the_same_night_one_at_a_time() -> None:
    night = manifest("rayjob.yaml", "RayJob")["spec"]
    assert manifest("raycronjob.yaml", "RayCronJob")["spec"]["jobTemplate"] == night
    cron = manifest("cronjob.yaml", "CronJob")["spec"]
    assert cron["concurrencyPolicy"] == "Forbid"
    assert cron["jobTemplate"]["spec"]["activeDeadlineSeconds"] > night["activeDeadlineSeconds"]
    worker = night["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == worker["resources"]["requests"]["nvidia.com/gpu"] == "1"
    secrets = [source["secretRef"]["name"] for source in worker["envFrom"]]
    assert secrets == [manifest("secret.yaml", "Secret")["metadata"]["name"]]
    assert load_nightly(JOBS / "kuberay" / "nightly.yaml") == load_nightly(JOBS / "examples" / "nightly.yaml")


def test_nodes_copy_the_weights_that_jobs_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    monkeypatch.setattr(node_cache, "weights_on_this_node", lambda spec, storage: copied.append(spec) or "/cache")
    for name, kind in (("rayjob.yaml", "RayJob"), ("raycronjob.yaml", "RayCronJob")):
        spec = manifest(name, kind)["spec"]
        cluster = spec.get("jobTemplate", spec)["rayClusterSpec"]
        (container,) = cluster["workerGroupSpecs"][0]["template"]["spec"]["initContainers"]
        program, *arguments = container["command"]
        assert (program, main(arguments)) == ("m2n2", 0)
    (command,) = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())["worker_setup_commands"]
    assign, call = command.split(";")
    arguments = call.replace('"$M2N2_WEIGHTS"', assign.removeprefix("M2N2_WEIGHTS=")).split("bin/m2n2 ")[1].split()
    assert main(arguments) == 0
    assert copied == [load_nightly(JOBS / "examples" / "nightly.yaml").job.backbone.weights] * 3


def test_a_wrong_manifest_would_be_found() -> None:
    document = manifest("rayjob.yaml", "RayJob")
    document["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplica"] = 3
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(document, SCHEMAS["RayJob"])


@pytest.mark.parametrize(("codes", "code"), [("0", 0), ("2", 2), ("3", 3), ("1 0", 0), ("1 3", 3), ("1 1 1", 1)])
def test_a_night_on_kubernetes_is_started_again_only_after_1(tmp_path: Path, codes: str, code: int) -> None:
    command(tmp_path / "m2n2", 'exit "$(next)"')
    ended = scripted(manifest("rayjob.yaml", "RayJob")["spec"]["entrypoint"], tmp_path, codes)
    assert ended.returncode == code
    assert (tmp_path / "codes").read_text().split() == []


@pytest.mark.parametrize(
    ("endings", "code"),
    [
        (["Complete"], 0),
        (["failed with exit code 2"], 2),
        (["failed with exit code 3"], 3),
        (["the head is gone", "Complete"], 0),
        (["the head is gone", "failed with exit code 1", "the head is gone"], 1),
    ],
)
def test_the_schedules_pod_starts_another_cluster_only_where_that_can_help(
    tmp_path: Path, endings: list[str], code: int
) -> None:
    """`kubectl` here knows of each RayJob how it ended."""
    for number, ending in enumerate(endings, start=1):
        (tmp_path / f"night-{number}").write_text(ending)
    command(
        tmp_path / "kubectl",
        """case "$1 $*" in
             create*) echo "night-$(next)" ;;
             *jobDeploymentStatus*) grep -q Complete "$2" && echo Complete || echo Failed ;;
             get*) cat "$2" ;;
           esac""",
    )
    container = manifest("cronjob.yaml", "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    ended = scripted(container["args"][0], tmp_path, " ".join(map(str, range(1, len(endings) + 1))))
    assert ended.returncode == code
    assert (tmp_path / "codes").read_text().split() == []


def command(path: Path, body: str) -> None:
    """A command that can take the `next` word of a list."""
    take = 'next() { read -r first rest < codes; echo "$rest" > codes; echo "$first"; }'
    path.write_text(f"#!/bin/sh\n{take}\n{body}\n")
    path.chmod(0o755)


def scripted(script: str, directory: Path, codes: str) -> subprocess.CompletedProcess[str]:
    (directory / "codes").write_text(codes + "\n")
    environment = {"PATH": f"{directory}:/usr/bin:/bin", "ASK_AGAIN_S": "0"}
    return subprocess.run(
        ["sh", "-euc", script], cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def exported_metrics() -> set[str]:
    sources = (path.read_text() for path in (ROOT / "pipeline").rglob("metrics.py"))
    return {name for source in sources for name in re.findall(r'"(m2n2_\w+)"', source)}


def test_alerts_ask_for_metrics_that_exist() -> None:
    (group,) = yaml.safe_load((JOBS / "monitoring" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]:
        assert rule.keys() >= {"alert", "expr", "labels", "annotations"}
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert set(METRIC.findall(rule["expr"])) <= exported_metrics()
    everything = " ".join(rule["expr"] for rule in group["rules"])
    only_looked_at = {"m2n2_shards_left", "m2n2_tasks_retried", "m2n2_stage_seconds", "m2n2_bytes_read"}
    assert set(METRIC.findall(everything)) == exported_metrics() - only_looked_at


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    dashboard = json.loads((JOBS / "monitoring" / "dashboard.json").read_text())
    assert dashboard.keys() >= {"uid", "title", "schemaVersion", "panels", "templating"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    asked: set[str] = set()
    for panel in dashboard["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        for target in panel["targets"]:
            assert target["expr"].count("(") == target["expr"].count(")")
            asked |= set(METRIC.findall(target["expr"]))
    assert asked == exported_metrics()
