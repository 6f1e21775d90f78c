"""What `docker compose config`, a part of `make lint`, does not see of docker-compose.yml."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chassis.config import ServerConfig, env_name
from gateway.config import GatewayConfig
from services.captioner.config import CaptionerConfig
from services.compositor.config import CompositorConfig
from services.generator.config import GeneratorConfig
from services.ranker.config import RankerConfig

Service = dict[str, Any]

REPOSITORY = Path(__file__).parents[3]
CONFIGS: dict[str, type[ServerConfig]] = {
    "captioner": CaptionerConfig,
    "captioner-gpu": CaptionerConfig,
    "compositor": CompositorConfig,
    "gateway": GatewayConfig,
    "generator": GeneratorConfig,
    "ranker": RankerConfig,
}
SERVICES: dict[str, Service] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
BUILT = {name: each["build"] for name, each in SERVICES.items() if "build" in each}
SECRETS = {
    "generator": {env_name(GeneratorConfig, "llm_api_key").lower()},
    "qdrant": {env_name(RankerConfig, "qdrant_api_key").lower()},
    "gateway": {"keys"},
}


def settings(service: str) -> dict[str, str]:
    """What is set for it, with variables of the shell at their defaults."""
    environment = SERVICES[service].get("environment", {})
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value)) for name, value in environment.items()}


def mounts() -> Iterator[tuple[str, str, str]]:
    """Service, path in the repository and path in the container of all that is mounted from the repository."""
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source, target = volume.removesuffix(":ro").split(":")
            if source.startswith("."):
                assert volume.endswith(":ro")
                yield name, source, target


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_setting_is_one_and_takes_its_value(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config_class = CONFIGS[name]
    ours = {each: value for each, value in settings(name).items() if each.startswith("BACKDROP_")}
    assert set(ours) <= {env_name(config_class, field) for field in config_class.model_fields}
    for each, value in ours.items():
        monkeypatch.setenv(each, value)
    assert config_class().metrics_port == 9464


def test_each_is_called_where_it_listens() -> None:
    called = settings("gateway")
    for name in CONFIGS.keys() - {"gateway", "captioner-gpu"}:
        port = CONFIGS[name].model_fields["port"].default
        assert called[f"BACKDROP_GATEWAY_{name.upper()}_TARGET"] == f"dns:///{name}:{port}"
    gateway = GatewayConfig.model_fields
    published = {f"127.0.0.1:{gateway[each].default}:{gateway[each].default}" for each in ("port", "http_port")}
    assert set(SERVICES["gateway"]["ports"]) == published
    assert SERVICES["captioner-gpu"]["networks"]["default"]["aliases"] == ["captioner"]


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()


def test_settings_and_their_secrets_reach_our_own_services_alone() -> None:
    assert {name for name, service in SERVICES.items() if service["env_file"]} == BUILT.keys()


def test_what_is_built_is_in_the_dockerfile() -> None:
    dockerfile = (REPOSITORY / "deploy/Dockerfile").read_text()
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE))
    assert {build["target"] for build in BUILT.values()} <= stages
    assert {name for build in BUILT.values() for name in build["args"]} <= set(re.findall(r"ARG (\w+)", dockerfile))


def test_images_have_exact_tags() -> None:
    images = {service["image"] for name, service in SERVICES.items() if name not in BUILT}
    assert [image for image in images if not re.fullmatch(r"[\w/.-]+:v?\d+\.\d+\.\d+", image)] == []


def test_mounted_files_exist() -> None:
    sources = {source for _, source, _ in mounts() if not source.startswith("./secrets/")}
    assert sources
    assert [source for source in sources if not (REPOSITORY / source).exists()] == []


def test_secrets_are_mounted_for_who_reads_them() -> None:
    found = {(name, source, target) for name, source, target in mounts() if source.startswith("./secrets/")}
    readers = {("generator", "generator"), ("gateway", "gateway"), ("ranker", "qdrant"), ("qdrant", "qdrant")}
    assert found == {(name, f"./secrets/{folder}", "/run/secrets") for name, folder in readers}
    header = (REPOSITORY / "docker-compose.yml").read_text().partition("\nname:")[0]
    told = set(re.findall(r"secrets/(\w+)/(\w+) ", header))
    assert told == {(folder, file) for folder, files in SECRETS.items() for file in files}


@pytest.mark.parametrize(("secret", "key"), [("hunter2\n", "hunter2"), ("", "none"), (None, "none")])
def test_qdrant_gets_the_key_that_the_ranker_shows(secret: str | None, key: str, tmp_path: Path) -> None:
    (file,) = SECRETS["qdrant"]
    if secret is not None:
        (tmp_path / file).write_text(secret)
    (tmp_path / "entrypoint.sh").write_text('#!/bin/sh\necho "${QDRANT__SERVICE__API_KEY-none}"\n')
    (tmp_path / "entrypoint.sh").chmod(0o755)
    *shell, script = SERVICES["qdrant"]["entrypoint"]
    script = script.replace("$$", "$").replace("/run/secrets", str(tmp_path))
    started = subprocess.run([*shell, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert started.stdout.strip() == key


def test_prometheus_finds_every_service() -> None:
    prometheus = yaml.safe_load((REPOSITORY / "deploy/observability/prometheus.yml").read_text())
    found = {job["job_name"]: job["dns_sd_configs"][0] for job in prometheus["scrape_configs"]}
    assert found.keys() == CONFIGS.keys() - {"captioner-gpu"} | {"qdrant"}
    for name, looked_up in found.items():
        assert looked_up["names"] == [name]
        assert looked_up["port"] == (6333 if name == "qdrant" else 9464)
    files = {Path(target).name for name, _, target in mounts() if name == "prometheus"}
    assert set(prometheus["rule_files"]) <= files


def test_jaeger_and_grafana_are_found_where_they_listen() -> None:
    observability = REPOSITORY / "deploy/observability"
    jaeger = yaml.safe_load((observability / "jaeger.yml").read_text())
    assert jaeger["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] == "0.0.0.0:4317"
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://jaeger:4317 " in (REPOSITORY / "docker-compose.yml").read_text()
    shown = jaeger["extensions"]["jaeger_query"]["http"]["endpoint"].rpartition(":")[2]
    sources = yaml.safe_load((observability / "grafana-provisioning/datasources/backdrop.yml").read_text())
    urls = {each["name"]: each["url"] for each in sources["datasources"]}
    assert urls == {"Prometheus": "http://prometheus:9090", "Jaeger": f"http://jaeger:{shown}"}
    (provider,) = yaml.safe_load((observability / "grafana-provisioning/dashboards/backdrop.yml").read_text())[
        "providers"
    ]
    dashboards = {str(Path(target).parent) for name, source, target in mounts() if source.endswith("dashboard.json")}
    assert dashboards == {provider["options"]["path"]}
