"""Food: photographs of foods with labels; find the other photographs of the same food."""
