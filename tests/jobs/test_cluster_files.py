"""One pin: every file of a cluster names the Python and the Ray of pyproject.toml, which are those that run here."""

from __future__ import annotations

import platform
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "jobs" / "kuberay"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PIN = PROJECT["tool"]["m2n2"]["cluster"]
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = dict(re.findall(r"^([a-z0-9_.-]+)==(\S+)", LOCK, re.MULTILINE))
TOKENS_SINCE = (2, 52)  # docs.ray.io/en/latest/ray-security/token-auth.html
CLUSTER_FILES = [ROOT / "ray_cluster.yaml", ROOT / "docs" / "cluster.md", *sorted(KUBERAY.iterdir())]


def test_the_pinned_ray_is_the_one_that_the_tests_run_with() -> None:
    assert ray.__version__ == PIN["ray"]


@pytest.mark.skipif(
    platform.python_version_tuple()[:2] != tuple(PIN["python"].split(".")[:2]),
    reason="other minor versions work as well",
)
def test_the_pinned_python_is_of_the_minor_version_that_the_tests_run_with_and_never_a_later_patch() -> None:
    """A patch of Python that nobody has run is not pinned; with a later one at hand the pin still holds."""
    assert int(PIN["python"].split(".")[2]) <= int(platform.python_version_tuple()[2])


@pytest.mark.parametrize("path", CLUSTER_FILES, ids=lambda path: path.name)
def test_no_file_names_another_python_ray_or_uv(path: Path) -> None:
    text = path.read_text()
    said = {
        "python": re.findall(r"(?:[Pp]ython[ :]|--python )(3\.\d+\.\d+)", text),
        "ray": re.findall(r"(?:rayVersion: |ray==|\bRay )(\d+\.\d+\.\d+)(?! or newer)", text),
        "uv": re.findall(r"uv==([\d.]+\d)", text),
    }
    assert {name: set(versions) - {PIN[name]} for name, versions in said.items()} == {name: set() for name in said}


def test_every_place_that_starts_nodes_names_the_pin() -> None:
    aws = (ROOT / "ray_cluster.yaml").read_text()
    assert f"--python {PIN['python']} ~/m2n2" in aws
    assert f"uv=={PIN['uv']}" in aws
    assert f"FROM python:{PIN['python']}-" in (KUBERAY / "Dockerfile").read_text()
    versions = {name: re.findall(r"rayVersion: (\S+)", (KUBERAY / name).read_text()) for name in NIGHTS}
    assert versions == {name: [PIN["ray"]] for name in NIGHTS}
    assert LOCKED["ray"] == PIN["ray"]


NIGHTS = ("rayjob.yaml", "raycronjob.yaml", "doctor.yaml")


def test_tokens_are_known_to_every_ray_that_is_allowed() -> None:
    (ray_requirement,) = (each for each in PROJECT["project"]["dependencies"] if each.startswith("ray["))
    least = tuple(int(part) for part in ray_requirement.partition(">=")[2].split("."))
    assert tuple(int(part) for part in PIN["ray"].split("."))[:2] >= least >= TOKENS_SINCE
    assert "Ray 2.52.0 or newer" in (ROOT / "docs" / "cluster.md").read_text()


def test_every_requirement_is_locked_and_nothing_of_the_machine_that_locked_is_in_it() -> None:
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["aws"]]
    assert {re.split(r"[\[<>=]", each)[0] for each in wanted} <= LOCKED.keys()
    entries = re.split(r"\n(?=\S)", "\n".join(LOCK.strip().splitlines()[2:]))
    for entry in entries:
        assert re.fullmatch(r"[a-z0-9_.-]+==[\w.]+(?: \\\n    --hash=sha256:[0-9a-f]{64})+", entry), entry


def test_nodes_on_aws_have_private_addresses_and_a_group_of_their_own() -> None:
    """Without SecurityGroupIds, Ray makes a group that lets all of the internet try SSH."""
    config = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    assert config["provider"]["use_internal_ips"] is True
    assert not config["provider"].get("use_external_head_ip")
    for node_type in config["available_node_types"].values():
        assert node_type["node_config"]["SubnetIds"]
        assert node_type["node_config"]["SecurityGroupIds"]
    assert "--cidr 0.0.0.0" not in (ROOT / "docs" / "cluster.md").read_text()


def test_the_image_is_built_from_the_lock_and_from_what_docker_may_see() -> None:
    dockerfile = (KUBERAY / "Dockerfile").read_text()
    assert "--require-hashes -r /opt/m2n2/requirements.lock" in dockerfile
    nothing, *rest = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    seen = {line.removeprefix("!") for line in rest if line.startswith("!")}
    copied = {source for line in re.findall(r"^COPY (.*)", dockerfile, re.MULTILINE) for source in line.split()[:-1]}
    assert nothing == "*"
    assert copied == seen
    assert all((ROOT / source).exists() for source in copied)
    assert "jobs/kuberay" in rest, "the Secret that was filled in stays out of the image"


def test_the_doctor_looks_at_the_nights_cluster() -> None:
    night, doctor = (yaml.safe_load((KUBERAY / name).read_text())["spec"] for name in ("rayjob.yaml", "doctor.yaml"))
    assert doctor["entrypoint"] == "m2n2 doctor /etc/m2n2/nightly.yaml"
    (workers,) = doctor["rayClusterSpec"]["workerGroupSpecs"]
    assert workers["minReplicas"] == workers["replicas"] == 1, "the doctor starts no node"
    assert without_what_differs(doctor) == without_what_differs(night)


def without_what_differs(spec: dict[str, Any]) -> dict[str, Any]:
    for workers in spec["rayClusterSpec"]["workerGroupSpecs"]:
        del workers["replicas"], workers["minReplicas"]
    return {name: value for name, value in spec.items() if name not in ("entrypoint", "activeDeadlineSeconds")}
