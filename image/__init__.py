"""The bootable appliance image. Installs the built wheel; nothing of the product imports this package."""
