"""The stages: each takes a workbench, maps a pure function over cases, and books results through the catalog."""
