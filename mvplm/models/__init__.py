"""Models: networks built from ready modules and plain values. Import the file you need; this package imports nothing."""
