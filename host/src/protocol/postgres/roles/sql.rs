//! The SQL that makes, finds and removes roles.
//!
//! Each text is one simple query: one round trip. Names are quoted here and nowhere else. No text ever has a password in it,
//! only a SCRAM verifier, because a target logs statements (PostgreSQL manual, "CREATE ROLE", notes on PASSWORD).

use super::Whose;
use crate::target::mint::Order;
use chaperone_core::role::{MINTED_PREFIX, RoleName};
use chaperone_core::window::microseconds;
use std::fmt::Write;
use std::slice;

/// The SQLSTATE by which [`make`] says that a granted role leads to too much.
pub(super) const TOO_POWERFUL: &str = "CHP01";

/// The SQLSTATE of what is not there (`undefined_object`).
pub(super) const ROLE_HAS_GONE: &str = "42704";

/// The SQLSTATE of what the gateway's own role may not do (`insufficient_privilege`).
pub(super) const NOT_ALLOWED: &str = "42501";

/// The longest wait of [`bar`] for a lock.
const BAR_LOCK_TIMEOUT_MS: u32 = 100;

/// A name as it is (PostgreSQL manual, "Identifiers and Key Words"). Zero bytes cannot be in a [`RoleName`].
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as it is, whatever `standard_conforming_strings` says (PostgreSQL manual, "String Constants").
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

fn role(name: &RoleName) -> String {
    identifier(name.as_str())
}

fn list(names: &[RoleName]) -> String {
    names.iter().map(role).collect::<Vec<_>>().join(", ")
}

/// How the comment begins by which a gateway knows its own roles: several may share a target, and a name alone can be
/// anybody's. With the database, because roles are the whole server's and the claim ([`claim`]) is one database's. In quotes and
/// escaped, so that no mark begins another.
pub(super) fn mark(whose: &Whose) -> String {
    let Whose { gateway, target, database } = whose;
    format!(
        "made by chaperone: gateway {gateway}, target {target}, database \"{}\", ",
        database.escape_default()
    )
}

/// The first version in which a membership can do without `SET ROLE` (`server_version_num`; release notes of PostgreSQL 16).
pub(super) const SET_IS_AN_OPTION: u32 = 160_000;

/// One transaction: the role, its comment, its memberships, and a look at where these lead.
///
/// A session has what its grant's roles may do, and cannot become one of them: else what it makes or hands on could be theirs,
/// and would outlive it. Older servers know no such membership; there it can ([`SET_IS_AN_OPTION`]). The server chooses, because
/// a session waits for one round trip, and because a gateway that remembers a version may be wrong after a switch to another server.
///
/// The target answers without waiting for its disk: a role that a crash takes away again has no session either.
pub(super) fn make(whose: &Whose, order: &Order, verifier: &str) -> String {
    let Order { name, principal, session, roles, until } = order;
    let comment = format!("{}principal {principal}, session {session}, until {until}", mark(whose));
    let mut sql = String::with_capacity(2048);
    // Writing into a String cannot fail.
    let _ = write!(
        sql,
        "BEGIN; SET LOCAL synchronous_commit = off; \
         CREATE ROLE {role} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT LOGIN \
         CONNECTION LIMIT 1 VALID UNTIL {until} PASSWORD {verifier}; \
         COMMENT ON ROLE {role} IS {comment}; \
         GRANT {role} TO CURRENT_USER; DO {members}; COMMIT",
        role = role(name),
        until = literal(&microseconds(*until).to_string()),
        verifier = literal(verifier),
        comment = literal(&comment),
        // As a string constant and not between dollars: a granted role's name may have any dollars in it.
        members = literal(&members(name, roles)),
    );
    sql
}

