-- How far each consumer has read each recording, and which gateway reads it until when.
CREATE TABLE feed_cursors (
    consumer TEXT NOT NULL,
    session TEXT NOT NULL,
    events BIGINT NOT NULL,
    state TEXT NOT NULL,
    node TEXT NOT NULL,
    claimed BIGINT NOT NULL,
    PRIMARY KEY (consumer, session)
);
-- What was done in sessions, to be found. `id` rises with `moment`.
CREATE TABLE operations (
    id BIGINT PRIMARY KEY,
    session TEXT NOT NULL,
    operation BIGINT NOT NULL,
    moment BIGINT NOT NULL,
    principal TEXT NOT NULL,
    target TEXT NOT NULL,
    story TEXT NOT NULL
);
CREATE UNIQUE INDEX operations_once ON operations (session, operation);
