"""Delay-tolerant networking: bundles (RFC 9171), security (RFC 9172), and what carries them."""
