"""What is counted, and how it is told: the figures of one daemon."""
