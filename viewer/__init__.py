"""The database as web pages: HTML from the server, figures drawn in the browser from binary tables.

`bwm view` serves them. The state of a page is in its address, and nothing is written anywhere.
"""
