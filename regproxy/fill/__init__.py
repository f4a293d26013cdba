"""One transfer, many readers: a blob on its way from a source to the disk and to everyone who waits."""
