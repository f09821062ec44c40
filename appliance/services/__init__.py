"""PBX services: numbers that the system answers by itself. A service is a folder, and nothing else names it (docs/new-service.md).

    NAME/service.toml   the number it has until the office gives it another one, and what is dialled behind that (`folders`)
    NAME/en.toml        its sentences, and de.toml and cs.toml: merged into the catalogue (`appliance.words`)
    NAME/script.py      what it does: `async def script(call, state)`, written with `appliance.calls.api` alone (`scripts`)

`destinations/` is no service: the scripts behind the other kinds of destination.
"""
