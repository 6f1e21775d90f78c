"""Renders a kustomization: `python -m deploy.kustomize deploy/k8s/overlays/cpu`.

For machines without kubectl, so that the checks can look at what would be applied. It knows the fields that
`deploy/k8s` uses and fails on any other; where kubectl is, a test compares both.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonpatch
import yaml

Resource = dict[str, Any]

_FILE = "kustomization.yaml"
_FIELDS = {
    *("apiVersion", "kind", "namespace", "resources", "components"),
    *("configMapGenerator", "images", "patches"),
}
_CLUSTER_WIDE = {"Namespace"}
# kustomize spells hashes without letters that make words.
_HASH_LETTERS = str.maketrans("013ae", "ghkmt")


class UnknownField(ValueError):
    """A kustomization says something that this renderer does not understand."""


def render(folder: Path) -> list[Resource]:
    """All resources of the kustomization in `folder`, as `kubectl kustomize` gives them, in no certain order.

    Raises:
        UnknownField: kustomize may do something else with it.
    """
    resources = _build(folder, [])
    _name_by_content(resources)
    return resources


def _build(folder: Path, resources: list[Resource]) -> list[Resource]:
    """What the kustomization makes of `resources` and its own, with generated names still plain."""
    content = yaml.safe_load((folder / _FILE).read_text())
    _require_known(content, _FIELDS, folder)
    for each in content.get("resources", []):
        path = folder / each
        resources += _build(path, []) if path.is_dir() else _read(path)
    for each in content.get("configMapGenerator", []):
        _generate(each, resources, folder)
    for each in content.get("components", []):
        resources = _build(folder / each, resources)
    for each in content.get("patches", []):
        resources = _patched(each, resources, folder)
    if "namespace" in content:
        _set_namespace(content["namespace"], resources)
    for each in content.get("images", []):
        _set_image(each, resources, folder)
    return resources


def _require_known(content: dict[str, Any], known: set[str], folder: Path) -> None:
    unknown = sorted(set(content) - known)
    if unknown:
        raise UnknownField(f"{folder}: {', '.join(unknown)}")


def _read(path: Path) -> list[Resource]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def _generate(generator: dict[str, Any], resources: list[Resource], folder: Path) -> None:
    _require_known(generator, {"name", "behavior", "literals"}, folder)
    data = dict(literal.split("=", 1) for literal in generator["literals"])
    if generator.get("behavior", "create") == "create":
        metadata = {"name": generator["name"]}
        resources.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    elif generator["behavior"] == "merge":
        (found,) = (each for each in resources if _id(each) == ("ConfigMap", generator["name"]))
        found["data"] |= data
    else:
        raise UnknownField(f"{folder}: behavior {generator['behavior']}")


def _patched(patch: dict[str, Any], resources: list[Resource], folder: Path) -> list[Resource]:
    _require_known(patch, {"path", "patch", "target"}, folder)
    target = patch["target"]
    _require_known(target, {"kind", "name"}, folder)
    operations = yaml.safe_load((folder / patch["path"]).read_text() if "path" in patch else patch["patch"])
    if not isinstance(operations, list):
        raise UnknownField(f"{folder}: a patch that is no list of operations (JSON 6902)")
    return [jsonpatch.apply_patch(each, operations) if _is_meant(each, target) else each for each in resources]


def _is_meant(resource: Resource, target: dict[str, str]) -> bool:
    kind, name = _id(resource)
    wanted = ((target.get("kind"), kind), (target.get("name"), name))
    return all(pattern is None or re.fullmatch(pattern, text) for pattern, text in wanted)


def _set_namespace(namespace: str, resources: list[Resource]) -> None:
    for each in resources:
        if each["kind"] == "Namespace":
            each["metadata"]["name"] = namespace
        elif each["kind"] not in _CLUSTER_WIDE:
            each["metadata"]["namespace"] = namespace


def _set_image(image: dict[str, str], resources: list[Resource], folder: Path) -> None:
    _require_known(dict(image), {"name", "newName", "newTag"}, folder)
    for container in containers(resources):
        name, _, tag = container["image"].partition(":")
        if name == image["name"]:
            tag = image.get("newTag", tag)
            container["image"] = image.get("newName", name) + (f":{tag}" if tag else "")


def _name_by_content(resources: list[Resource]) -> None:
    """Generated ConfigMaps get a hash of their content for a suffix, wherever they are named."""
    # Those of resource files keep their names in kustomize; there are none, and every ConfigMap is generated.
    names = {}
    for each in resources:
        if each["kind"] == "ConfigMap":
            name = each["metadata"]["name"]
            names[name] = each["metadata"]["name"] = f"{name}-{_content_hash(each)}"
    for container in containers(resources):
        for source in container.get("envFrom", []):
            reference = source.get("configMapRef", {})
            if reference.get("name") in names:
                reference["name"] = names[reference["name"]]


def _content_hash(config_map: Resource) -> str:
    # kustomize means to put the name in, and leaves it empty.
    content = {"data": config_map["data"], "kind": "ConfigMap", "name": ""}
    encoded = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&":
        encoded = encoded.replace(sign, f"\\u{ord(sign):04x}")
    return hashlib.sha256(encoded.encode()).hexdigest()[:10].translate(_HASH_LETTERS)


def containers(resources: list[Resource]) -> Iterator[dict[str, Any]]:
    """Every container of every pod template."""
    for each in resources:
        pod = each.get("spec", {}).get("template", {}).get("spec", {})
        yield from (*pod.get("initContainers", []), *pod.get("containers", []))


def _id(resource: Resource) -> tuple[str, str]:
    return resource["kind"], resource["metadata"]["name"]


if __name__ == "__main__":
    yaml.safe_dump_all(render(Path(sys.argv[1])), sys.stdout, sort_keys=False)
