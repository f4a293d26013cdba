"""One remote registry, read side: its client, its tokens, its answers; knows no disk."""
