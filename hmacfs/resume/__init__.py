"""Resumable uploads as pure rules: a request and what is stored in, what to do and what to say out.

Four languages (`Door`) ask for the same four things (`Act`): begin an upload, append to it, tell how far it
has come, cancel it. No sockets, no files, no clock.
"""
