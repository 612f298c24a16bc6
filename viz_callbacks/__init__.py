"""What a network sees: Deconvolution, DeNet and more as plain functions over tensors, and Lightning callbacks that log them."""
