"""Tiny real services for tests, some of them bad or slow."""
