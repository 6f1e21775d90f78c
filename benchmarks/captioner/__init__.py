"""What the captioner adds to its model's cost: `make bench-captioner`. Results: docs/captioner-performance.md."""