/// PL/pgSQL: the memberships, and that none of them leads to more than a session may have.
fn members(name: &RoleName, roles: &[RoleName]) -> String {
    let grant = format!("GRANT {} TO {}", list(roles), role(name));
    format!(
        "BEGIN IF pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= {SET_IS_AN_OPTION} \
         THEN EXECUTE {narrow}; ELSE EXECUTE {wide}; END IF; \
         IF EXISTS (SELECT FROM pg_catalog.pg_roles r \
         WHERE pg_catalog.pg_has_role({name}, r.oid, 'MEMBER') AND (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb \
         OR r.rolreplication OR r.rolbypassrls OR r.rolname IN ('pg_execute_server_program', 'pg_read_server_files', \
         'pg_write_server_files', 'pg_signal_backend'))) THEN RAISE EXCEPTION USING ERRCODE = '{TOO_POWERFUL}', MESSAGE = \
         'a role of the grant leads to more than a session may have'; END IF; END",
        narrow = literal(&format!("{grant} WITH INHERIT TRUE, SET FALSE")),
        wide = literal(&grant),
        name = literal(name.as_str()),
    )
}

/// No login from here on; a session that is in stays in. A session may hold a lock on its own role as long as it likes, and others
/// wait for theirs meanwhile: this waits no longer than the blink that an honest change takes, and is tried again.
pub(super) fn bar(name: &RoleName) -> String {
    format!(
        "BEGIN; SET LOCAL lock_timeout = {BAR_LOCK_TIMEOUT_MS}; ALTER ROLE {} NOLOGIN PASSWORD NULL; COMMIT",
        role(name)
    )
}

/// All roles that this gateway has made and that are still there.
pub(super) fn own(whose: &Whose) -> String {
    let (prefix, mark) = (MINTED_PREFIX, mark(whose));
    format!(
        "SELECT r.rolname FROM pg_catalog.pg_roles r WHERE pg_catalog.left(r.rolname, {}) = {} \
         AND pg_catalog.left(pg_catalog.shobj_description(r.oid, 'pg_authid'), {}) = {}",
        prefix.len(),
        literal(prefix),
        mark.chars().count(),
        literal(&mark),
    )
}

/// Every backend of the roles is told to end; their processes. In a transaction of its own and before anything else, because a
/// session may hold a lock on its own role (it may change its password), and whoever wants to change the role waits for that.
/// The gateway's own role may do this as a member of it, which [`make`] has seen to.
pub(super) fn terminate(names: &[RoleName]) -> String {
    let names: Vec<_> = names.iter().map(|name| literal(name.as_str())).collect();
    format!(
        "SELECT a.pid, pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a \
         WHERE a.usename IN ({})",
        names.join(", "),
    )
}

/// The same without being a member. Up to PostgreSQL 14 a session may take that from the gateway's own role (a role is its own
/// administrator there), and may hold a lock on its coming back. There `CREATEROLE` gives this right; it is not kept.
pub(super) fn terminate_as_signaller(name: &RoleName) -> String {
    format!("BEGIN; GRANT pg_signal_backend TO CURRENT_USER; {}; ROLLBACK", terminate(slice::from_ref(name)))
}

/// No login any more; then the backends that have come before that. The gateway's own role becomes a member, if it is none any
/// more: it may not hand on what is a stranger's.
pub(super) fn end(name: &RoleName) -> String {
    format!(
        "BEGIN; ALTER ROLE {role} NOLOGIN PASSWORD NULL VALID UNTIL '-infinity'; GRANT {role} TO CURRENT_USER; COMMIT; \
         {terminate}",
        role = role(name),
        terminate = terminate(slice::from_ref(name)),
    )
}

/// Backends that are still there.
pub(super) fn backends(name: &RoleName) -> String {
    format!("SELECT a.pid FROM pg_catalog.pg_stat_activity a WHERE a.usename = {}", literal(name.as_str()))
}

