"""Parameters and packets declared once: codecs, calibration, limits, XTCE."""
