"""The heart: the same stores as the disk and the upstream are, over both of them."""
