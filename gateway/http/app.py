"""The gateway's HTTP application: a route for each call, the description of all, and health."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import structlog
from google.protobuf.descriptor_pb2 import ServiceDescriptorProto
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount
from starlette.routing import Route as StarletteRoute
from starlette.staticfiles import StaticFiles

from backdrop.gateway.v1 import gateway_pb2 as pb
from chassis.errors import BackdropError, to_status
from chassis.health import Check
from chassis.interceptors import REQUEST_ID_KEY, new_request_id, record, wrap_stream, wrap_unary
from gateway.api_keys import Door
from gateway.http.bodies import JSON, JsonBodies, read_message, to_json
from gateway.http.calls import Aborted, Behaviour, ClientGone, HttpContext, in_one_task, only, unless_gone
from gateway.http.problems import (
    CLIENT_CLOSED_REQUEST,
    MethodNotAllowed,
    RouteNotFound,
    problem_response,
    to_problem,
)
from gateway.http.routes import Route, read_routes
from gateway.http.security import PAGE_POLICY, SecurityHeaders
from gateway.servicer import SERVICE, GatewayServicer

MAX_BODY_BYTES = 48 * 1024 * 1024
"""Room for the largest picture in base64."""
JSON_CACHE_BYTES = 16 * 1024 * 1024
PAGE = Path(__file__).parent.parent / "page"
EVENT_STREAM = "text/event-stream"
JSON_LINES = "application/x-ndjson"
PING_S = 15

Endpoint = Callable[[Request], Awaitable[Response]]


class _Segment(Convertor[str]):
    """A part of a path up to the next slash, or to the colon of a custom method."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def create_app(servicer: GatewayServicer, door: Door, checks: Mapping[str, Check]) -> Starlette:
    """All routes of the contract, `/openapi.json`, `/healthz` (it lives) and `/readyz` (so do those that it needs)."""
    register_url_convertor("segment", _Segment())
    app = Starlette(
        routes=[
            *_call_routes(servicer, door),
            StarletteRoute("/", _page),
            Mount("/page", StaticFiles(directory=PAGE)),
            StarletteRoute("/openapi.json", _openapi),
            StarletteRoute("/healthz", _healthz),
            StarletteRoute("/readyz", _readyz(checks)),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _crash},
    )
    app.add_middleware(SecurityHeaders)
    return app


def _call_routes(servicer: GatewayServicer, door: Door) -> list[StarletteRoute]:
    descriptor = ServiceDescriptorProto()
    pb.DESCRIPTOR.services_by_name["GatewayService"].CopyToProto(descriptor)
    bodies = JsonBodies(JSON_CACHE_BYTES)
    by_path: dict[str, dict[str, Endpoint]] = defaultdict(dict)
    for route in read_routes(descriptor):
        by_path[route.path][route.verb] = _endpoint(route, getattr(servicer, route.rpc), door, bodies)
    return [
        StarletteRoute(path.replace("}", ":segment}"), _by_verb(endpoints), methods=list(endpoints))
        for path, endpoints in by_path.items()
    ]


