"""Datasets, one small file each; the catalog gives them their names."""
