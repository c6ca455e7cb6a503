//! tokio-postgres: the extended protocol only, everything binary. The same steps in the same order as the other files here.

use chaperone_tests::raw::{self, tls};
use chaperone_tests::stage::Stage;
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use std::io::Cursor;
use std::time::{Duration, SystemTime};
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{Client, Error, NoTls};

const INSERT: &str = "insert into orders (customer_id, item, total, status) values (1, $1, 1.5, 'open')";
const LARGE: &str = "select n, x from large order by n";

async fn count(client: &Client, item: &str) -> i64 {
    client.query_one("select count(*) from orders where item = $1", &[&item]).await.unwrap().get(0)
}

fn said(error: &Error) -> &DbError {
    error.as_db_error().unwrap_or_else(|| panic!("not of the server: {error:?}"))
}

fn refused<T>(outcome: Result<T, Error>) {
    let Err(error) = outcome else { panic!("DROP was not refused") };
    assert_eq!(said(&error).code(), &SqlState::INSUFFICIENT_PRIVILEGE);
    assert_eq!(said(&error).detail(), Some("The rule is ddl.drop."));
}

/// Goes through all steps and returns their names.
pub(super) async fn steps(stage: &Stage, token: &str) -> Vec<&'static str> {
    let mut client = raw::tokio_postgres(stage, token).await.unwrap();
    let mut done = vec!["connect"];

    let plus = client.prepare("select $1::int + 1, $2::text").await.unwrap();
    for number in 0..8 {
        let row = client.query_one(&plus, &[&number, &"x"]).await.unwrap();
        assert_eq!((row.get::<_, i32>(0), row.get::<_, &str>(1)), (number + 1, "x"));
    }
    done.push("prepared");

    let transaction = client.transaction().await.unwrap();
    transaction.execute(INSERT, &[&"rolled back"]).await.unwrap();
    transaction.rollback().await.unwrap();
    let mut transaction = client.transaction().await.unwrap();
    transaction.execute(INSERT, &[&"kept"]).await.unwrap();
    let inner = transaction.savepoint("inner_one").await.unwrap();
    inner.query("select 1/0", &[]).await.unwrap_err();
    inner.rollback().await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!((count(&client, "rolled back").await, count(&client, "kept").await), (0, 1));
    done.push("transaction");

    let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_772_323_199_000_005);
    let (bytes, list, none): (&[u8], _, Option<&str>) = (b"\x00\xff'\\", vec![Some(1), None, Some(3)], None);
    let sql = "select $1::int8, $2::float8, $3::timestamptz, $4::bytea, $5::int[], $6::text";
    let row =
        client.query_one(sql, &[&(1i64 << 40), &-12345.678f64, &time, &bytes, &list, &none]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, f64>(1)), (1 << 40, -12345.678));
    assert_eq!((row.get::<_, SystemTime>(2), row.get::<_, &[u8]>(3)), (time, bytes));
    assert_eq!((row.get::<_, Vec<Option<i32>>>(4), row.get::<_, Option<&str>>(5)), (list, none));
    done.push("binary");

    let into = client.copy_in("copy orders (customer_id, item, total, status) from stdin").await.unwrap();
    let mut into = Box::pin(into);
    for _ in 0..100 {
        into.send(Cursor::new(&b"2\tcopied\t2\topen\n"[..])).await.unwrap();
    }
    assert_eq!(into.as_mut().finish().await.unwrap(), 100);
    let sql = "copy (select item, total from orders where item = 'copied') to stdout";
    let out: Vec<_> = client.copy_out(sql).await.unwrap().try_collect().await.unwrap();
    assert_eq!(out.concat(), b"copied\t2.00\n".repeat(100));
    done.push("copy");

    // Again and again until it hits: the statement may not have begun when the first request arrives.
    let token = client.cancel_token();
    let sleeps = client.query("select pg_sleep(50)", &[]);
    let cancels = async {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            token.cancel_query_raw(tls(stage).await.unwrap(), NoTls).await.unwrap();
        }
    };
    let cancelled = tokio::select! {
        outcome = sleeps => outcome.unwrap_err(),
        () = cancels => unreachable!(),
    };
    assert_eq!(said(&cancelled).code(), &SqlState::QUERY_CANCELED);
    works(&client).await;
    done.push("cancel");

    for (sql, code) in
        [("select 1/0", SqlState::DIVISION_BY_ZERO), ("select * from nowhere", SqlState::UNDEFINED_TABLE)]
    {
        let error = client.query(sql, &[]).await.unwrap_err();
        assert_eq!(said(&error).code(), &code);
        works(&client).await;
    }
    done.push("error");

    refused(client.execute("drop table customers", &[]).await);
    refused(client.simple_query("drop table customers").await);
    works(&client).await;
    done.push("refusal");

    let transaction = client.transaction().await.unwrap();
    transaction.execute(INSERT, &[&"before"]).await.unwrap();
    refused(transaction.execute("drop table customers", &[]).await);
    transaction.execute(INSERT, &[&"after"]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!((count(&client, "before").await, count(&client, "after").await), (1, 1));
    done.push("refusal in a transaction");

    // A text of several statements is refused whole. What is sent without waiting has a Sync each: only the refused fails.
    let insert = INSERT.replace("$1", "'in a batch'");
    refused(client.batch_execute(&format!("{insert}; drop table customers; {insert}")).await);
    assert_eq!(count(&client, "in a batch").await, 0);
    let insert = client.prepare(INSERT).await.unwrap();
    let (first, dropped, last) = tokio::join!(
        client.execute(&insert, &[&"many"]),
        client.execute("drop table customers", &[]),
        client.execute(&insert, &[&"many"]),
    );
    refused(dropped);
    assert_eq!((first.unwrap(), last.unwrap(), count(&client, "many").await), (1, 1, 2));
    done.push("refusal in a batch");

    let row = client.query_one("select ssn, card from customers where id = $1", &[&1]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("[redacted]", "************1881"));
    done.push("masked");

    let rows = client.query(LARGE, &[]).await.unwrap();
    let last = rows.last().unwrap();
    assert_eq!(
        (rows.len(), last.get::<_, i32>(0), last.get::<_, &str>(1)),
        (20000, 20000, &*"x".repeat(1000))
    );
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind(LARGE, &[]).await.unwrap();
    let mut total = 0i64;
    loop {
        let pieces = transaction.query_portal_raw(&portal, 500).await.unwrap();
        let pieces: Vec<_> =
            Box::pin(pieces).map(|row| i64::from(row.unwrap().get::<_, i32>(0))).collect().await;
        if pieces.is_empty() {
            break;
        }
        total += pieces.iter().sum::<i64>();
    }
    assert_eq!(total, 20000 * 20001 / 2);
    done.push("large");
    done
}

async fn works(client: &Client) {
    assert_eq!(client.query_one("select 1", &[]).await.unwrap().get::<_, i32>(0), 1);
}