/// What it owns, and how much of that cannot be handed on: all that is in another database, and all that runs something
/// with its owner's rights. A view, a function or the expression of an index that came from a session would do so for the next
/// owner. What is about the role itself (user mappings, default privileges) goes with it.
pub(super) fn owned(name: &RoleName) -> String {
    format!(
        "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE d.dbid NOT IN (0, (SELECT b.oid FROM \
         pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database())) OR NOT CASE d.classid \
         WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN EXISTS (SELECT FROM pg_catalog.pg_class c \
         WHERE c.oid = d.objid AND c.relkind IN ('r', 'p', 'S') AND NOT c.relhasrules AND NOT EXISTS (SELECT FROM \
         pg_catalog.pg_index i WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))) \
         WHEN 'pg_catalog.pg_largeobject'::pg_catalog.regclass THEN true ELSE false END) \
         FROM pg_catalog.pg_shdepend d JOIN pg_catalog.pg_roles r ON r.oid = d.refobjid \
         WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND d.deptype = 'o' AND r.rolname = {} \
         AND d.classid NOT IN ('pg_catalog.pg_user_mapping'::pg_catalog.regclass, \
         'pg_catalog.pg_default_acl'::pg_catalog.regclass)",
        literal(name.as_str()),
    )
}

/// One transaction: what it owns is another's, what was granted to it is revoked, it is gone.
pub(super) fn remove(name: &RoleName, owned_to: Option<&RoleName>) -> String {
    let role_name = role(name);
    let reassign = owned_to
        .map(|owner| format!("REASSIGN OWNED BY {role_name} TO {}; ", role(owner)))
        .unwrap_or_default();
    format!("BEGIN; {reassign}DROP OWNED BY {role_name}; DROP ROLE {role_name}; COMMIT")
}

/// So that what it owns does nothing in its name: its memberships go, each by itself, because the gateway's own role may have no right to
/// one that somebody else has given it. The rows are what it is a member of all the same, whatever the reason; from PostgreSQL 16 on, a
/// membership is its grantor's to take, and whoever else tries may get no more than a warning.
pub(super) fn strip(name: &RoleName) -> String {
    let memberships = format!(
        "SELECT g.rolname FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid \
         JOIN pg_catalog.pg_roles r ON r.oid = m.member WHERE r.rolname = {}",
        literal(name.as_str()),
    );
    let each = format!(
        "DECLARE granted pg_catalog.name; BEGIN FOR granted IN {memberships} LOOP BEGIN \
         EXECUTE pg_catalog.format('REVOKE %I FROM %I', granted, {name}); \
         EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END",
        name = literal(name.as_str()),
    );
    format!("DO {}; {memberships}", literal(&each))
}

/// Held as long as the connection lives, by one gateway of a name. Waits for `lock_timeout`. The last row is the server's version.
pub(super) fn claim(key: i64) -> String {
    format!(
        "SELECT pg_catalog.pg_advisory_lock({key}); SELECT pg_catalog.current_setting('server_version_num')"
    )
}

