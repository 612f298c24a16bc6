"""The networks, as lists of named layers."""
