"""The callback sink: a subscriber to the callback topic that shows what arrives."""
