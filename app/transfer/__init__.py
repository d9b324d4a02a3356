"""A library carried from one place to another: folders, buckets, WebDAV servers, Zotero's own data directory.

Places know nothing of each other. A source lists its attachments and gives their files; a target says what
it has already and takes files, each whole or not at all; `carry` goes from one to the other.
"""
