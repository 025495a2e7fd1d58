"""Studies of the relay's geometry: its orbit, contacts among planets, outages behind the Sun."""
