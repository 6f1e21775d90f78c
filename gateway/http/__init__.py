"""HTTP/JSON beside gRPC: the same calls, described by the `google.api.http` rules of the contract."""
