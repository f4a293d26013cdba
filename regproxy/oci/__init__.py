"""The OCI distribution-spec's words as types: parsed once at the edge, trusted after."""
