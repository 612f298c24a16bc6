"""The engine: a forward pass recorded, and the way back through each layer."""
