"""Storage in a bucket: S3's own API, requests of our own making, one sender for all of them."""
