"""Experiment files that come with the package: one folder per system, one YAML file per experiment."""
