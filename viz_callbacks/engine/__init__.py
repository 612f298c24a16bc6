"""The engine: a forward pass recorded layer by layer, and the way back by the rule of each layer."""
