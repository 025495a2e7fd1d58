"""CFDP, CCSDS 727.0-B: files between ground and spacecraft; cfdp-py's procedures with our clock."""
