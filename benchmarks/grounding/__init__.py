"""`make eval-grounding`: the share of captions that claim something wrong, before and after each step against it."""
