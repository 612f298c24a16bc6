"""The numbers beside the pictures, as torchmetrics."""
