-- The same text runs on SQLite and PostgreSQL: only TEXT and BIGINT, moments as microseconds since 1970 UTC.

-- One row for each principal that ever asked; writing it first makes a principal's changes happen one at a time.
CREATE TABLE principals (
    principal TEXT PRIMARY KEY,
    touched BIGINT NOT NULL
);

-- Access requests and held operations.
CREATE TABLE approvals (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    requester TEXT NOT NULL,
    target TEXT NOT NULL,
    matter TEXT NOT NULL,
    requirements TEXT NOT NULL,
    asked BIGINT NOT NULL,
    deadline BIGINT NOT NULL,
    state TEXT NOT NULL,
    settled BIGINT,
    idempotency_key TEXT,
    window_id TEXT,
    node TEXT NOT NULL,
    touched BIGINT NOT NULL
);
CREATE UNIQUE INDEX approvals_key ON approvals (requester, idempotency_key);
CREATE INDEX approvals_open ON approvals (state, deadline);
CREATE INDEX approvals_of ON approvals (requester, kind, state);

CREATE TABLE decisions (
    approval TEXT NOT NULL REFERENCES approvals (id),
    principal TEXT NOT NULL,
    verdict TEXT NOT NULL,
    comment TEXT NOT NULL,
    decided BIGINT NOT NULL,
    through TEXT NOT NULL,
    PRIMARY KEY (approval, principal)
);

CREATE TABLE windows (
    id TEXT PRIMARY KEY,
    principal TEXT NOT NULL,
    target TEXT NOT NULL,
    opens BIGINT NOT NULL,
    closes BIGINT NOT NULL,
    opened TEXT NOT NULL,
    request TEXT NOT NULL REFERENCES approvals (id),
    ended BIGINT,
    ended_by TEXT,
    end_reason TEXT
);
CREATE INDEX windows_of ON windows (principal, target, closes);
CREATE INDEX windows_closes ON windows (closes);
CREATE INDEX windows_ended ON windows (ended);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    principal TEXT NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    window_id TEXT NOT NULL,
    node TEXT NOT NULL,
    started BIGINT NOT NULL,
    ended BIGINT,
    end_reason TEXT
);
CREATE INDEX sessions_started ON sessions (started);
CREATE INDEX sessions_of ON sessions (principal, started);
CREATE INDEX sessions_live ON sessions (node, ended);

CREATE TABLE audit_events (
    id TEXT PRIMARY KEY,
    moment BIGINT NOT NULL,
    event TEXT NOT NULL,
    actor TEXT NOT NULL,
    subject TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_moment ON audit_events (moment);
