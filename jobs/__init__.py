"""Jobs that run on a cluster, or on a laptop: applications on top of the gateway's and the services' code."""
