"""Programs that measure diml, and the collections that they measure it on."""
