"""Pages made by hand: what is no record. One file each, with a blueprint that `webui.menu` lists."""
