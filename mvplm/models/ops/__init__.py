"""Operators with a plain PyTorch reference and room for faster backends behind the same function."""
