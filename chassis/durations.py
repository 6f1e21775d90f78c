"""Seconds as contracts tell them."""

from google.protobuf.duration_pb2 import Duration


def to_duration(seconds: float) -> Duration:
    """So many seconds, to the microsecond."""
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration
