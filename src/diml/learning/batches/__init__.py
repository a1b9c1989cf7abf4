"""What a batch holds: the split of the classes, sampling, image loading, and the joint batch of all processes."""
