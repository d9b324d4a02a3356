"""zotshelf: a WebDAV server for Zotero's file sync that keeps attachments in S3 or in a folder."""

__version__ = "0.1.0"
