//! A target that mints asks more of its grants and of the gateway.

use super::*;

#[test]
fn what_is_for_minted_roles_is_refused_where_none_are_made() {
    for (part, mistake, said) in [
        (
            "password: env:PROD_PASSWORD",
            "password: env:PROD_PASSWORD\n    credential: mint",
            "16:17 error `mint` is not accepted here | did you mean `minted`?",
        ),
        (
            "password: env:PROD_PASSWORD",
            "password: env:PROD_PASSWORD\n    owned_to: app",
            "16:5 error `owned_to` does nothing where no roles are made | write `credential: minted`, or delete it",
        ),
        (
            "lifetime: 15m",
            "lifetime: 15m\n    roles: reader",
            "25:5 error `roles` does nothing: the target's credential is static | write `credential: minted` at the target, or delete it",
        ),
    ] {
        assert!(GOOD.contains(part), "{part}");
        assert_eq!(found(&GOOD.replacen(part, mistake, 1)), [said], "{mistake}");
    }
}

#[test]
fn a_target_that_mints_needs_roles_in_each_of_its_grants_and_a_name_for_the_gateway() {
    let good = GOOD
        .replace("password: env:PROD_PASSWORD", "password: env:PROD_PASSWORD\n    credential: minted")
        .replace("recorded: yes", "recorded: yes\n    roles: reader");
    let good = format!("gateway: gw\n{good}");
    assert_eq!(found(&good), Vec::<String>::new());
    for (part, mistake, said) in [
        (
            "gateway: gw\n",
            "",
            "1:1 error `gateway` is missing | a name for this gateway that no other has: a target mints roles for it",
        ),
        (
            "gateway: gw\n",
            "gateway: a b\n",
            "1:10 error `a b` is not a gateway's name | use 1 to 63 letters, digits, `.`, `_` or `-`, the first a letter or a digit",
        ),
        (
            "    roles: reader\n",
            "",
            "23:5 error `roles` is missing in `grants[0]` | the target mints a role for each session: list what it is a member of",
        ),
        (
            "roles: reader",
            "roles: []",
            "28:5 error a session could do nothing: `roles` is empty | list what its role is a member of",
        ),
        (
            "roles: reader",
            "roles: [reader, reader]",
            "28:21 error this role is listed twice | one is enough: delete this one",
        ),
        (
            "roles: reader",
            "roles: [reader, gateway]",
            "28:21 error `gateway` is the gateway's own role: sessions could make roles themselves | name another role",
        ),
        (
            "credential: minted",
            "credential: minted\n    owned_to: gateway",
            "18:15 error `gateway` is the gateway's own role: what sessions have made would be the gateway's own, which may make roles | name another role",
        ),
    ] {
        assert!(good.contains(part), "{part}");
        assert_eq!(found(&good.replacen(part, mistake, 1)), [said], "{mistake}");
    }
    let long = good.replace("roles: reader", &format!("roles: {}", "x".repeat(64)));
    assert!(found(&long)[0].contains("is not a PostgreSQL role's name"), "{:?}", found(&long));
}
