"""Where the servers listen: the gateway, and on the ports after it the services behind it."""

import os

GATEWAY = os.environ.get("BACKDROP_TARGET", "127.0.0.1:50050")
_host, _, _port = GATEWAY.rpartition(":")
CAPTIONER, GENERATOR, RANKER, COMPOSITOR = (f"{_host}:{int(_port) + offset}" for offset in (1, 2, 3, 5))
