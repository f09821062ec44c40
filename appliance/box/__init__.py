"""The appliance around the telephone system: console, health gate, updates, what needs root. Only on the image; `make run` has none of it."""
