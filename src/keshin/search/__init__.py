"""Search in folders of pictures: by text, by picture, by both; copies and near copies.

An index is a folder of plain files: ``table`` and ``rows`` say which. ``update`` brings it up to
date, ``scan`` finds the best rows, ``relevance`` says how likely they are there by chance.
"""

from keshin.search.answer import Found, Hit
from keshin.search.index import PictureIndex
from keshin.search.update import Changes

__all__ = ["Changes", "Found", "Hit", "PictureIndex"]
