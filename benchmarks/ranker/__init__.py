"""How the ranker's store and its whole answers scale."""
