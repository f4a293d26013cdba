"""What goes when space is needed, and what never does."""
