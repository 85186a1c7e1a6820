"""Statements of the IPO desk's book that are longer than a line or two."""

from __future__ import annotations

CAME = """
SELECT word.gmp, i.high AS price, coalesce(o.open_points, o.close_points) AS gain_points
FROM ipo_outcomes o JOIN ipo_issues i ON i.id = o.issue
CROSS JOIN LATERAL (
    SELECT least(o.at, CAST(extract(epoch FROM (i.closes + 1) AT TIME ZONE 'Asia/Kolkata') * 1e9 AS bigint)) AS ends
) day
CROSS JOIN LATERAL (
    SELECT gmp FROM (
        (SELECT 0 AS rank, gmp FROM ipo_validations
         WHERE issue = o.issue AND at < day.ends AND gmp IS NOT NULL ORDER BY at DESC LIMIT 1)
        UNION ALL
        (SELECT 1, gmp FROM ipo_premiums
         WHERE issue = o.issue AND at < day.ends AND gmp IS NOT NULL ORDER BY at DESC, source, gmp LIMIT 1)
    ) both_ ORDER BY rank LIMIT 1
) word
WHERE i.high IS NOT NULL AND coalesce(i.kind, 'ipo') = 'ipo' ORDER BY o.at, o.issue
"""
"""Premiums of issues of shares of which it is known what came, as they stood at the end of the closing day."""

SHOWN = """
SELECT DISTINCT ON (p.issue, p.source) p.issue, p.source, p.at, g.seen_at
FROM ipo_premiums p JOIN ipo_pages g ON g.digest = p.page AND g.source = p.source AND g.trouble = ''
WHERE p.issue = ANY(:issues) AND NOT p.stamped
ORDER BY p.issue, p.source, p.at DESC, g.seen_at DESC
"""
"""The last premium without a stamp of each issue and source, and when its page was seen last."""

PROVEN = """
SELECT last.record, coalesce(o.open_points, o.close_points) AS gain
FROM ipo_outcomes o CROSS JOIN LATERAL (
    SELECT record, override FROM ipo_validations WHERE issue = o.issue AND at < o.at ORDER BY at DESC LIMIT 1
) last
WHERE last.override IS NULL AND coalesce(o.open_points, o.close_points) IS NOT NULL ORDER BY o.at, o.issue
"""
"""What was believed last before the first trade, where no operator had set it, and what came."""

JOINED = """
WITH RECURSIVE way AS (
    SELECT issue FROM ipo_joins WHERE "double" = :name
    UNION SELECT next.issue FROM ipo_joins next JOIN way ON next."double" = way.issue
)
SELECT issue FROM way
"""
"""The issues that one was joined to, one after the other: of these only the last is there."""

OF = "source = :source AND kind = :kind AND key = :key"
"""The pages that are one after the other of the same."""

ALARMS = """
SELECT * FROM (
    SELECT DISTINCT ON (source, kind, key) source, kind, key, trouble, digest, url, fetched_at, seen_at,
        max(seen_at) OVER (PARTITION BY source) AS heard_at
    FROM ipo_pages ORDER BY source, kind, key, seen_at DESC, digest
) last
WHERE trouble <> '' AND (key = '' OR seen_at > heard_at - :left) ORDER BY source, kind, key
"""

PUT_PAGE = """
INSERT INTO ipo_pages (digest, source, kind, key, url, fetched_at, seen_at, size, trouble, told, glance)
VALUES (:digest, :source, :kind, :key, :url, :at, :at, :size, :trouble, CAST(:told AS jsonb), CAST(:glance AS jsonb))
ON CONFLICT (digest, source, kind, key) DO UPDATE SET trouble = excluded.trouble, told = excluded.told,
    glance = excluded.glance, seen_at = greatest(ipo_pages.seen_at, excluded.seen_at)
"""

PUT_REVIEW = """
INSERT INTO ipo_reviews VALUES (:number, CAST(:told AS jsonb), :candidates, :why, CAST(:readings AS jsonb), :first_at,
    :issue, :by, :because, :decided_at)
ON CONFLICT (number) DO UPDATE SET told = excluded.told, candidates = excluded.candidates, why = excluded.why,
    readings = excluded.readings, issue = excluded.issue, "by" = excluded."by", because = excluded.because,
    decided_at = excluded.decided_at
"""

PUT_THRESHOLDS = """
INSERT INTO ipo_thresholds (user_id, points, amount, joined)
SELECT id, :points, :amount, :joined FROM users WHERE id = :user FOR KEY SHARE
ON CONFLICT (user_id) DO UPDATE SET points = excluded.points, amount = excluded.amount, joined = excluded.joined
RETURNING user_id
"""
"""No row comes back where there is no such account."""
