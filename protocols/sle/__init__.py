"""CCSDS Space Link Extension: RAF, RCF and forward CLTU over ISP1, users and providers."""
