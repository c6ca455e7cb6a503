// pgjdbc. The same steps in the same order as the other files here.
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.*;
import java.time.OffsetDateTime;
import java.util.Arrays;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicBoolean;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PGobject;
import org.postgresql.util.PSQLException;

class WithPgjdbc {
    static final String INSERT = "insert into orders (customer_id, item, total, status) values (1, ?, 1.5, 'open')";
    static final String LARGE = "select n, x from large order by n";
    static Connection connection;

    interface Work {
        void run() throws Exception;
    }

    static void is(Object found, Object expected) {
        if (!java.util.Objects.deepEquals(found, expected)) {
            throw new AssertionError(found + " is not " + expected);
        }
    }

    static Object one(String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int at = 0; at < values.length; at++) {
                statement.setObject(at + 1, values[at]);
            }
            ResultSet rows = statement.executeQuery();
            rows.next();
            return rows.getObject(1);
        }
    }

    static long count(String item) throws SQLException {
        return (Long) one("select count(*) from orders where item = ?", item);
    }

    static void insert(String item) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(INSERT)) {
            statement.setString(1, item);
            is(statement.executeUpdate(), 1);
        }
    }

    static void execute(String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    static PSQLException fails(String state, Work work) throws Exception {
        try {
            work.run();
        } catch (SQLException error) {
            // A batch wraps what the server said.
            PSQLException said = (PSQLException) (error instanceof BatchUpdateException ? error.getCause() : error);
            is(said.getSQLState(), state);
            return said;
        }
        throw new AssertionError("no error came back");
    }

    static void refused(Work work) throws Exception {
        String detail = fails("42501", work).getServerErrorMessage().getDetail();
        is(detail, "The rule is ddl.drop.");
    }

    static Connection connect(String mode) throws SQLException {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        Properties settings = new Properties();
        settings.setProperty("user", System.getenv("PGUSER"));
        settings.setProperty("password", System.getenv("PGPASSWORD"));
        settings.setProperty("sslmode", "require");
        settings.setProperty("preferQueryMode", mode);
        return DriverManager.getConnection(url, settings);
    }

    public static void main(String[] arguments) throws Exception {
        connection = connect("simple");
        is(one("select 1"), 1);
        refused(() -> execute("drop table customers"));
        connection.close();
        connection = connect("extended");
        is(one("select pg_backend_pid()"), connection.unwrap(PGConnection.class).getBackendPID());
        System.out.println("connect");

        // From its fifth execution on pgjdbc gives a statement a name and takes binary values.
        try (PreparedStatement statement = connection.prepareStatement("select ?::int + 1, ?::text")) {
            for (int number = 0; number < 8; number++) {
                statement.setInt(1, number);
                statement.setString(2, "x");
                ResultSet rows = statement.executeQuery();
                rows.next();
                is(rows.getInt(1), number + 1);
                is(rows.getString(2), "x");
            }
        }
        System.out.println("prepared");

        connection.setAutoCommit(false);
        insert("rolled back");
        connection.rollback();
        insert("kept");
        Savepoint savepoint = connection.setSavepoint();
        fails("22012", () -> one("select 1/0"));
        connection.rollback(savepoint);
        connection.commit();
        connection.setAutoCommit(true);
        is(count("rolled back"), 0L);
        is(count("kept"), 1L);
        System.out.println("transaction");

        PGobject json = new PGobject();
        json.setType("jsonb");
        json.setValue("{\"a\": [1, null]}");
        OffsetDateTime time = OffsetDateTime.parse("2026-02-28T23:59:59.000005Z");
        UUID uuid = UUID.fromString("7e570000-0000-4000-8000-000000000001");
        byte[] bytes = {0, -1, '\'', '\\'};
        Integer[] numbers = {1, null, 3};
        String sql = "select ?::int8, ?::numeric, ?::timestamptz, ?::bytea, ?::uuid, ?::jsonb, ?::int[], ?::text";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            // The first executions are in text, the later ones in binary.
            for (int again = 0; again < 8; again++) {
                statement.setLong(1, 1L << 40);
                statement.setBigDecimal(2, new BigDecimal("-12345.678"));
                statement.setObject(3, time);
                statement.setBytes(4, bytes);
                statement.setObject(5, uuid);
                statement.setObject(6, json);
                statement.setArray(7, connection.createArrayOf("int4", numbers));
                statement.setString(8, null);
                ResultSet rows = statement.executeQuery();
                rows.next();
                is(rows.getLong(1), 1L << 40);
                is(rows.getBigDecimal(2), new BigDecimal("-12345.678"));
                is(rows.getObject(3, OffsetDateTime.class).toInstant(), time.toInstant());
                is(rows.getBytes(4), bytes);
                is(rows.getObject(5), uuid);
                is(rows.getString(6), json.getValue());
                is(rows.getArray(7).getArray(), numbers);
                is(rows.getString(8), null);
            }
        }
        System.out.println("binary");

        CopyManager copy = connection.unwrap(PGConnection.class).getCopyAPI();
        StringReader lines = new StringReader("2\tcopied\t2\topen\n".repeat(100));
        is(copy.copyIn("copy orders (customer_id, item, total, status) from stdin", lines), 100L);
        StringWriter out = new StringWriter();
        is(copy.copyOut("copy (select item, total from orders where item = 'copied') to stdout", out), 100L);
        is(out.toString(), "copied\t2.00\n".repeat(100));
        System.out.println("copy");

        // Again and again until it hits: the statement may not have begun when the first request arrives.
        AtomicBoolean done = new AtomicBoolean();
        try (Statement statement = connection.createStatement()) {
            Thread thread = new Thread(() -> {
                try {
                    while (!done.get()) {
                        Thread.sleep(50);
                        statement.cancel();
                    }
                } catch (SQLException | InterruptedException error) {
                    throw new RuntimeException(error);
                }
            });
            thread.start();
            fails("57014", () -> statement.execute("select pg_sleep(50)"));
            done.set(true);
            thread.join();
        }
        is(one("select 1"), 1);
        System.out.println("cancel");

        fails("22012", () -> one("select 1/0"));
        fails("42P01", () -> one("select * from nowhere"));
        is(one("select 1"), 1);
        System.out.println("error");

        refused(() -> execute("drop table customers"));
        refused(() -> one("drop table customers"));
        is(one("select 1"), 1);
        System.out.println("refusal");

        connection.setAutoCommit(false);
        insert("before");
        refused(() -> execute("drop table customers"));
        insert("after");
        connection.commit();
        connection.setAutoCommit(true);
        is(count("before"), 1L);
        is(count("after"), 1L);
        System.out.println("refusal in a transaction");

        // One Sync for the whole batch: what stands before the refusal is undone with it, what stands behind it is skipped.
        try (Statement batch = connection.createStatement()) {
            batch.addBatch(INSERT.replace("?", "'in a batch'"));
            batch.addBatch("drop table customers");
            batch.addBatch(INSERT.replace("?", "'in a batch'"));
            refused(batch::executeBatch);
        }
        is(count("in a batch"), 0L);
        try (PreparedStatement batch = connection.prepareStatement(INSERT)) {
            for (int number = 0; number < 500; number++) {
                batch.setString(1, "many");
                batch.addBatch();
            }
            is(Arrays.stream(batch.executeBatch()).sum(), 500);
        }
        is(count("many"), 500L);
        System.out.println("refusal in a batch");

        try (PreparedStatement statement = connection.prepareStatement("select ssn, card from customers where id = ?")) {
            for (int again = 0; again < 8; again++) {
                statement.setInt(1, 1);
                ResultSet rows = statement.executeQuery();
                rows.next();
                is(rows.getString(1), "[redacted]");
                is(rows.getString(2), "************1881");
            }
        }
        System.out.println("masked");

        // First whole, then by a portal that is read in pieces, which pgjdbc does inside a transaction only.
        for (int size : new int[] {0, 500}) {
            connection.setAutoCommit(size == 0);
            try (Statement statement = connection.createStatement()) {
                statement.setFetchSize(size);
                ResultSet rows = statement.executeQuery(LARGE);
                int count = 0;
                while (rows.next()) {
                    is(rows.getInt(1), ++count);
                    is(rows.getString(2), "x".repeat(1000));
                }
                is(count, 20000);
            }
        }
        connection.commit();
        System.out.println("large");
        connection.close();
    }
}
