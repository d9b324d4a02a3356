"""The pages under `/-/`, for whoever has signed in: a library to look at.

They read and change nothing. What they show comes from app.library; they know neither S3 nor the methods of
WebDAV.
"""
