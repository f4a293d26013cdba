"""What an operator sees of all that is cached, and brings here by hand."""
