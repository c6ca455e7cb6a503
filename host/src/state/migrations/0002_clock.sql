-- How far each gateway's clock has come: one that is set back while the gateway is down must not open closed windows again.
CREATE TABLE clock (
    node TEXT PRIMARY KEY,
    furthest BIGINT NOT NULL
);
