"""Search in folders of pictures: by text, by picture, by both; copies and near copies.

An index is a folder of plain files (``layout`` says which); ``index`` joins the parts.
"""
