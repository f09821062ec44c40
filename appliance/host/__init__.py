"""The machine under the telephone system: processes, sockets, keys, health."""
