"""Measuring whole models: evaluation sets, suites of benchmarks, predictions of any system."""
