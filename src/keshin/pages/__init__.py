"""What every HTML page of keshin is made of: one style, one way to draw, to count and to speak.

Who makes a page gives content: a template that extends ``pages/page.html.jinja``, a table of words
in each language, values. Nothing here knows what a page is about.
"""
