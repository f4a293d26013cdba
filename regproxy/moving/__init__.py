"""Content that comes and goes as files: other stores taken in, OCI image layouts read and written."""
