"""The services behind the gateway, as calls that take and give plain values."""
