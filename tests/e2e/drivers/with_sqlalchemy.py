# SQLAlchemy over psycopg, with its own statements, pool and transactions. The same steps in the same order as the other
# files here.
import datetime
import decimal
import threading
import uuid

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, UUID

engine = sa.create_engine("postgresql+psycopg://")
metadata = sa.MetaData()


def insert(item):
    return orders.insert().values(customer_id=1, item=item, total=1.5, status="open")


def count(item):
    with engine.connect() as connection:
        found = sa.select(sa.func.count()).select_from(orders).where(orders.c.item == item)
        return connection.scalar(found)


def refused(run):
    try:
        run()
    except sa.exc.ProgrammingError as error:
        assert isinstance(error.orig, psycopg.errors.InsufficientPrivilege), error
        assert "ddl.drop" in error.orig.diag.message_detail, error
        return
    raise AssertionError("DROP was not refused")


with engine.connect() as connection:
    own = connection.connection.driver_connection
    assert own.info.backend_pid == connection.scalar(sa.text("select pg_backend_pid()"))
# It reads the definitions of tables from the catalog.
customers = sa.Table("customers", metadata, autoload_with=engine)
orders = sa.Table("orders", metadata, autoload_with=engine)
assert [key.column.table.name for key in orders.foreign_keys] == ["customers"]
print("connect")

with engine.connect() as connection:
    plus = sa.select(sa.bindparam("n", type_=sa.Integer) + 1, sa.bindparam("x", type_=sa.String))
    for number in range(8):
        assert tuple(connection.execute(plus, {"n": number, "x": "x"}).one()) == (number + 1, "x")
print("prepared")

with engine.connect() as connection:
    connection.execute(insert("rolled back"))
    connection.rollback()
with engine.begin() as connection:
    connection.execute(insert("kept"))
    try:
        with connection.begin_nested():
            connection.execute(sa.text("select 1/0"))
    except sa.exc.DataError as error:
        assert isinstance(error.orig, psycopg.errors.DivisionByZero), error
assert (count("rolled back"), count("kept")) == (0, 1)
print("transaction")

values = [
    (sa.BigInteger, 2**40),
    (sa.Numeric, decimal.Decimal("-12345.678")),
    (sa.DateTime(timezone=True), datetime.datetime(2026, 2, 28, 23, 59, 59, 5, datetime.timezone.utc)),
    (BYTEA, b"\x00\xff'\\"),
    (UUID, uuid.UUID("7e570000-0000-4000-8000-000000000001")),
    (JSONB, {"a": [1, None]}),
    (ARRAY(sa.Integer), [1, None, 3]),
    (sa.Text, None),
]
with engine.connect() as connection:
    row = connection.execute(sa.select(*(sa.cast(value, kind) for kind, value in values))).one()
assert list(row) == [value for _, value in values], row
print("binary")

with engine.begin() as connection, connection.connection.driver_connection.cursor() as cursor:
    with cursor.copy("copy orders (customer_id, item, total, status) from stdin") as copy:
        for _ in range(100):
            copy.write_row((2, "copied", 2, "open"))
    with cursor.copy("copy (select item, total from orders where item = 'copied') to stdout") as copy:
        assert list(copy.rows()) == [("copied", "2.00")] * 100
print("copy")

# Again and again until it hits: the statement may not have begun when the first request arrives.
done = threading.Event()
with engine.connect() as connection:
    own = connection.connection.driver_connection

    def cancel():
        while not done.wait(0.05):
            own.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        connection.execute(sa.text("select pg_sleep(50)"))
        raise AssertionError("the statement was not cancelled")
    except sa.exc.OperationalError as error:
        assert isinstance(error.orig, psycopg.errors.QueryCanceled), error
        done.set()
    thread.join()
    connection.rollback()
    assert connection.scalar(sa.text("select 1")) == 1
print("cancel")

with engine.connect() as connection:
    for sql, expected in [("select 1/0", sa.exc.DataError), ("select * from nowhere", sa.exc.ProgrammingError)]:
        try:
            connection.execute(sa.text(sql))
            raise AssertionError("no error came back")
        except expected:
            connection.rollback()
            assert connection.scalar(sa.text("select 1")) == 1
print("error")

refused(lambda: customers.drop(engine))
with engine.connect() as connection:
    assert connection.scalar(sa.text("select 1")) == 1
print("refusal")

with engine.begin() as connection:
    connection.execute(insert("before"))
    refused(lambda: connection.execute(sa.text("drop table customers")))
    connection.execute(insert("after"))
assert (count("before"), count("after")) == (1, 1)
print("refusal in a transaction")

# A text of several statements is refused whole.
one = "insert into orders (customer_id, item, total, status) values (1, 'in a batch', 1, 'open')"
with engine.begin() as connection:
    refused(lambda: connection.exec_driver_sql(f"{one}; drop table customers; {one}"))
assert count("in a batch") == 0
with engine.begin() as connection:
    rows = [{"customer_id": 1, "item": "many", "total": n, "status": "open"} for n in range(50)]
    # One statement for all of them, and the numbers that the server gave them in the order of the rows.
    given = connection.scalars(orders.insert().returning(orders.c.id, sort_by_parameter_order=True), rows).all()
    assert given == sorted(given) and len(given) == 50, given
assert count("many") == 50
print("refusal in a batch")

with engine.connect() as connection:
    found = sa.select(customers.c.ssn.label("x"), customers.c.card).where(customers.c.id == 1)
    assert tuple(connection.execute(found).one()) == ("[redacted]", "************1881")
print("masked")

with engine.connect() as connection:
    large = sa.text("select n, x from large order by n")
    rows = connection.execute(large).all()
    assert len(rows) == 20000 and tuple(rows[-1]) == (20000, "x" * 1000)
    pieces = connection.execution_options(stream_results=True, yield_per=500).execute(large)
    assert sum(row.n for row in pieces) == 20000 * 20001 // 2
print("large")
