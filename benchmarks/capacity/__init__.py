"""What a load and a library need, calculated from measured figures; docs/scaling.md shows it."""
