"""Writes `.env.example`: every setting of every service, with its default and what it is for (`make env-example`)."""

import textwrap
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from chassis.config import ServerConfig, env_name
from chassis.cores import usable_cores
from gateway.config import GatewayConfig
from services.captioner.config import CaptionerConfig
from services.compositor.config import CompositorConfig
from services.generator.config import GeneratorConfig
from services.ranker.config import RankerConfig

PATH = Path(__file__).parent.parent / ".env.example"

HEADER = """\
# Every setting of Backdrop with its default. Copy this file to .env and take the # off what you change; the
# environment overrules the file. Written by `make env-example` from the services' config.py.
#
# A secret may be a file instead, named as its variable in lower case (backdrop_ranker_qdrant_api_key), in the folder
# that BACKDROP_SECRETS_DIR names in the environment, or in /run/secrets. What is set here overrules it.
"""


def render() -> str:
    """The whole file."""
    configs: tuple[type[ServerConfig], ...] = (
        GatewayConfig,
        CaptionerConfig,
        GeneratorConfig,
        RankerConfig,
        CompositorConfig,
    )
    return "\n".join([HEADER, *map(_section, configs)])


def _section(config_class: type[ServerConfig]) -> str:
    title = (config_class.__doc__ or "").splitlines()[0]
    settings = (_setting(env_name(config_class, name), each) for name, each in config_class.model_fields.items())
    return "\n".join([f"# ---- {title}", "", *settings])


def _setting(name: str, field: FieldInfo) -> str:
    comment = textwrap.indent(textwrap.fill(" ".join((field.description or "").split()), 116), "# ")
    return f"{comment}\n#{name}={_shown(field)}\n"


def _shown(field: FieldInfo) -> str:
    """A default as the file shows it: no secret, and nothing of the machine that wrote it."""
    default = field.get_default(call_default_factory=True)
    if field.default_factory is usable_cores or default is None or isinstance(default, SecretStr):
        return ""
    if isinstance(default, Path) and default.is_absolute():
        return ""
    return str(default)


if __name__ == "__main__":
    PATH.write_text(render())
