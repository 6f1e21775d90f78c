"""HTTP requests to the contract's messages, and messages to JSON (protobuf's canonical JSON)."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from cachetools import LRUCache
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message as AsgiMessage
from starlette.types import Receive

from chassis.errors import InvalidArgument
from gateway.http.problems import BodyTooLarge, UnsupportedMediaType
from gateway.http.routes import Route

JSON = "application/json"
MULTIPART = "multipart/form-data"
_MAX_PART_BYTES = 1024 * 1024


async def read_message(request: Request, route: Route, message: Message, max_bytes: int) -> None:
    """Fills `message` with what the request's path, query and body say.

    Raises:
        InvalidArgument: naming the field that is wrong, or what the body is not.
        UnsupportedMediaType: the body is of another kind.
        BodyTooLarge: it has more than `max_bytes`.
    """
    filled = message
    for name in route.filled:
        filled = getattr(filled, name)
    filled.SetInParent()
    values = _query(request, filled.DESCRIPTOR)
    pictures: dict[str, bytes] = {}
    if route.body:
        limited = Request(request.scope, _limited(request.receive, max_bytes))
        given, pictures = await _read_body(limited, filled.DESCRIPTOR)
        values |= given
    _fill(filled, values)
    for name, picture in pictures.items():
        setattr(filled, name, picture)
    setattr(filled, route.field[-1], route.resource.format(**request.path_params))


def to_json(message: Message) -> dict[str, Any]:
    """The message as a JSON object; fields that are not set are there with their default, unless they may be absent."""
    found: dict[str, Any] = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    return found


class JsonBodies:
    """Messages as JSON, of which the latest are kept: writing it takes longer than an answer from memory does.

    Args:
        max_bytes: of all that is kept; only bodies of at most a 16th of it are.
    """

    def __init__(self, max_bytes: int) -> None:
        self._largest = max_bytes // 16
        self._bodies: LRUCache[tuple[str, bytes], bytes] = LRUCache(max_bytes, getsizeof=len)

    def of(self, message: Message) -> bytes:
        """The message as `to_json` gives it, in UTF-8."""
        key = (message.DESCRIPTOR.full_name, message.SerializeToString(deterministic=True))
        body = self._bodies.get(key)
        if body is None:
            body = json.dumps(to_json(message), ensure_ascii=False, separators=(",", ":")).encode()
            if len(body) <= self._largest:
                self._bodies[key] = body
        return body


async def _read_body(request: Request, descriptor: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The fields of a body by their names in JSON, and its pictures by their names in the contract."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == MULTIPART:
        async with _form(request) as form:
            return _fields(form, descriptor), await _pictures(form, descriptor)
    if media_type == JSON:
        values = _object(await request.body())
        pictures = _take_pictures(values, descriptor)
        return values, pictures
    raise UnsupportedMediaType(f"Send {JSON} or {MULTIPART}, not {media_type or 'a body of no stated type'}.")


def _limited(receive: Receive, max_bytes: int) -> Receive:
    received = 0

    async def limited() -> AsgiMessage:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise BodyTooLarge(f"The body has more than {max_bytes // 1024**2} MiB; send a smaller picture.")
        return message

    return limited


def _query(request: Request, descriptor: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        field = _field(descriptor, name)
        if field is None or field.message_type or field.type == FieldDescriptor.TYPE_BYTES:
            raise InvalidArgument.of(name, f"is no parameter of this call; see {descriptor.name} in /openapi.json")
        _add(values, field, _scalar(value, field))
    return values


@asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    try:
        form = await request.form(max_part_size=_MAX_PART_BYTES)
    except HTTPException as error:
        raise InvalidArgument.of("body", f"is not multipart/form-data: {error.detail}") from error
    try:
        yield form
    finally:
        await form.close()


def _fields(form: FormData, descriptor: Any) -> dict[str, Any]:
    """The parts that are no files: text as it is, lists and messages as JSON."""
    values: dict[str, Any] = {}
    for name, part in form.multi_items():
        field = _require_field(descriptor, name)
        if isinstance(part, UploadFile) or field.type == FieldDescriptor.TYPE_BYTES:
            continue
        if field.message_type and field.message_type.full_name != "google.protobuf.Timestamp":
            values[field.json_name] = _json(part, name)
        else:
            _add(values, field, _scalar(part, field))
    return values


async def _pictures(form: FormData, descriptor: Any) -> dict[str, bytes]:
    pictures = {}
    for name, part in form.multi_items():
        field = _require_field(descriptor, name)
        if field.type == FieldDescriptor.TYPE_BYTES:
            if not isinstance(part, UploadFile):
                raise InvalidArgument.of(name, "send it as a file: a part with a filename")
            pictures[field.name] = await part.read()
        elif isinstance(part, UploadFile):
            raise InvalidArgument.of(name, "is no file: send a part without a filename")
    return pictures


def _take_pictures(values: dict[str, Any], descriptor: Any) -> dict[str, bytes]:
    """What is there in base64, taken out of `values`; protobuf's own reading of it passes over what is none."""
    pictures = {}
    for name in list(values):
        field = _field(descriptor, name)
        if field is not None and field.type == FieldDescriptor.TYPE_BYTES:
            pictures[field.name] = _base64(values.pop(name), name)
    return pictures


def _base64(text: Any, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError) as error:
        raise InvalidArgument.of(name, "is not base64") from error


def _object(body: bytes) -> dict[str, Any]:
    found = _json(body, "body")
    if not isinstance(found, dict):
        raise InvalidArgument.of("body", "send a JSON object")
    return found


def _json(text: str | bytes, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument.of(name, f"is not JSON: {error}") from error


def _fill(message: Message, values: Mapping[str, Any]) -> None:
    try:
        json_format.ParseDict(dict(values), message, max_recursion_depth=20)
    # Numbers that do not fit and texts that are no Unicode are of the latter kinds.
    except (json_format.ParseError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise InvalidArgument.of("body", f"is no {message.DESCRIPTOR.name}: {_text(error)}") from error


def _text(error: Exception) -> str:
    return str(error).encode(errors="replace").decode()


def _scalar(value: str, field: FieldDescriptor) -> Any:
    if field.type == FieldDescriptor.TYPE_BOOL and value in ("true", "false"):
        return value == "true"
    return value


def _add(values: dict[str, Any], field: FieldDescriptor, value: Any) -> None:
    if field.is_repeated:
        values.setdefault(field.json_name, []).append(value)
    elif field.json_name in values:
        raise InvalidArgument.of(field.name, "is there twice; give it once")
    else:
        values[field.json_name] = value


def _require_field(descriptor: Any, name: str) -> FieldDescriptor:
    field = _field(descriptor, name)
    if field is None:
        raise InvalidArgument.of(name, f"is no field of {descriptor.name}; see /openapi.json")
    return field


def _field(descriptor: Any, name: str) -> FieldDescriptor | None:
    """By the name in JSON or in the contract, as canonical JSON takes both."""
    return next((each for each in descriptor.fields if name in (each.json_name, each.name)), None)
