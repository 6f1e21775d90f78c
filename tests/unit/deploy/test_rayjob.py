"""The bulk job on Kubernetes fits the installation that it fills."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.kustomize import render

DEPLOY = Path(__file__).parents[3] / "deploy"

Resource = dict[str, Any]


@pytest.fixture(scope="module")
def job() -> Resource:
    loaded: Resource = yaml.safe_load((DEPLOY / "ray/rayjob.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def installation() -> list[Resource]:
    return render(DEPLOY / "k8s/overlays/gpu")


def pods(job: Resource) -> list[Resource]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"]["template"], *(each["template"] for each in cluster["workerGroupSpecs"])]


def test_it_calls_services_that_there_are(job: Resource, installation: list[Resource]) -> None:
    words = job["spec"]["entrypoint"].split()
    called = {words[words.index(option) + 1] for option in ("--target", "--generator")}

    there = {
        f"dns:///{each['metadata']['name']}.{each['metadata']['namespace']}:{port['port']}"
        for each in installation
        if each["kind"] == "Service"
        for port in each["spec"]["ports"]
    }
    assert called <= there


def test_it_reads_with_the_captioners_model(job: Resource, installation: list[Resource]) -> None:
    [settings] = [
        each["data"]
        for each in installation
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("captioner-settings")
    ]
    for pod in pods(job):
        [container] = pod["spec"]["containers"]
        environment = {each["name"]: each.get("value") for each in container["env"]}
        assert environment["BACKDROP_CAPTIONER_MODEL"] == settings["BACKDROP_CAPTIONER_MODEL"]


def test_its_pods_are_those_that_the_generator_lets_in(job: Resource) -> None:
    policy, ray = yaml.safe_load_all((DEPLOY / "ray/network.yaml").read_text())
    assert ray["metadata"]["namespace"] == job["metadata"]["namespace"]
    [rule] = policy["spec"]["ingress"]
    [peer] = rule["from"]
    assert all(pod["metadata"]["labels"] == peer["podSelector"]["matchLabels"] for pod in pods(job))


def test_its_image_has_the_ray_that_is_locked() -> None:
    [ray] = re.findall(r"^ray==(\S+)$", (DEPLOY.parent / "constraints.txt").read_text(), re.MULTILINE)
    assert f"FROM rayproject/ray:{ray}-py311-gpu" in (DEPLOY / "ray/Dockerfile").read_text()
    assert f'rayVersion: "{ray}"' in (DEPLOY / "ray/rayjob.yaml").read_text()
