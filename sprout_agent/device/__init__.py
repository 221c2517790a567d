"""What the device is and how it is doing."""
