"""The stores that ship with traefikhub: one module each, found through entry points."""
