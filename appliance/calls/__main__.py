"""`python -m appliance.calls`: the process."""

from appliance.calls.process import main

main()
