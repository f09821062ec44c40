"""The admin page: Flask pages over HTTPS (HTTP/1.1, 2 and 3), with live events beside them.

Its own process: when it dies, a page reloads and no call notices. Every change goes through `appliance.config.admin.Admin`; what runs is
asked of `calls` and the supervisor through `appliance.cti`. Nothing here touches a packet or a SIP message.
"""
