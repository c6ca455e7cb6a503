# Ways round a hold or a mask that once worked, each with the answer that closed it.
import psycopg
from psycopg import pq

connection = psycopg.connect("", autocommit=True).pgconn


def answer(result):
    text = (result.error_message or b"").decode()
    return "rows" if result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK) else text


# A held statement's name, touched by PREPARE in SQL, was taken for one that nobody had to approve.
assert connection.prepare(b"s", b"delete from orders where id = 2").status == pq.ExecStatus.COMMAND_OK
assert answer(connection.exec_(b"prepare q as select 1")) == "rows"
said = answer(connection.exec_prepared(b"s", []))
assert "may have changed it" in said, said

# PREPARE was approved without its parameters, EXECUTE then ran with any.
said = answer(connection.exec_(b"prepare d(int) as delete from orders where id = $1"))
assert "cannot be run by PREPARE and EXECUTE" in said, said

# EXECUTE would show approvers a name instead of a statement.
assert connection.prepare(b"held", b"delete from orders where id = 3").status == pq.ExecStatus.COMMAND_OK
said = answer(connection.exec_(b"execute held"))
assert "cannot be run by PREPARE and EXECUTE" in said, said

# The text of an error quoted the value that no row would have shown.
said = answer(connection.exec_(b"select * from customers where id = ('x' || (select ssn from customers limit 1))::int"))
assert "withheld" in said and "22P02" not in said.split("withheld")[0] and "-" not in said.split("ERROR")[1][:40], said
# An error that can quote nothing is shown.
said = answer(connection.exec_(b"select 1/0"))
assert "division by zero" in said, said
print("closed")
