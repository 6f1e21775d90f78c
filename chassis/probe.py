"""A health check over gRPC for containers and scripts: `python -m chassis.probe HOST:PORT` exits 0 when it serves."""

import argparse
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.tls import channel_credentials, new_channel

TIMEOUT_S = 2.0


def is_serving(target: str, credentials: grpc.ChannelCredentials | None = None) -> bool:
    """The server at `target` answers that it is ready."""
    with new_channel(grpc, target, credentials) as channel:
        try:
            response = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError:
            return False
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="HOST:PORT; for TLS, a name or address of the server's certificate")
    parser.add_argument("--ca", type=Path, help="PEM file of the CA of the server's certificate: speak TLS")
    parser.add_argument("--cert", type=Path, help="PEM file of a certificate to show, where the server asks for one")
    parser.add_argument("--key", type=Path, help="PEM file of its private key")
    given = parser.parse_args()
    return 0 if is_serving(given.target, channel_credentials(given.ca, given.cert, given.key)) else 1


if __name__ == "__main__":
    sys.exit(_main())
