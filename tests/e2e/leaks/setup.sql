-- What lies around the shop's customers for the attempts of attempts.txt. Run by the superuser, once.
grant create on schema public to shop_owner;
set role shop_owner;

-- Views over the hidden columns, and views over those.
create view v_plain as select id, ssn as s, card as c, name from customers;
create view v_upper as select id, upper(ssn) as u, lower(name) as n from customers;
create view v_names as select id, upper(name) as n, city from customers;
create view v_nested as select id, s as t from v_plain;
create view v_deep_1 as select id, t as a1 from v_nested;
create view v_deep_2 as select id, a1 as a2 from v_deep_1;
create view v_deep_3 as select id, a2 as a3 from v_deep_2;
create view v_over_upper as select id, u || '!' as w from v_upper;
create view v_join as select o.id, o.item, k.ssn as who from orders o join customers k on k.id = o.customer_id;
create view v_union as select name as x from customers union all select ssn from customers;
create view v_json as select id, row_to_json(k) as j from customers k;
create view v_row as select id, k as r from customers k;
create view v_whole as select id, k::text as r from customers k;
create view v_scalar as select o.id, (select k.ssn from customers k where k.id = o.customer_id) as x from orders o;
create view v_cte as with k as (select id, ssn as z from customers) select id, z from k;
create view v_lateral as select k.id, l.z from customers k, lateral (select k.ssn as z) l;
create view v_case as select id, case when city = 'Leeds' then ssn else name end as x from customers;
create view v_max as select city, max(ssn) as m from customers group by city;
create view v_window as select id, first_value(ssn) over (order by id) as f from customers;
create view v_values as select column1 as x from (values ((select ssn from customers where id = 1))) v;
create view v_array as select array_agg(ssn order by id) as all_of_them from customers;
create view v_barrier with (security_barrier) as select id, ssn as b from customers;
create view v_stats as select tablename, attname, most_common_vals::text as mcv, histogram_bounds::text as hist from pg_stats;
create view v_raw_stats as select (select max(starelid::text) from pg_statistic) is null as n, 1 as one;
create view v_xml as select query_to_xml('select ssn from public.customers', true, true, '')::text as x;
create view v_generated as select 1 as one;
create materialized view m_plain as select id, ssn as s, name from customers;
create materialized view m_upper as select id, upper(ssn) as u from customers;
create view v_over_m as select id, s as q from m_plain;
create recursive view v_tree (id, s) as select id, ssn from customers where id = 1 union all select k.id, k.ssn from customers k join v_tree t on k.id = t.id + 1 where k.id < 5;

-- Partitions, inheritance, generated columns, long values.
create table payments (id int, ssn text, region text) partition by list (region);
create table payments_eu partition of payments for values in ('eu');
create table payments_us partition of payments for values in ('us') partition by range (id);
create table payments_us_1 partition of payments_us for values from (0) to (1000);
insert into payments select id, ssn, case when id % 2 = 0 then 'eu' else 'us' end from customers;
create view v_payments as select id, ssn as p from payments_us_1;
create table ledger (id int, iban text, kind int) partition by list (kind);
create table ledger_1 partition of ledger for values in (1);
create table ledger_2 partition of ledger for values in (2);
insert into ledger select id, ssn, 2 from customers;
create table people (id int, ssn text);
create table employees (grade int) inherits (people);
create table managers (bonus int) inherits (employees);
insert into managers select id, ssn, 1, 2 from customers;
create table badges (
    id int,
    ssn text,
    last4 text generated always as (substr(ssn, 8)) stored,
    shout text generated always as (ssn || '!') stored,
    label text
);
insert into badges (id, ssn, label) select id, ssn, name from customers;
create table notes (id int, note text);
-- Values that hold what COPY writes between values.
create table tricky (id int, ssn text, note text);
insert into tricky select id,
    case id % 9
        when 0 then ssn || ',' || ssn
        when 1 then ssn || E'\n' || ssn
        when 2 then '"' || ssn || '"'
        when 3 then E'\\.\n' || ssn
        when 4 then E'\\N' || ssn
        when 5 then E'x\t' || ssn || E'\r\n'
        when 6 then E'"\n' || ssn || E'",\n\\.\n'
        when 7 then E'\\' || ssn || E'\\'
        else null
    end,
    case id % 6
        when 0 then E'a,b\t"c"\n\\.\n'
        when 1 then ''
        when 2 then null
        when 3 then E'\\N'
        when 4 then '"",;|''7'
        else E'\\.'
    end
    from customers;
create sequence counter;

-- Code that reads what it likes.
create function leak_one(int) returns text language sql stable as 'select ssn from customers where id = $1';
create function leak_all() returns table (harmless text) language sql stable as 'select ssn from customers';
create function leak_row(customers) returns text language sql stable as 'select $1.ssn';
create function leak_order(orders) returns text language sql stable as 'select ssn from customers where id = 1';
create function leak_text(text) returns text language sql stable as 'select $1 || (select ssn from customers where id = 1)';
create function leak_set() returns setof customers language sql stable as 'select * from customers';
create function leak_plpgsql(n int) returns text language plpgsql as 'begin return (select ssn from customers where id = n); end';
create function leak_notice(n int) returns int language plpgsql as
    'begin raise notice ''it is %'', (select ssn from customers where id = n); return 1; end';
create function leak_error(n int) returns int language plpgsql as
    'begin raise exception ''it is %'', (select ssn from customers where id = n); end';
create function leak_lie(int) returns text language sql immutable as 'select ssn from customers where id = $1';
create function upper(text, int) returns text language sql stable as 'select ssn from customers where id = $2';
create function is_it(int, text) returns boolean language sql stable as 'select ssn like $2 from customers where id = $1';
create function leak_step(text, text) returns text language sql stable as 'select ssn from customers where id = 1';
create aggregate leak_agg(text) (sfunc = leak_step, stype = text);
create function leak_op(int, int) returns text language sql stable as 'select ssn from customers where id = $1';
create function harmless(int) returns int language sql immutable as 'select $1 + 1';
create view v_function as select id, leak_one(id) as x from orders;
create view v_from_function as select harmless as x from leak_all();
create view v_trusted as select id, harmless(id) as x from orders;

-- A foreign table: what stands behind it is in no catalog.
reset role;
create extension file_fdw;
create server files foreign data wrapper file_fdw;
do $$ begin
    execute format('copy (select id, ssn from customers) to %L', current_setting('data_directory') || '/outside.csv');
    execute format('create foreign table outside (id int, s text) server files options (filename %L)',
        current_setting('data_directory') || '/outside.csv');
end $$;
grant select on outside to shop_owner;
create view v_outside as select id, s as o from outside;
grant select on v_outside to shop_owner;
grant pg_read_server_files to shop_owner;

-- A schema that the gateway's account may not look into, behind a view that it may read.
create schema vault;
create table vault.safe (id int, pin text, colour text);
insert into vault.safe select id, ssn, city from customers;
create view public.v_vault as select id, pin as p, colour from vault.safe;
create view public.v_colours as select id, colour from vault.safe;
grant select on public.v_vault, public.v_colours to shop_owner;

-- Another table of the same name, which is nobody's secret.
create schema other;
create table other.customers (id int, ssn text);
insert into other.customers values (1, 'harmless');
grant usage on schema other to shop_owner;
grant select on other.customers to shop_owner;

analyze;
