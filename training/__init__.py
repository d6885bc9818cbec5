"""How the adapters of ``lite`` are trained."""
