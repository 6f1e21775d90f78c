import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.kustomize import UnknownField, render

OVERLAYS = sorted((Path(__file__).parents[3] / "deploy/k8s/overlays").iterdir())


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda each: each.name)
@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kubectl_renders_the_same(overlay: Path) -> None:
    rendered = subprocess.run(["kubectl", "kustomize", str(overlay)], check=True, capture_output=True, text=True)
    assert by_name(render(overlay)) == by_name(list(yaml.safe_load_all(rendered.stdout)))


def by_name(resources: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["kind"], each["metadata"]["name"]): each for each in resources}


@pytest.mark.parametrize(
    "text",
    [
        "namePrefix: a-",
        "configMapGenerator: [{name: a, files: [b]}]",
        "patches: [{target: {kind: A}, patch: 'kind: A'}]",
        "patches: [{target: {labelSelector: a=b}, patch: '[]'}]",
    ],
)
def test_what_is_not_understood_fails(text: str, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text(text)
    with pytest.raises(UnknownField):
        render(tmp_path)
