"""Interop: converters to and from other libraries' formats; each imports its library only when called."""
