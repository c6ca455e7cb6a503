-- psql. The same steps in the same order as the other files here. It shows what went wrong on standard error; a step whose
-- name is not shown was not as it should be.
\set QUIET on
\pset tuples_only on
\pset format unaligned

select case when pg_backend_pid() > 0 then 'connect' end as step \gset
\echo :step

select $1::int + 1 as n, $2::text as x \parse plus
\bind_named plus 1 x \gset
\bind_named plus 41 x \gset
prepare by_id (int) as select id from orders where id = $1;
execute by_id (42) \gset
select case when :n = 42 and :'x' = 'x' and :id = 42 then 'prepared' end as step \gset
\echo :step

begin;
insert into orders (customer_id, item, total, status) values (1, 'rolled back', 1.5, 'open');
rollback;
begin;
insert into orders (customer_id, item, total, status) values (1, 'kept', 1.5, 'open');
savepoint one;
select 1/0;
rollback to one;
commit;
select case when array_agg(item) = '{kept}' then 'transaction' end as step from orders where item in ('kept', 'rolled back') \gset
\echo :step

-- psql itself takes text only; its values are bound all the same.
select $1::bytea as bytes, $2::int8 as number, $3::timestamptz at time zone 'utc' as time, $4::int[] as list \bind '\\x00ff' 1099511627776 '2026-02-28 23:59:59.000005+00' '{1,NULL,3}' \gset
select case when :'bytes' = '\x00ff' and :number = 1::int8 << 40 and :'time' = '2026-02-28 23:59:59.000005' and :'list' = '{1,NULL,3}' then 'binary' end as step \gset
\echo :step

\copy orders (customer_id, item, total, status) from program 'yes "2|copied|2|open" | head -n 100' with (delimiter '|')
\copy (select item, total from orders where item = 'copied') to program 'test "$(uniq -c | tr -s " \t" " ")" = " 100 copied 2.00" && echo right > copied.txt'
\set step `cat copied.txt`
select case when :'step' = 'right' then 'copy' end as step \gset
\echo :step

-- cancel: psql ends a script with Ctrl-C, so the test does that in a run of its own.

select 1/0;
\set first :SQLSTATE
select * from nowhere;
select case when :'first' = '22012' and :'SQLSTATE' = '42P01' then 'error' end as step \gset
\echo :step

drop table customers;
\set first :SQLSTATE
drop table customers \bind \g
select case when :'first' = '42501' and :'SQLSTATE' = '42501' then 'refusal' end as step \gset
\echo :step

begin;
insert into orders (customer_id, item, total, status) values (1, 'before', 1.5, 'open');
drop table customers;
insert into orders (customer_id, item, total, status) values (1, 'after', 1.5, 'open');
commit;
select case when count(*) = 2 then 'refusal in a transaction' end as step from orders where item in ('before', 'after') \gset
\echo :step

-- A text of several statements is refused whole. In a pipeline with one Sync, what stands before the refusal is undone
-- with it, and what stands behind it is skipped.
insert into orders (customer_id, item, total, status) values (1, 'in a batch', 1.5, 'open') \; drop table customers;
\startpipeline
insert into orders (customer_id, item, total, status) values (1, $1, 1.5, 'open') \bind 'in a batch' \sendpipeline
drop table customers \bind \sendpipeline
insert into orders (customer_id, item, total, status) values (1, $1, 1.5, 'open') \bind 'in a batch' \sendpipeline
\endpipeline
select case when count(*) = 0 then 'refusal in a batch' end as step from orders where item = 'in a batch' \gset
\echo :step

select ssn, card from customers where id = 1 \gset
select case when :'ssn' = '[redacted]' and :'card' = '************1881' then 'masked' end as step \gset
\echo :step

select n, x from large order by n \g /dev/null
\set first :ROW_COUNT
\set FETCH_COUNT 500
select n, x from large order by n \g /dev/null
select case when :first = 20000 and :ROW_COUNT = 20000 then 'large' end as step \gset
\echo :step