/// Who holds it: whether that is a gateway, which runs as the gateway's own role and does not share; their role; their process; the
/// id of their prepared transaction, which has no process. The two halves of the key are unsigned there. The manual's way from a lock to
/// its prepared transaction (`pg_locks`) works only after a restart of the server; but each holds a lock on its own number, too.
pub(super) fn holders(key: i64) -> String {
    let [a, b, c, d, e, f, g, h] = key.to_be_bytes();
    format!(
        "SELECT a.usename = SESSION_USER AND l.mode = 'ExclusiveLock', COALESCE(a.usename, p.owner), l.pid, p.gid \
         FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
         LEFT JOIN pg_catalog.pg_locks n ON n.pid IS NULL AND l.pid IS NULL \
         AND n.virtualtransaction = l.virtualtransaction AND n.locktype = 'transactionid' \
         LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = n.transactionid \
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.database = (SELECT b.oid FROM \
         pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database()) \
         AND l.classid = '{high}'::pg_catalog.oid AND l.objid = '{low}'::pg_catalog.oid",
        high = u32::from_be_bytes([a, b, c, d]),
        low = u32::from_be_bytes([e, f, g, h]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaperone_core::Timestamp;
    use chaperone_core::name::{Principal, SessionId};

    fn whose() -> Whose {
        Whose { gateway: "gw".into(), target: "shop".into(), database: "logs".into() }
    }

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        for (name, quoted) in [
            ("plain", "\"plain\""),
            ("Weird Name", "\"Weird Name\""),
            ("x\"; DROP ROLE y; --", "\"x\"\"; DROP ROLE y; --\""),
            ("\"\"", "\"\"\"\"\"\""),
            ("\\\"", "\"\\\"\"\""),
            ("é'$$", "\"é'$$\""),
        ] {
            assert_eq!(identifier(name), quoted);
        }
    }

    #[test]
    fn a_text_cannot_leave_its_quotes() {
        for (text, quoted) in [
            ("plain", "'plain'"),
            ("it's", "'it''s'"),
            ("\\'; DROP ROLE y; --", " E'\\\\''; DROP ROLE y; --'"),
            ("$$ \\", " E'$$ \\\\'"),
            ("", "''"),
        ] {
            assert_eq!(literal(text), quoted);
        }
    }

    #[test]
    fn a_hostile_principal_stays_in_the_comment() {
        let principal = Principal::new("a/b/';DROP/**/ROLE/**/x;--\\").unwrap();
        let session = SessionId::new(uuid::Uuid::from_u128(7));
        let order = Order {
            name: RoleName::of_session(&principal, session),
            principal,
            session,
            roles: vec![RoleName::new("re\"ads").unwrap(), RoleName::new("writes").unwrap()],
            until: Timestamp::from_second(1_800_000_000).unwrap(),
        };
        let sql = make(&whose(), &order, "SCRAM-SHA-256$4096:salt$stored:server");
        assert!(sql.contains("principal a/b/'';DROP/**/ROLE/**/x;--\\\\, session ses_"), "{sql}");
        assert!(
            sql.contains(" E'made by chaperone: gateway gw, target shop, database \"logs\", principal"),
            "{sql}"
        );
        assert!(sql.contains("GRANT \"re\"\"ads\", \"writes\" TO \"chp_x___0000000000000007\""), "{sql}");
        assert!(sql.contains("GRANT \"chp_x___0000000000000007\" TO CURRENT_USER"), "{sql}");
        assert!(sql.contains("VALID UNTIL '2027-01-15T08:00:00Z'"), "{sql}");
        assert!(sql.contains("PASSWORD 'SCRAM-SHA-256$4096:salt$stored:server'"), "{sql}");
    }

    #[test]
    fn a_granted_role_stays_in_the_text_within_the_text() {
        let name = RoleName::new("chp_x").unwrap();
        let body = members(&name, &[RoleName::new("it's $chaperone$ \\").unwrap()]);
        let grant = r#"GRANT "it''s $chaperone$ \\" TO "chp_x""#;
        assert!(body.contains(&format!("EXECUTE  E'{grant} WITH INHERIT TRUE, SET FALSE';")), "{body}");
        assert!(body.contains(&format!("ELSE EXECUTE  E'{grant}';")), "{body}");
        let within = r#"EXECUTE  E''GRANT "it''''s $chaperone$ \\\\" TO "chp_x"'';"#;
        assert!(literal(&body).contains(within), "{}", literal(&body));
    }

    #[test]
    fn gateways_targets_and_databases_have_marks_of_which_none_begins_another() {
        let of = |gateway: &str, target: &str, database: &str| {
            mark(&Whose { gateway: gateway.into(), target: target.into(), database: database.into() })
        };
        let marks = [
            of("a", "x", "d"),
            of("a1", "x", "d"),
            of("a", "x1", "d"),
            of("a", "y", "d"),
            of("b", "x", "d"),
            of("a", "x", "e"),
            of("a", "x", "d, "),
            of("a", "x", "d\", "),
            of("a", "x", "d\\\", "),
            of("a", "x", "é"),
        ];
        for (at, one) in marks.iter().enumerate() {
            for (other_at, other) in marks.iter().enumerate() {
                assert_eq!(one.starts_with(other.as_str()), at == other_at, "{one} and {other}");
            }
        }
    }
}
