"""IPOs: what the exchanges and the grey-market boards tell of an issue, from a page's bytes to records.

`readings` holds the records that every source speaks, `cells` reads one cell, `tables` a page's tables, `pages` what
one page told, `changes` whether it may be believed beside the last good one, `sources` how a source is asked. One codec
a source stands in `market/vendors/`.
"""
