# libpq itself, by ctypes: what drivers leave out. It is the library that psycopg brings along (PostgreSQL 18's).
import ctypes
import glob
import os

import psycopg  # loads what libpq needs
import psycopg_binary

folder = os.path.dirname(os.path.dirname(psycopg_binary.__file__))
pq = ctypes.CDLL(glob.glob(os.path.join(folder, "psycopg_binary.libs", "libpq-*"))[0])
for name in ["PQerrorMessage", "PQparameterStatus", "PQgetvalue", "PQresultErrorMessage"]:
    getattr(pq, name).restype = ctypes.c_char_p
for name in ["PQconnectdb", "PQexec", "PQgetCancel", "PQfn", "PQnotifies", "PQgetResult", "PQcancelCreate"]:
    getattr(pq, name).restype = ctypes.c_void_p


def connect(settings=""):
    connection = ctypes.c_void_p(pq.PQconnectdb(settings.encode()))
    assert pq.PQstatus(connection) == 0, error(connection)
    return connection


def refused(settings=""):
    connection = ctypes.c_void_p(pq.PQconnectdb(settings.encode()))
    assert pq.PQstatus(connection) != 0, "it was let in"
    return error(connection)


def error(connection):
    return pq.PQerrorMessage(connection).decode()


def ask(connection, sql):
    result = ctypes.c_void_p(pq.PQexec(connection, sql.encode()))
    # PGRES_COMMAND_OK, PGRES_TUPLES_OK
    assert pq.PQresultStatus(result) in (1, 2), error(connection)
    value = pq.PQgetvalue(result, 0, 0) if pq.PQntuples(result) else b""
    pq.PQclear(result)
    return value.decode()


class Argument(ctypes.Structure):
    _fields_ = [("len", ctypes.c_int), ("isint", ctypes.c_int), ("pointer", ctypes.c_void_p)]


def call(connection, oid, *arguments):
    """PQfn: integers as such, texts as bytes; the result as bytes, or an error's text."""
    block = (Argument * max(len(arguments), 1))()
    kept = []
    for place, argument in zip(block, arguments):
        if isinstance(argument, int):
            place.len, place.isint, place.pointer = 4, 1, argument
        else:
            kept.append(ctypes.create_string_buffer(argument, len(argument)))
            place.len, place.isint, place.pointer = len(argument), 0, ctypes.addressof(kept[-1])
    length, buffer = ctypes.c_int(), ctypes.create_string_buffer(1 << 16)
    result = ctypes.c_void_p(pq.PQfn(connection, oid, buffer, ctypes.byref(length), 0, block, len(arguments)))
    if pq.PQresultStatus(result) != 1:
        return error(connection)
    return buffer.raw[: length.value]
