"""The disk is the database: content by digest, links, tags, spools. It knows no HTTP."""
