"""The air-gapped edge-analysis appliance."""
