"""The ranker: keeps the captions of each library's backgrounds and finds those nearest to a text."""
