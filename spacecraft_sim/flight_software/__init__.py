"""What the on-board computer does: modes, packets, frames, channel coding."""
