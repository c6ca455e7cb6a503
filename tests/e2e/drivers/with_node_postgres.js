// node-postgres with pg-cursor and pg-copy-streams. The same steps in the same order as the other files here.
const assert = require('node:assert/strict');
const { pipeline } = require('node:stream/promises');
const { Client } = require('pg');
const Cursor = require('pg-cursor');
const copy = require('pg-copy-streams');

const INSERT = "insert into orders (customer_id, item, total, status) values (1, $1, 1.5, 'open')";
const LARGE = 'select n, x from large order by n';
// The certificate is self-signed, as with sslmode=require.
const settings = { ssl: { rejectUnauthorized: false } };

async function main() {
  const client = new Client(settings);
  await client.connect();
  const one = async (sql, values) => Object.values((await client.query(sql, values)).rows[0])[0];
  const count = async (item) => Number(await one('select count(*) from orders where item = $1', [item]));
  const fails = (code) => (error) => {
    assert.equal(error.code, code, error);
    return true;
  };
  const refused = (error) => {
    assert.equal(error.detail, 'The rule is ddl.drop.', error);
    return fails('42501')(error);
  };

  assert.equal(await one('select pg_backend_pid()'), client.processID);
  console.log('connect');

  for (let number = 0; number < 8; number++) {
    const plus = { name: 'plus', text: 'select $1::int + 1 as n, $2::text as x', values: [number, 'x'] };
    assert.deepEqual((await client.query(plus)).rows, [{ n: number + 1, x: 'x' }]);
  }
  console.log('prepared');

  await client.query('begin');
  await client.query(INSERT, ['rolled back']);
  await client.query('rollback');
  await client.query('begin');
  await client.query(INSERT, ['kept']);
  await client.query('savepoint inner_one');
  await assert.rejects(client.query('select 1/0'), fails('22012'));
  await client.query('rollback to savepoint inner_one');
  await client.query('commit');
  assert.deepEqual([await count('rolled back'), await count('kept')], [0, 1]);
  console.log('transaction');

  // Only buffers go in binary; of binary results this driver reads nothing, also without a gateway (pg 8.23).
  const bytes = Buffer.from([0, 255, 39, 92]);
  const values = [
    '1099511627776',
    '-12345.678',
    new Date('2026-02-28T23:59:59.005Z'),
    bytes,
    '7e570000-0000-4000-8000-000000000001',
    { a: [1, null] },
    [1, null, 3],
    null,
  ];
  const text = 'select $1::int8, $2::numeric, $3::timestamptz, $4::bytea, $5::uuid, $6::jsonb, $7::int[], $8::text';
  assert.deepEqual((await client.query({ text, values, rowMode: 'array' })).rows[0], values);
  console.log('binary');

  const into = client.query(copy.from('copy orders (customer_id, item, total, status) from stdin'));
  await pipeline(['2\tcopied\t2\topen\n'.repeat(100)], into);
  const out = client.query(copy.to("copy (select item, total from orders where item = 'copied') to stdout"));
  const chunks = [];
  for await (const chunk of out) chunks.push(chunk);
  assert.equal(Buffer.concat(chunks).toString(), 'copied\t2.00\n'.repeat(100));
  console.log('copy');

  // Again and again until it hits: the statement may not have begun when the first request arrives.
  let done = false;
  const sleeps = client.query('select pg_sleep(50)').finally(() => (done = true));
  const cancel = async () => {
    while (!done) {
      // Its own cancel() takes the query object that the promise hides; the request is this.
      const request = new Client(settings).connection;
      request.connect(Number(process.env.PGPORT), process.env.PGHOST);
      await new Promise((resolve) => request.once('connect', resolve));
      request.cancel(client.processID, client.secretKey);
      await new Promise((resolve) => request.once('end', resolve));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  await Promise.all([assert.rejects(sleeps, fails('57014')), cancel()]);
  assert.equal(await one('select 1'), 1);
  console.log('cancel');

  await assert.rejects(client.query('select 1/0'), fails('22012'));
  await assert.rejects(client.query('select * from nowhere where $1', [true]), fails('42P01'));
  assert.equal(await one('select 1'), 1);
  console.log('error');

  await assert.rejects(client.query('drop table customers'), refused);
  await assert.rejects(client.query({ name: 'drop', text: 'drop table customers' }), refused);
  assert.equal(await one('select 1'), 1);
  console.log('refusal');

  await client.query('begin');
  await client.query(INSERT, ['before']);
  await assert.rejects(client.query('drop table customers'), refused);
  await client.query(INSERT, ['after']);
  await client.query('commit');
  assert.deepEqual([await count('before'), await count('after')], [1, 1]);
  console.log('refusal in a transaction');

  // A text of several statements is refused whole.
  const insert = INSERT.replace('$1', "'in a batch'");
  await assert.rejects(client.query(`${insert}; drop table customers; ${insert}`), refused);
  assert.equal(await count('in a batch'), 0);
  // Queries that were sent without waiting have a Sync each: only the refused one fails.
  const many = [];
  for (let number = 0; number < 50; number++) many.push(client.query(INSERT, ['many']));
  many.push(assert.rejects(client.query('drop table customers'), refused), client.query(INSERT, ['many']));
  await Promise.all(many);
  assert.equal(await count('many'), 51);
  console.log('refusal in a batch');

  const masked = await client.query('select ssn, card from customers where id = $1', [1]);
  assert.deepEqual(masked.rows, [{ ssn: '[redacted]', card: '************1881' }]);
  console.log('masked');

  const rows = (await client.query(LARGE)).rows;
  assert.equal(rows.length, 20000);
  assert.deepEqual(rows[19999], { n: 20000, x: 'x'.repeat(1000) });
  const cursor = client.query(new Cursor(LARGE));
  let total = 0;
  for (;;) {
    const piece = await cursor.read(500);
    if (piece.length === 0) break;
    total += piece.reduce((sum, { n }) => sum + n, 0);
  }
  await cursor.close();
  assert.equal(total, (20000 * 20001) / 2);
  console.log('large');
  await client.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
