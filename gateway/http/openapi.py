"""Describes the HTTP API (OpenAPI 3.1) from the contract, its comments and its validation rules.

`python -m gateway.http.openapi DESCRIPTOR_SET FILE` writes it; `make protos` does so, from what protoc read.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# Rules of fields are read only when this is imported.
from buf.validate import validate_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from gateway.http.calls import MAX_TIMEOUT_S
from gateway.http.routes import Route, read_routes

Schema = dict[str, Any]
Field = FieldDescriptorProto

_MESSAGE, _ENUM, _SERVICE = (
    FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER,
    FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER,
    FileDescriptorProto.SERVICE_FIELD_NUMBER,
)
_SCALARS: dict[int, Schema] = {
    Field.TYPE_STRING: {"type": "string"},
    Field.TYPE_BOOL: {"type": "boolean"},
    Field.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    Field.TYPE_INT32: {"type": "integer", "format": "int32"},
    Field.TYPE_INT64: {"type": "string", "format": "int64"},
    Field.TYPE_FLOAT: {"type": "number", "format": "float"},
    Field.TYPE_DOUBLE: {"type": "number", "format": "double"},
}
_WELL_KNOWN: dict[str, Schema] = {
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    ".google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d+)?s$"},
    ".google.rpc.Status": {
        "type": "object",
        "properties": {
            "code": {"type": "integer"},
            "message": {"type": "string"},
            "details": {"type": "array", "items": {"type": "object"}},
        },
    },
}
_PROBLEM: Schema = {
    "type": "object",
    "description": "What went wrong (RFC 9457). `reason` is stable: programs decide by it.",
    "required": ["type", "title", "status", "detail", "instance", "code", "reason"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong and what to do, in whole sentences."},
        "instance": {"type": "string", "format": "uri", "description": "Ends with the request's id in the logs."},
        "code": {"type": "string", "description": "The gRPC status code, such as INVALID_ARGUMENT."},
        "reason": {"type": "string", "description": "Such as LIBRARY_NOT_FOUND."},
        "violations": {
            "type": "array",
            "description": "The fields at fault.",
            "items": {
                "type": "object",
                "required": ["field", "description"],
                "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
            },
        },
    },
}
_ERRORS = {
    "400": "A field of the request is wrong; `violations` names it.",
    "401": "The API key is missing or unknown. Keys are asked for where the gateway is set up so.",
    "403": "The API key is for other libraries.",
    "404": "There is no such library, background or picture.",
    "413": "The body is too large.",
    "415": "The body is neither JSON nor multipart/form-data.",
    "429": "Too much is in work; try again after `Retry-After`.",
    "500": "An unexpected error; the log has it under the request's id.",
    "503": "A service behind the gateway cannot be reached; try again after `Retry-After`.",
    "504": "The deadline passed.",
}
_ONLY_WITH_BODY = ("413", "415")


def describe(files: FileDescriptorSet, package: str) -> Schema:
    """The OpenAPI document of the package's one service."""
    [file] = [each for each in files.file if each.package == package]
    contract = _Contract(file)
    [service] = file.service
    methods = {method.name: method for method in service.method}
    paths: dict[str, Schema] = {}
    for route in read_routes(service):
        paths.setdefault(route.path, {})[route.verb.lower()] = contract.operation(route, methods[route.rpc])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Backdrop",
            "version": package.rpartition(".")[2],
            "description": contract.comment((_SERVICE, 0)),
        },
        "paths": paths,
        "components": {
            "schemas": {"Problem": _PROBLEM, **contract.schemas()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        # Only where the gateway is set up so.
        "security": [{}, {"key": []}],
    }


class _Contract:
    """A file of the contract with its comments."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._file = file
        self._package = f".{file.package}."
        self._messages = {each.name: each for each in file.message_type}
        self._comments = {
            tuple(each.path): " ".join(each.leading_comments.split())
            if "\n  " not in each.leading_comments
            else each.leading_comments.strip()
            for each in file.source_code_info.location
        }

    def comment(self, path: tuple[int, ...]) -> str:
        """What stands above an element of the contract."""
        return self._comments.get(path, "")

    def schemas(self) -> dict[str, Schema]:
        """The schema of each message and enum that others refer to."""
        messages = {each.name: self._message(number, each) for number, each in enumerate(self._file.message_type)}
        enums = {each.name: self._enum(number, each) for number, each in enumerate(self._file.enum_type)}
        return {**messages, **enums}

    def operation(self, route: Route, method: MethodDescriptorProto) -> Schema:
        """A call over HTTP."""
        [number] = [i for i, each in enumerate(self._file.service[0].method) if each.name == route.rpc]
        request = self._filled(method.input_type, route.filled)
        comment = self.comment((_SERVICE, 0, 2, number))
        operation: Schema = {
            "operationId": route.rpc,
            "summary": re.split(r"(?<=\.)\s", comment)[0],
            "description": comment,
            "parameters": [*self._path_parameters(route, request), _timeout_parameter()],
            "responses": {"200": self._success(route, method), **_errors(bool(route.body))},
        }
        fields = dict(self._fields(request, without=route.field[-1]))
        if route.body:
            operation["requestBody"] = {"required": True, "content": _contents(fields)}
        else:
            operation["parameters"] += [
                {"name": name, "in": "query", "schema": schema} for name, schema in fields.items()
            ]
        return operation

    def _filled(self, type_name: str, path: Sequence[str]) -> DescriptorProto:
        message = self._messages[type_name.removeprefix(self._package)]
        for name in path:
            [field] = [each for each in message.field if each.name == name]
            message = self._messages[field.type_name.removeprefix(self._package)]
        return message

    def _path_parameters(self, route: Route, request: DescriptorProto) -> Iterator[Schema]:
        [field] = [each for each in request.field if each.name == route.field[-1]]
        patterns = _constraints(field)["pattern"].strip("^$").split("/")[1::2]
        for name, pattern in zip(route.parameters, patterns, strict=True):
            schema = {"type": "string", "pattern": f"^{pattern}$"}
            yield {"name": name, "in": "path", "required": True, "schema": schema}

    def _success(self, route: Route, method: MethodDescriptorProto) -> Schema:
        name = method.output_type.removeprefix(self._package)
        schema = {"$ref": f"#/components/schemas/{name}"}
        if route.response_body:
            return {"description": "The picture.", "content": {"image/*": {}}}
        if not route.gives_stream:
            return {"description": "Done.", "content": {"application/json": {"schema": schema}}}
        end = "After an error, the last one has a field `error` with the problem; as an event, its name is `error`."
        content = {"x-itemSchema": schema}
        return {
            "description": f"A stream of {name}. {end}",
            "content": {"application/x-ndjson": content, "text/event-stream": content},
        }

    def _message(self, number: int, message: DescriptorProto) -> Schema:
        schema: Schema = {"type": "object", "properties": dict(self._fields(message))}
        return _described(schema, self.comment((_MESSAGE, number)))

    def _enum(self, number: int, enum: EnumDescriptorProto) -> Schema:
        values = {each.name: self.comment((_ENUM, number, 2, i)) for i, each in enumerate(enum.value)}
        explained = "\n".join(f"- {name}: {comment}" for name, comment in values.items() if comment)
        comment = f"{self.comment((_ENUM, number))}\n\n{explained}"
        return _described({"type": "string", "enum": list(values)}, comment.strip())

    def _fields(self, message: DescriptorProto, without: str = "") -> Iterator[tuple[str, Schema]]:
        [number] = [i for i, each in enumerate(self._file.message_type) if each.name == message.name]
        for i, field in enumerate(message.field):
            if field.name != without:
                yield field.json_name, _described(self._field(field), self.comment((_MESSAGE, number, 2, i)))

    def _field(self, field: Field) -> Schema:
        if field.label != Field.LABEL_REPEATED:
            return {**self._type(field), **_constraints(field)}
        rules = field.options.Extensions[validate_pb2.field].repeated
        items = {**self._type(field), **_string_constraints(rules.items)}
        limits = {"minItems": rules.min_items, "maxItems": rules.max_items}
        return {"type": "array", "items": items, **{key: value for key, value in limits.items() if value}}

    def _type(self, field: Field) -> Schema:
        if field.type_name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[field.type_name])
        if field.type_name:
            return {"$ref": f"#/components/schemas/{field.type_name.removeprefix(self._package)}"}
        return dict(_SCALARS[field.type])


def _described(schema: Schema, comment: str) -> Schema:
    return {**schema, "description": comment} if comment else schema


def _contents(fields: Mapping[str, Schema]) -> Schema:
    json_schema = {"type": "object", "properties": dict(fields), "additionalProperties": False}
    files = [name for name, schema in fields.items() if schema.get("contentEncoding") == "base64"]
    parts = {
        name: {"type": "string", "format": "binary"} if name in files else schema for name, schema in fields.items()
    }
    required = {"required": ["image"]} if "image" in files else {}
    contents = {"application/json": {"schema": {**json_schema, **required}}}
    if files:
        contents["multipart/form-data"] = {"schema": {**json_schema, "properties": parts, **required}}
    return contents


def _timeout_parameter() -> Schema:
    return {
        "name": "Request-Timeout",
        "in": "header",
        "description": "Seconds that the client waits: the deadline of the call.",
        "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_S},
    }


def _errors(has_body: bool) -> Schema:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": description, "content": content}
        for status, description in _ERRORS.items()
        if has_body or status not in _ONLY_WITH_BODY
    }


def _constraints(field: Field) -> Schema:
    """The field's rules as far as JSON Schema can say them."""
    rules = field.options.Extensions[validate_pb2.field]
    found: Schema = {**_string_constraints(rules), **_number_constraints(rules)}
    for rule in rules.cel:
        if matched := re.search(r"this\.matches\('(.*?)'\)", rule.expression):
            pattern = matched[1]
            found["pattern"] = f"^$|{pattern}" if "this == ''" in rule.expression else pattern
        if matched := re.fullmatch(r"this >= (\d+) && this <= (\d+)", rule.expression):
            found |= {"minimum": int(matched[1]), "maximum": int(matched[2])}
    return found


def _string_constraints(rules: validate_pb2.FieldRules) -> Schema:
    limits = {"minLength": rules.string.min_len, "maxLength": rules.string.max_len}
    return {key: value for key, value in limits.items() if value}


def _number_constraints(rules: validate_pb2.FieldRules) -> Schema:
    kind = rules.WhichOneof("type")
    if kind not in ("float", "double", "int32"):
        return {}
    numbers = getattr(rules, kind)
    limits = {"minimum": "gte", "maximum": "lte"}
    return {key: getattr(numbers, name) for key, name in limits.items() if numbers.HasField(name)}


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    document = describe(FileDescriptorSet.FromString(source.read_bytes()), "backdrop.gateway.v1")
    target.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
