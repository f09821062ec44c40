"""Call control: registrar, plan, the B2BUA call, its record. Services see `api` only; `controller` is the way in."""
