"""`make chaos`: faults, one after another, in a stack that works: what its clients saw, and what was lost."""
