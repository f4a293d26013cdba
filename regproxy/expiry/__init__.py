"""Content expires by use and never by accident. It removes through the store's interface."""
