-- How many windows a principal was opened lately is counted with each new one.
CREATE INDEX windows_by ON windows (principal, opens);
