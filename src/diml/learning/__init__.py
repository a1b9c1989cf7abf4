"""Learning: losses on matched parts, batches, and the training run. Needs the extra `train`."""
