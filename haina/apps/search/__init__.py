"""Search in one's own files, with answers that quote.

terms.py, passages.py   a text as it is compared; a text in pieces
extract.py (pages.py, packed.py, rows.py, pdf.py)   files → text
store.py, ingest.py     the index in one SQLite file; a folder and its index, kept alike
features.py, rank.py    a question → passages
across.py               a question in one language, looked for in the other by a dictionary
sentences.py, answer.py passages → the sentences that answer, or that none does
orders.py               sentences that give orders to whoever answers: neither quoted nor shown to a model
cite.py, write.py       the Rule under which a model may only quote; a model that answers under it
beside.py               what is found, put before a chat's question
desk.py                 what the command line and HTTP call
tool.py, mcp.py         search as a function of `tools`; the same over the Model Context Protocol
build.py                simplified.txt and glosses.txt.gz again

Elsewhere than in a file, and only where asked for:
postgres.py             the index in PostgreSQL (postgres_near.py: vectors in it)
vectors.py, near.py     vectors of passages by a model; where they are kept beside a file
fetch.py, web.py        a page of the web, safely; a question to a search engine, answered out of its pages
"""
