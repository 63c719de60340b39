"""The way in: one connection kept alive, and what a source may do."""
