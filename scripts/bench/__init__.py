"""The benchmark: this server and its peers side by side, doing what Zotero's file sync does."""
