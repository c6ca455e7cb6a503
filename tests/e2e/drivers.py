import asyncio
import os

import asyncpg
import psycopg


def with_psycopg():
    with psycopg.connect("") as connection:
        # Parameters, binary and text, prepared (the fifth execution is) and in a transaction.
        for number in range(1, 8):
            row = connection.execute("select %s::int + 1, %s::text", [number, "x"], binary=number % 2 == 0).fetchone()
            assert row == (number + 1, "x"), row
        masked = connection.execute("select ssn from customers where id = %s", [1]).fetchone()
        assert masked == ("[redacted]",), masked
        with connection.transaction():
            connection.execute("insert into orders (customer_id, item, total, status) values (1, 'pen', 1.5, 'open')")
        try:
            connection.execute("drop table customers")
            raise AssertionError("DROP was not refused")
        except psycopg.errors.InsufficientPrivilege as refused:
            assert "ddl.drop" in str(refused), refused
        connection.rollback()
        try:
            connection.execute("select 1/0")
            raise AssertionError("no error came back")
        except psycopg.errors.DivisionByZero:
            connection.rollback()
        with connection.pipeline():
            cursors = [connection.execute("select %s::int", [n]) for n in range(50)]
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(50))
        large = connection.execute("select repeat('x', 1000) from generate_series(1, 20000)").fetchall()
        assert len(large) == 20000 and large[-1][0] == "x" * 1000
        with connection.cursor().copy("copy orders (customer_id, item, total, status) from stdin") as copy:
            for _ in range(100):
                copy.write_row((2, "copied", 2, "open"))
        assert connection.execute("select count(*) from orders where item = 'copied'").fetchone() == (100,)
        connection.commit()
        assert connection.info.backend_pid == connection.execute("select pg_backend_pid()").fetchone()[0]
    print("psycopg ok")


async def with_asyncpg():
    connection = await asyncpg.connect(ssl="require", host=os.environ["PGHOST"])
    assert await connection.fetchval("select $1::int + 1", 41) == 42
    rows = await connection.fetch("select id, ssn, card from customers where id < $1", 4)
    assert [row["ssn"] for row in rows] == ["[redacted]"] * 3, rows
    assert all("*" in row["card"] for row in rows), rows
    async with connection.transaction():
        await connection.execute("update orders set status = 'shipped' where id = $1", 5)
        async for row in connection.cursor("select generate_series(1, 1000) as n", prefetch=100):
            last = row["n"]
        assert last == 1000
    try:
        await connection.execute("truncate customers")
        raise AssertionError("TRUNCATE was not refused")
    except asyncpg.InsufficientPrivilegeError as refused:
        assert "truncate" in str(refused), refused
    assert await connection.fetchval("select 1") == 1
    try:
        await asyncio.wait_for(connection.fetchval("select pg_sleep(30)"), 0.5)
        raise AssertionError("the query was not cancelled")
    except asyncio.TimeoutError:
        pass
    assert await connection.fetchval("select 2") == 2
    await connection.close()
    print("asyncpg ok")


with_psycopg()
asyncio.run(with_asyncpg())
