"""Measurements: how good the ranking is, and what a recommendation costs. Results stand in docs/performance.md."""
