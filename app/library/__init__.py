"""What a Zotero library is on top of a storage: attachments, each a zip and a prop in one flat collection.

Knows no HTTP and no S3. Where clients' behaviour rules, it is that of zotero/zotero
`chrome/content/zotero/xpcom/storage/webdav.js`.
"""
