"""The servers behind the gateway. They share the contracts and the chassis, and never import each other."""
