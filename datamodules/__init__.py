"""Where images come from: data sets, splits, batches."""
