"""HTTP towards operators, on listeners of its own."""
