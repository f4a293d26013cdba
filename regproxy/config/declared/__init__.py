"""The declarations of all settings, by what they are about; ``config.table`` has them together."""
