"""Who asks, and may they: pure decisions, taken once after routing."""
