"""What keeps a folder good for years: every blob hashed again in time, what was lost brought back."""
