"""Commands declared once, built and parsed both ways; verification reports."""
