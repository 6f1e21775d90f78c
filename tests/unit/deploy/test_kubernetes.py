"""What a platform team would check of the manifests, in each overlay as it is applied."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chassis.config import ServerConfig, env_name
from chassis.health import LIVENESS
from deploy.kustomize import render
from gateway.config import GatewayConfig
from services.captioner.config import CaptionerConfig
from services.compositor.config import CompositorConfig
from services.generator.config import GeneratorConfig
from services.ranker.config import RankerConfig

Resource = dict[str, Any]

K8S = Path(__file__).parents[3] / "deploy/k8s"
CONFIGS: dict[str, type[ServerConfig]] = {
    "captioner": CaptionerConfig,
    "compositor": CompositorConfig,
    "gateway": GatewayConfig,
    "generator": GeneratorConfig,
    "ranker": RankerConfig,
}
EDGES = {
    ("callers", "gateway", 50050),
    ("callers", "gateway", 8080),
    ("gateway", "captioner", 50051),
    ("gateway", "generator", 50052),
    ("gateway", "ranker", 50053),
    ("gateway", "compositor", 50055),
    ("ranker", "qdrant", 6333),
    ("monitoring", "backdrop", 9464),
    ("prometheus in monitoring", "qdrant", 6333),
    ("backdrop", "monitoring", 4317),
    ("all", "kube-system", 53),
}
"""Who talks to whom in every overlay, as docs/kubernetes.md shows it."""
INTERNET = {(name, "internet", 443) for name in ("captioner", "gateway", "generator", "ranker")}
MORE_EDGES = {
    "cpu": {("generator", "llm", 50054)},
    "gpu": INTERNET,
    "qdrant-cluster": INTERNET | {("qdrant", "qdrant", 6335)},
}


@pytest.fixture(scope="module", params=sorted(MORE_EDGES))
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def resources(overlay: str) -> list[Resource]:
    return render(K8S / "overlays" / overlay)


def of_kind(resources: list[Resource], *kinds: str) -> dict[str, Resource]:
    return {each["metadata"]["name"]: each for each in resources if each["kind"] in kinds}


def pods(resources: list[Resource]) -> dict[str, Resource]:
    workloads = of_kind(resources, "Deployment", "StatefulSet")
    return {name: each["spec"]["template"]["spec"] for name, each in workloads.items()}


def settings(resources: list[Resource]) -> dict[str, dict[str, str]]:
    """The settings of each service, by its name."""
    by_name = {name.rsplit("-settings-")[0]: each for name, each in of_kind(resources, "ConfigMap").items()}
    return {name: each["data"] for name, each in by_name.items()}


def test_every_pod_passes_the_restricted_profile_and_more(resources: list[Resource]) -> None:
    namespace = of_kind(resources, "Namespace")["backdrop"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in pods(resources).items():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        allowed = {"name", "emptyDir", "secret", "configMap", "persistentVolumeClaim"}
        assert all(set(volume) <= allowed for volume in pod["volumes"]), name
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


def test_every_pod_has_an_account_of_its_own_without_a_token(resources: list[Resource]) -> None:
    accounts = of_kind(resources, "ServiceAccount")
    assert all(each["automountServiceAccountToken"] is False for each in accounts.values())
    assert {name: pod["serviceAccountName"] for name, pod in pods(resources).items()} == {
        name: name for name in accounts
    }


def test_every_container_has_resources_and_probes(resources: list[Resource]) -> None:
    for name, pod in pods(resources).items():
        (container,) = pod["containers"]
        for part in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][part]), name
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container), name


def test_liveness_asks_for_the_process_and_readiness_for_its_peers_too(resources: list[Resource]) -> None:
    for name, config_class in CONFIGS.items():
        (container,) = pods(resources)[name]["containers"]
        port = config_class.model_fields["port"].default
        assert container["livenessProbe"]["grpc"] == {"port": port, "service": LIVENESS}
        assert container["startupProbe"]["grpc"] == {"port": port, "service": LIVENESS}
        assert container["readinessProbe"]["grpc"] == {"port": port}


def test_every_setting_exists_and_is_one_that_the_service_takes(
    resources: list[Resource], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(resources)
    assert set(given) == set(CONFIGS)
    for name, config_class in CONFIGS.items():
        known = {env_name(config_class, field) for field in config_class.model_fields}
        assert set(given[name]) <= known
        with monkeypatch.context() as environment:
            for key, value in given[name].items():
                environment.setenv(key, value)
            config = config_class(_env_file=None)
        assert config.max_connection_age_s > 0
        grace_s = pods(resources)[name]["terminationGracePeriodSeconds"]
        # The gateway drains gRPC, then HTTP.
        assert grace_s > config.shutdown_delay_s + 2 * config.drain_s


def test_services_metrics_and_targets_name_ports_that_are_open(resources: list[Resource]) -> None:
    services = of_kind(resources, "Service")
    ports = {
        name: {each["name"]: each["containerPort"] for each in pod["containers"][0]["ports"]}
        for name, pod in pods(resources).items()
    }
    for service in services.values():
        selected = ports[service["spec"]["selector"]["app.kubernetes.io/name"]]
        assert all(selected[each["targetPort"]] == each["port"] for each in service["spec"]["ports"])
    for name, each in settings(resources).items():
        assert int(each[f"BACKDROP_{name.upper()}_METRICS_PORT"]) == ports[name]["metrics"]
    for peer in set(CONFIGS) - {"gateway"}:
        assert services[peer]["spec"]["clusterIP"] == "None"
        target = settings(resources)["gateway"][f"BACKDROP_GATEWAY_{peer.upper()}_TARGET"]
        assert target == f"dns:///{peer}:{ports[peer]['grpc']}"


def test_network_policies_allow_the_documented_edges_and_no_more(resources: list[Resource], overlay: str) -> None:
    policies = of_kind(resources, "NetworkPolicy")
    deny = policies.pop("default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    incoming = {edge for each in policies.values() for edge in allowed(each["spec"], "ingress")}
    outgoing = {edge for each in policies.values() for edge in allowed(each["spec"], "egress")}
    assert incoming | outgoing == EDGES | MORE_EDGES[overlay]
    inside = set(pods(resources))
    # Both ends have to allow it.
    assert {edge for edge in incoming if edge[0] in inside} == {edge for edge in outgoing if edge[1] in inside}


def allowed(spec: Resource, direction: str) -> Iterator[tuple[str, str, int]]:
    assert direction not in spec or direction.capitalize() in spec["policyTypes"]
    for rule in spec.get(direction, []):
        for end in rule["from" if direction == "ingress" else "to"]:
            for here in selected(spec["podSelector"]):
                for port in rule["ports"]:
                    (there,) = peer(end)
                    yield (there, here, port["port"]) if direction == "ingress" else (here, there, port["port"])


def peer(end: Resource) -> list[str]:
    if "ipBlock" in end:
        return ["internet"]
    # A pod, or a pod in a namespace.
    names = [selected(end[kind]) for kind in ("podSelector", "namespaceSelector") if kind in end]
    return [" in ".join(each) for each in zip(*names, strict=True)]


def selected(selector: Resource) -> list[str]:
    if not selector:
        return ["all"]
    if "matchExpressions" in selector:
        (expression,) = selector["matchExpressions"]
        return list(expression["values"])
    ((label, value),) = selector["matchLabels"].items()
    return ["callers"] if label == "backdrop/may-call" else [value]


def test_budgets_and_autoscalers_have_targets(resources: list[Resource]) -> None:
    names = set(pods(resources))
    budgets = of_kind(resources, "PodDisruptionBudget")
    selectors = {each["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] for each in budgets.values()}
    assert set(budgets) == selectors == names
    scalers = of_kind(resources, "HorizontalPodAutoscaler")
    assert {each["spec"]["scaleTargetRef"]["name"] for each in scalers.values()} == set(CONFIGS)
    # It would be set back with each kubectl apply.
    assert not any("replicas" in of_kind(resources, "Deployment")[name]["spec"] for name in CONFIGS)
    adapter = yaml.safe_load((K8S / "prometheus-adapter.yaml").read_text())
    provided = {rule["seriesQuery"].split("{")[0] for rule in adapter["rules"]["custom"]}
    assert {each["spec"]["metrics"][0]["pods"]["metric"]["name"] for each in scalers.values()} == provided


def test_volumes_claims_and_selectors_fit_together(resources: list[Resource]) -> None:
    claims = of_kind(resources, "PersistentVolumeClaim")
    for name, each in of_kind(resources, "Deployment", "StatefulSet").items():
        template = each["spec"]["template"]
        assert each["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        assert template["metadata"]["labels"]["app.kubernetes.io/name"] == name
        volumes = template["spec"]["volumes"]
        templates = [claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", [])]
        mounted = {mount["name"] for mount in template["spec"]["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in volumes} | set(templates)
        wanted = {
            volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume
        }
        assert wanted <= set(claims)
