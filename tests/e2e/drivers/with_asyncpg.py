# asyncpg: the extended protocol only, everything binary. The same steps in the same order as the other files here.
import asyncio
import datetime
import decimal
import os
import uuid

import asyncpg

INSERT = "insert into orders (customer_id, item, total, status) values (1, $1, 1.5, 'open')"


async def main():
    connection = await asyncpg.connect(ssl="require", host=os.environ["PGHOST"])

    async def count(item):
        return await connection.fetchval("select count(*) from orders where item = $1", item)

    async def refused(run):
        try:
            await run
        except asyncpg.InsufficientPrivilegeError as error:
            assert "ddl.drop" in error.detail, error
            return
        raise AssertionError("DROP was not refused")

    assert connection.get_server_pid() == await connection.fetchval("select pg_backend_pid()")
    print("connect")

    statement = await connection.prepare("select $1::int + 1, $2::text")
    for number in range(8):
        assert tuple(await statement.fetchrow(number, "x")) == (number + 1, "x")
    print("prepared")

    try:
        async with connection.transaction():
            await connection.execute(INSERT, "rolled back")
            raise KeyError
    except KeyError:
        pass
    async with connection.transaction():
        await connection.execute(INSERT, "kept")
        try:
            async with connection.transaction():
                await connection.execute("select 1/0")
        except asyncpg.DivisionByZeroError:
            pass
    assert (await count("rolled back"), await count("kept")) == (0, 1)
    print("transaction")

    values = [
        2**40,
        decimal.Decimal("-12345.678"),
        datetime.datetime(2026, 2, 28, 23, 59, 59, 5, datetime.timezone.utc),
        b"\x00\xff'\\",
        uuid.UUID("7e570000-0000-4000-8000-000000000001"),
        '{"a": [1, null]}',
        [1, None, 3],
        None,
    ]
    sql = "select $1::int8, $2::numeric, $3::timestamptz, $4::bytea, $5::uuid, $6::jsonb, $7::int[], $8::text"
    row = await connection.fetchrow(sql, *values)
    assert list(row) == values, row
    print("binary")

    columns = ["customer_id", "item", "total", "status"]
    records = [(2, "copied", decimal.Decimal(2), "open")] * 100
    await connection.copy_records_to_table("orders", records=records, columns=columns)
    chunks = []

    async def keep(chunk):
        chunks.append(chunk)

    await connection.copy_from_query("select item, total from orders where item = 'copied'", output=keep)
    assert b"".join(chunks) == b"copied\t2.00\n" * 100, chunks
    print("copy")

    # asyncpg cancels when the time is up. Until it hits: the statement may not have begun by then.
    try:
        await asyncio.wait_for(connection.fetchval("select pg_sleep(50)"), 0.5)
        raise AssertionError("the statement was not cancelled")
    except asyncio.TimeoutError:
        pass
    assert await connection.fetchval("select 1") == 1
    print("cancel")

    errors = [("select 1/0", asyncpg.DivisionByZeroError), ("select * from nowhere", asyncpg.UndefinedTableError)]
    for sql, error in errors:
        try:
            await connection.fetch(sql)
            raise AssertionError("no error came back")
        except error:
            assert await connection.fetchval("select 1") == 1
    print("error")

    await refused(connection.execute("drop table customers"))
    await refused(connection.prepare("drop table customers"))
    assert await connection.fetchval("select 1") == 1
    print("refusal")

    async with connection.transaction():
        await connection.execute(INSERT, "before")
        await refused(connection.execute("drop table customers"))
        await connection.execute(INSERT, "after")
    assert (await count("before"), await count("after")) == (1, 1)
    print("refusal in a transaction")

    # asyncpg pipelines one statement with many values only; its other batch is a text of several statements, which is
    # refused whole.
    insert = INSERT.replace("$1", "'in a batch'")
    await refused(connection.execute(f"{insert}; drop table customers; {insert}"))
    assert await count("in a batch") == 0
    await connection.executemany(INSERT, [["many"]] * 50)
    assert await count("many") == 50
    print("refusal in a batch")

    row = await connection.fetchrow("select ssn, card from customers where id = $1", 1)
    assert tuple(row) == ("[redacted]", "************1881"), row
    print("masked")

    large = "select n, x from large order by n"
    rows = await connection.fetch(large)
    assert len(rows) == 20000 and tuple(rows[-1]) == (20000, "x" * 1000)
    async with connection.transaction():
        total = 0
        async for row in connection.cursor(large, prefetch=500):
            total += row["n"]
    assert total == 20000 * 20001 // 2
    print("large")
    await connection.close()


asyncio.run(main())
