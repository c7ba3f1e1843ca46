"""Search in one's own files, with answers that quote.

terms.py, passages.py   a text as it is compared; a text in pieces
extract.py (pages.py, packed.py, rows.py, pdf.py)   files → text
store.py, ingest.py     the index in one SQLite file; a folder and its index, kept alike
features.py, rank.py    a question → passages
sentences.py, answer.py passages → the sentences that answer, or that none does
cite.py, write.py       the Rule under which a model may only quote; a model that answers under it
desk.py                 what the command line and HTTP call
build.py                simplified.txt again
"""
