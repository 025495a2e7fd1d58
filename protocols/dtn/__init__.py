"""Delay-tolerant networking: bundles (RFC 9171), their security (RFC 9172), and what carries them."""
