"""The choice of the default weights and transport, on training halves, and what it gives on test halves."""