def _by_verb(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


def _endpoint(route: Route, behaviour: Behaviour, door: Door, bodies: JsonBodies) -> Endpoint:
    method = pb.DESCRIPTOR.services_by_name["GatewayService"].methods_by_name[route.rpc]
    message_class = getattr(pb, method.input_type.name)
    answer = _streamer(route, behaviour) if route.gives_stream else _answerer(route, behaviour, bodies)

    async def endpoint(request: Request) -> Response:
        request_id = new_request_id()
        try:
            context = HttpContext(request)
            request_id = context.request_id
            # Before a body is taken from somebody unknown.
            door.authenticate(context)
            message = message_class()
            await read_message(request, route, message, MAX_BODY_BYTES)
            return await answer(request, message, context)
        except BackdropError as error:
            return _refused(error, route, request_id)
        except Aborted as aborted:
            return problem_response(aborted.status, request_id, "".join(f"{each}." for each in route.filled))
        except ClientGone:
            return Response(status_code=CLIENT_CLOSED_REQUEST)

    return endpoint


def _refused(error: BackdropError, route: Route, request_id: str) -> Response:
    """The answer to a request that did not become a call; it is logged and counted as one."""
    with structlog.contextvars.bound_contextvars(request_id=request_id, method=_method(route)):
        record(_method(route), error.code, 0.0, {"reason": error.reason, "error": error.message})
    return problem_response(to_status(error), request_id)


def _method(route: Route) -> str:
    return f"/{SERVICE}/{route.rpc}"


Answer = Callable[[Request, Message, HttpContext], Awaitable[Response]]


def _answerer(route: Route, behaviour: Behaviour, bodies: JsonBodies) -> Answer:
    method = _method(route)
    unary, stream = wrap_unary(method, behaviour), wrap_stream(method, behaviour)

    async def first(message: Message, context: HttpContext) -> Message:
        async for response in stream(only(message), context):
            if response.HasField("error"):
                raise Aborted(response.error)
            answered: Message = response
            return answered
        raise Aborted(Status(code=2, message="The call gave no answer."))

    async def answer(request: Request, message: Message, context: HttpContext) -> Response:
        call = first(message, context) if route.takes_stream else unary(message, context)
        response = await unless_gone(request, call)
        headers = {REQUEST_ID_KEY: context.request_id}
        if route.response_body:
            return Response(getattr(response, route.response_body), 200, headers, response.content_type)
        return Response(bodies.of(response), 200, headers, JSON)

    return answer


def _streamer(route: Route, behaviour: Behaviour) -> Answer:
    stream = wrap_stream(_method(route), behaviour)

    async def answer(request: Request, message: Message, context: HttpContext) -> Response:
        responses = in_one_task(stream(message, context))
        # An error before the first response still has a status of its own.
        first = await unless_gone(request, anext(responses, None))
        items = _items(first, responses, context.request_id)
        headers = {REQUEST_ID_KEY: context.request_id, "Cache-Control": "no-store"}
        if EVENT_STREAM in request.headers.get("accept", ""):
            return EventSourceResponse(_events(items), headers=headers, ping=PING_S)
        return StreamingResponse(_lines(items), 200, headers, JSON_LINES)

    return answer


async def _items(
    first: Message | None, responses: AsyncIterator[Message], request_id: str
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Each response with the name of its event; an error comes last, as a problem."""
    if first is None:
        return
    try:
        yield _event_name(first), to_json(first)
        async for response in responses:
            yield _event_name(response), to_json(response)
    except Aborted as aborted:
        yield "error", {"error": to_problem(aborted.status, request_id)}


async def _events(items: AsyncIterator[tuple[str, dict[str, Any]]]) -> AsyncIterator[ServerSentEvent]:
    async for name, item in items:
        yield ServerSentEvent(json.dumps(item, ensure_ascii=False), event=name)


async def _lines(items: AsyncIterator[tuple[str, dict[str, Any]]]) -> AsyncIterator[str]:
    async for _, item in items:
        yield json.dumps(item, ensure_ascii=False) + "\n"


def _event_name(response: Any) -> str:
    return str(getattr(response, "stage", "") or "message")


async def _page(request: Request) -> Response:
    return FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": PAGE_POLICY})


async def _openapi(request: Request) -> Response:
    return JSONResponse(_description())


@cache
def _description() -> Any:
    return json.loads(Path(pb.__file__).with_name("openapi.json").read_text())


async def _healthz(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _readyz(checks: Mapping[str, Check]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            for check in checks.values():
                await check()
        except BackdropError as error:
            return problem_response(to_status(error), new_request_id())
        return JSONResponse({"status": "ok"})

    return endpoint


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    answer: BackdropError = RouteNotFound(f"There is no {request.url.path}; /openapi.json lists all paths.")
    if error.status_code == 405:
        answer = MethodNotAllowed(
            f"{request.url.path} does not take {request.method}; /openapi.json lists what it takes."
        )
    response = problem_response(to_status(answer), new_request_id())
    response.headers.update(error.headers or {})
    return response


async def _crash(request: Request, error: Exception) -> Response:
    # Starlette raises the error again after this, and the server logs it.
    request_id = new_request_id()
    return problem_response(
        to_status(BackdropError(f"An unexpected error happened; tell the request id {request_id} to the operator.")),
        request_id,
    )
