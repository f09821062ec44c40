"""How the pages are served: connections, their bounds, and where requests wait."""
