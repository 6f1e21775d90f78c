"""Encoded photos to pixels. Only services that have NumPy and Pillow import it."""
