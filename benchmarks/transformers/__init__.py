"""A trained vision transformer, block by block, beside two convolutional networks, on the benchmark collections."""
