"""The formats that a frozen dataset is exported in: one module each, on top of what they share."""
