"""All that only Caltech-101 needs."""
