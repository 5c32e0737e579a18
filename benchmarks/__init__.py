"""Side-by-side measurements against the tools that people would use instead."""
