"""HTTP/1.1 towards any client, held to its rules before a page is asked: what ``web`` and ``admin`` share."""
