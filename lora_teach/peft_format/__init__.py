"""Adapters as files in PEFT's format: written, read, checked and shown."""
