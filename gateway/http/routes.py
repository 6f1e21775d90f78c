"""Routes as the contract gives them: one for each call, read from its `google.api.http` rule."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor_pb2 import MethodDescriptorProto, ServiceDescriptorProto

_TEMPLATE = re.compile(r"/v1/\{(?P<field>[a-z_.]+)=(?P<resource>[^}]+)\}(?P<rest>.*)")
_SINGULAR = {"libraries": "library", "backgrounds": "background"}


@dataclass(frozen=True, slots=True)
class Route:
    """How one call is made over HTTP.

    Attributes:
        rpc: name of the call.
        verb: such as `POST`.
        path: with its parameters in braces, such as `/v1/libraries/{library}:recommend`.
        parameters: names of those, such as `library`.
        field: where the resource's name goes in the request's message: `parent`, or `request.parent`.
        resource: the name with its parameters, such as `libraries/{library}`.
        body: which field of the request's message the HTTP body is: `*` for all that the path does not hold, empty for
            none.
        response_body: the field of the response's message that the HTTP body is, as it is; empty for all, as JSON.
        takes_stream: the call takes a stream; over HTTP, of one message.
        gives_stream: the call gives a stream of responses, over HTTP too.
    """

    rpc: str
    verb: str
    path: str
    parameters: tuple[str, ...]
    field: tuple[str, ...]
    resource: str
    body: str
    response_body: str
    takes_stream: bool
    gives_stream: bool

    @property
    def filled(self) -> tuple[str, ...]:
        """The path to the message that body and query fill; empty for the request's message itself."""
        return self.field[:-1]


def read_routes(service: ServiceDescriptorProto) -> list[Route]:
    """The routes of a service, in the contract's order; calls without a rule have none."""
    rules = ((method, method.options.Extensions[annotations_pb2.http]) for method in service.method)
    return [_route(method, rule) for method, rule in rules if rule.WhichOneof("pattern")]


def _route(method: MethodDescriptorProto, rule: HttpRule) -> Route:
    verb = str(rule.WhichOneof("pattern"))
    template = str(getattr(rule, verb))
    matched = _TEMPLATE.fullmatch(template)
    if matched is None:
        raise ValueError(f"{method.name}: the path {template} is none of the kind /v1/{{field=collection/*}}")
    resource, parameters = _named(matched["resource"].split("/"))
    return Route(
        rpc=method.name,
        verb=verb.upper(),
        path=f"/v1/{resource}{matched['rest']}",
        parameters=parameters,
        field=tuple(matched["field"].split(".")),
        resource=resource,
        body=rule.body,
        response_body=rule.response_body,
        takes_stream=method.client_streaming,
        # A stream of one message is answered by one.
        gives_stream=method.server_streaming and not method.client_streaming,
    )


def _named(segments: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """`libraries/*` as `libraries/{library}`, with the names in braces."""
    collections = segments[::2]
    parameters = tuple(_SINGULAR[each] for each in collections)
    named = (f"{each}/{{{parameter}}}" for each, parameter in zip(collections, parameters, strict=True))
    return "/".join(named), parameters
