"""IPOs: what many sources say of one issue, what of it can be believed, and what a listing may bring.

Sources are read into `readings`; `matching` finds the issue they speak of, `life` says where it stands, `validation`
makes one grey-market premium of many, `walkforward` predicts the listing gain beyond it, and `ledger` scores what was
published.
"""
