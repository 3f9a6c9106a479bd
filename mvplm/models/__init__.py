"""Models: networks built from ready modules and plain values. Import the file you need; nothing is imported here."""
