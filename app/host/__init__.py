"""`zotshelf host`: from a few options to every configuration file of a machine that has only IPv6."""
