"""The scripts behind the kinds of destination that are no PBX service, a file per kind, named like it."""
