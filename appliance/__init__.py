"""Switchroom's control plane: knows telephones, touches no packet."""
