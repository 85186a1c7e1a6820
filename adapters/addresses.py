"""Addresses of mail, in the one way in which an account keeps them."""

from __future__ import annotations


def address(text: str) -> str | None:
    """The address in small letters, None: it is none. Nobody is asked whether it exists."""
    from email_validator import EmailNotValidError, validate_email

    try:
        return validate_email(text, check_deliverability=False).normalized.casefold()
    except EmailNotValidError:
        return None
