# psycopg 3, over libpq. The same steps in the same order as the other files here.
import datetime
import decimal
import threading
import uuid

import psycopg
from psycopg.types.json import Jsonb

INSERT = "insert into orders (customer_id, item, total, status) values (1, %s, 1.5, 'open')"


def count(item):
    return connection.execute("select count(*) from orders where item = %s", [item]).fetchone()[0]


def refused(run):
    try:
        run()
    except psycopg.errors.InsufficientPrivilege as error:
        assert "ddl.drop" in error.diag.message_detail, error
        return
    raise AssertionError("DROP was not refused")


connection = psycopg.connect("", autocommit=True)
assert connection.info.backend_pid == connection.execute("select pg_backend_pid()").fetchone()[0]
print("connect")

for number in range(8):
    row = connection.execute("select %s::int + 1, %s::text", [number, "x"], prepare=True).fetchone()
    assert row == (number + 1, "x"), row
print("prepared")

try:
    with connection.transaction():
        connection.execute(INSERT, ["rolled back"])
        raise KeyError
except KeyError:
    pass
with connection.transaction():
    connection.execute(INSERT, ["kept"])
    try:
        with connection.transaction():
            connection.execute("select 1/0")
    except psycopg.errors.DivisionByZero:
        pass
assert (count("rolled back"), count("kept")) == (0, 1)
print("transaction")

values = [
    2**40,
    decimal.Decimal("-12345.678"),
    datetime.datetime(2026, 2, 28, 23, 59, 59, 5, datetime.timezone.utc),
    b"\x00\xff'\\",
    uuid.UUID("7e570000-0000-4000-8000-000000000001"),
    Jsonb({"a": [1, None]}),
    [1, None, 3],
    None,
]
sql = "select %b::int8, %b::numeric, %b::timestamptz, %b::bytea, %b::uuid, %b::jsonb, %b::int[], %b::text"
row = connection.execute(sql, values, binary=True).fetchone()
assert list(row) == [*values[:5], {"a": [1, None]}, *values[6:]], row
print("binary")

with connection.cursor() as cursor:
    with cursor.copy("copy orders (customer_id, item, total, status) from stdin") as copy:
        for _ in range(100):
            copy.write_row((2, "copied", 2, "open"))
    with cursor.copy("copy (select item, total from orders where item = 'copied') to stdout") as copy:
        assert list(copy.rows()) == [("copied", "2.00")] * 100
print("copy")

# Again and again until it hits: the statement may not have begun when the first request arrives.
done = threading.Event()


def cancel():
    while not done.wait(0.05):
        connection.cancel()


thread = threading.Thread(target=cancel)
thread.start()
try:
    connection.execute("select pg_sleep(50)")
    raise AssertionError("the statement was not cancelled")
except psycopg.errors.QueryCanceled:
    done.set()
thread.join()
assert connection.execute("select 1").fetchone() == (1,)
print("cancel")

for sql, error in [("select 1/0", psycopg.errors.DivisionByZero), ("select * from nowhere", psycopg.errors.UndefinedTable)]:
    try:
        connection.execute(sql)
        raise AssertionError("no error came back")
    except error:
        assert connection.execute("select 1").fetchone() == (1,)
print("error")

refused(lambda: connection.execute("drop table customers"))
refused(lambda: connection.execute("drop table customers", prepare=True))
assert connection.execute("select 1").fetchone() == (1,)
print("refusal")

with connection.transaction():
    connection.execute(INSERT, ["before"])
    refused(lambda: connection.execute("drop table customers"))
    connection.execute(INSERT, ["after"])
assert (count("before"), count("after")) == (1, 1)
print("refusal in a transaction")


# One Sync: what stands before the refusal is undone with it, what stands behind it is skipped.
def pipeline():
    with connection.pipeline():
        connection.execute(INSERT, ["in a batch"])
        connection.execute("drop table customers")
        connection.execute(INSERT, ["in a batch"])


refused(pipeline)
assert count("in a batch") == 0
with connection.pipeline():
    cursors = [connection.execute("select %s::int", [number]) for number in range(50)]
assert [cursor.fetchone()[0] for cursor in cursors] == list(range(50))
print("refusal in a batch")

for binary in (False, True):
    row = connection.execute("select ssn, card from customers where id = %s", [1], binary=binary).fetchone()
    assert row == ("[redacted]", "************1881"), row
# A cursor on the server: its rows come by FETCH.
cities = "select city, count(*), upper(min(name)) from customers group by city order by city"
with connection.transaction(), connection.cursor(name="cities") as cursor:
    assert cursor.execute(cities).fetchall() == connection.execute(cities).fetchall() != []
print("masked")

large = "select n, x from large order by n"
rows = connection.execute(large).fetchall()
assert len(rows) == 20000 and rows[-1] == (20000, "x" * 1000)
with connection.transaction(), connection.cursor(name="pieces") as cursor:
    cursor.itersize = 500
    assert sum(n for n, _ in cursor.execute(large)) == 20000 * 20001 // 2
print("large")
