"""The numbers beside the pictures, as torchmetrics: what the eye would otherwise have to be trusted with."""
