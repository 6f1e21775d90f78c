"""`backdrop rules`, and the rules in the file of an export."""

from collections.abc import Sequence

import grpc

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc
from chassis.errors import reason_of, status_of
from gateway.cli import tables
from gateway.cli.client import filter_text
from gateway.cli.console import fail, out, warn

MOST = 16
"""The contract's limit."""


def read(stub: gateway_pb2_grpc.GatewayServiceStub, library: str) -> list[pb.Filter] | None:
    """The rules of a library; None where it holds no background and has no rules."""
    try:
        return list(stub.GetLibrary(pb.GetLibraryRequest(name=f"libraries/{library}")).rules)
    except grpc.RpcError as error:
        if isinstance(error, grpc.Call) and reason_of(status_of(error)) == "LIBRARY_NOT_FOUND":
            return None
        raise


def add(stub: gateway_pb2_grpc.GatewayServiceStub, library: str, rules: Sequence[pb.Filter]) -> None:
    """Adds rules to those that there are."""
    before = read(stub, library)
    if before is None:
        warn(f"Library {library} holds no background yet; the rules hold from its first one on.")
    write(stub, library, _joined(before or [], rules))


def remove(stub: gateway_pb2_grpc.GatewayServiceStub, library: str, numbers: Sequence[int]) -> None:
    """Removes rules by their numbers, from 1 on."""
    before = read(stub, library) or []
    for number in numbers:
        if not 1 <= number <= len(before):
            fail(f"There is no rule {number}.", f"See the numbers with: backdrop rules list --library {library}")
    write(stub, library, [each for number, each in enumerate(before, start=1) if number not in numbers])


def bring(stub: gateway_pb2_grpc.GatewayServiceStub, library: str, rules: Sequence[pb.Filter]) -> None:
    """Adds the rules of an export; those that the library has already stay."""
    before = read(stub, library) or []
    joined = _joined(before, rules)
    if len(joined) > len(before):
        stub.UpdateLibrary(pb.UpdateLibraryRequest(name=f"libraries/{library}", rules=joined))
        out(f"Added {len(joined) - len(before)} rules: {'; '.join(map(filter_text, joined[len(before) :]))}.")


def write(stub: gateway_pb2_grpc.GatewayServiceStub, library: str, rules: Sequence[pb.Filter]) -> None:
    """Replaces all rules of a library, and shows what there is now."""
    response = stub.UpdateLibrary(pb.UpdateLibraryRequest(name=f"libraries/{library}", rules=rules))
    tables.print_rules(response.rules, json=False)
    for key in response.unknown_keys:
        warn(f"No background of {library} has {key!r}: look whether it is misspelt.")


def _joined(before: Sequence[pb.Filter], rules: Sequence[pb.Filter]) -> list[pb.Filter]:
    """Both, each rule once."""
    joined = list(before)
    for each in rules:
        if each not in joined:
            joined.append(each)
    if len(joined) > MOST:
        fail(f"That would be {len(joined)} rules, and a library has at most {MOST}.", "A rule may list several values.")
    return joined
