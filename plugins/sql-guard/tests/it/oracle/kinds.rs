//! PostgreSQL's kinds of statements, and the classes that each must have here.
//!
//! A kind that is not listed has no class that fits, so that a new one is looked at.

use serde_json::Value;

type Classes = &'static [&'static str];

/// What changes definitions: refused by all presets alike.
const DEFINITION: Classes = &["ddl", "privilege", "role", "system"];

/// Statements with settings that take effect elsewhere.
pub(super) const SETS_FOR_OTHERS: &[&str] = &[
    "CreateFunctionStmt",
    "AlterFunctionStmt",
    "AlterRoleSetStmt",
    "AlterDatabaseSetStmt",
    "AlterSystemStmt",
];

/// What a statement is, with what it needs; several for one that does several things.
pub(super) fn of(tag: &str, node: &Value) -> Vec<(String, Classes)> {
    let mut found: Vec<(String, Classes)> = vec![(tag.to_owned(), main(tag, node))];
    let mut also = |what: &str, classes: Classes| found.push((format!("{tag} {what}"), classes));
    match tag {
        "InsertStmt" if node["onConflictClause"]["action"] == "ONCONFLICT_UPDATE" => {
            also("ON CONFLICT DO UPDATE", &["update"]);
        }
        "MergeStmt" => {
            for action in node["mergeWhenClauses"].as_array().into_iter().flatten() {
                match action["MergeWhenClause"]["commandType"].as_str() {
                    Some("CMD_UPDATE") => also("UPDATE", &["update"]),
                    Some("CMD_DELETE") => also("DELETE", &["delete"]),
                    _ => (),
                }
            }
        }
        _ => (),
    }
    found
}

fn main(tag: &str, node: &Value) -> Classes {
    match tag {
        "RawStmt" => &[],
        "InsertStmt" => &["insert"],
        "UpdateStmt" if chooses(&node["whereClause"]) => &["update"],
        "UpdateStmt" => &["update.no-where"],
        "DeleteStmt" if chooses(&node["whereClause"]) => &["delete"],
        "DeleteStmt" => &["delete.no-where"],
        "MergeStmt" => &["merge"],
        "TruncateStmt" => &["truncate"],
        "CopyStmt" if node["is_program"] == true => &["copy.program"],
        "CopyStmt" if node.get("filename").is_some() => &["copy.file"],
        "CopyStmt" if node["is_from"] == true => &["copy.in"],
        "CopyStmt" => &["copy.out"],
        "ExplainStmt" if analyzes(node) => &["explain.analyze"],
        "ExplainStmt" => &["explain"],
        "VariableSetStmt" => setting(node),
        "VariableShowStmt" => &["session.show"],
        "ConstraintsSetStmt" => &["session.set"],
        "DiscardStmt" => &["session.discard"],
        "TransactionStmt" if node["kind"].as_str().is_some_and(|kind| kind.contains("PREPARE")) => {
            &["transaction.prepared"]
        }
        "TransactionStmt" => &["transaction"],
        "DeclareCursorStmt" | "FetchStmt" | "ClosePortalStmt" => &["cursor"],
        "PrepareStmt" | "DeallocateStmt" => &["prepare"],
        "ExecuteStmt" => &["execute"],
        "DoStmt" | "CallStmt" => &["procedural"],
        "VacuumStmt" | "ReindexStmt" | "ClusterStmt" | "RefreshMatViewStmt" => &["maintenance"],
        "ListenStmt" | "UnlistenStmt" => &["listen"],
        "NotifyStmt" => &["notify"],
        "LockStmt" => &["lock"],
        _ => definition(tag),
    }
}

fn definition(tag: &str) -> Classes {
    match tag {
        "GrantStmt"
        | "GrantRoleStmt"
        | "AlterDefaultPrivilegesStmt"
        | "CreatePolicyStmt"
        | "AlterPolicyStmt"
        | "SecLabelStmt"
        | "ReassignOwnedStmt"
        | "DropOwnedStmt" => &["privilege", "role"],
        "CreateRoleStmt" | "AlterRoleStmt" | "AlterRoleSetStmt" | "DropRoleStmt" => &["role"],
        "AlterSystemStmt" | "LoadStmt" | "CheckPointStmt" => &["system"],
        "CreatedbStmt"
        | "AlterDatabaseStmt"
        | "AlterDatabaseSetStmt"
        | "AlterDatabaseRefreshCollStmt"
        | "DropdbStmt"
        | "CreateTableSpaceStmt"
        | "DropTableSpaceStmt"
        | "AlterTableSpaceOptionsStmt" => &["system"],
        "CreateExtensionStmt"
        | "AlterExtensionStmt"
        | "AlterExtensionContentsStmt"
        | "CreatePLangStmt"
        | "CreateAmStmt" => &["system"],
        "CreateForeignServerStmt"
        | "AlterForeignServerStmt"
        | "ImportForeignSchemaStmt"
        | "CreateFdwStmt"
        | "AlterFdwStmt"
        | "CreateUserMappingStmt"
        | "AlterUserMappingStmt"
        | "DropUserMappingStmt" => &["system"],
        "CreatePublicationStmt"
        | "AlterPublicationStmt"
        | "CreateSubscriptionStmt"
        | "AlterSubscriptionStmt"
        | "DropSubscriptionStmt" => &["system"],
        "CreateFunctionStmt"
        | "AlterFunctionStmt"
        | "CreateTrigStmt"
        | "CreateEventTrigStmt"
        | "AlterEventTrigStmt"
        | "RuleStmt"
        | "CreateCastStmt"
        | "CreateOpClassStmt"
        | "CreateOpFamilyStmt"
        | "AlterOpFamilyStmt"
        | "AlterOperatorStmt"
        | "CreateTransformStmt"
        | "CreateConversionStmt" => &["ddl.function"],
        "DefineStmt" => &["ddl.create", "ddl.function"],
        "CreateStmt"
        | "CreateTableAsStmt"
        | "ViewStmt"
        | "IndexStmt"
        | "CreateSeqStmt"
        | "CreateSchemaStmt"
        | "CompositeTypeStmt"
        | "CreateEnumStmt"
        | "CreateRangeStmt"
        | "CreateDomainStmt"
        | "CreateStatsStmt"
        | "CreateForeignTableStmt" => &["ddl.create"],
        "AlterTableStmt"
        | "ReplicaIdentityStmt"
        | "AlterTableMoveAllStmt"
        | "AlterSeqStmt"
        | "AlterDomainStmt"
        | "AlterEnumStmt"
        | "AlterStatsStmt"
        | "AlterTypeStmt"
        | "AlterCollationStmt"
        | "AlterTSConfigurationStmt"
        | "AlterTSDictionaryStmt" => &["ddl.alter"],
        "RenameStmt" | "AlterOwnerStmt" | "AlterObjectSchemaStmt" | "AlterObjectDependsStmt" => DEFINITION,
        "DropStmt" => DEFINITION,
        "CommentStmt" => &["ddl.comment"],
        // Not a statement of its own: what a `RETURN` in the body of a function is.
        "ReturnStmt" => &["ddl.function"],
        _ => &["a class for this kind of statement"],
    }
}

/// Whether a condition can choose some rows and not others: it names a column or a cursor.
fn chooses(condition: &Value) -> bool {
    match condition {
        Value::Object(fields) => {
            fields.iter().any(|(key, value)| key == "ColumnRef" || key == "CurrentOfExpr" || chooses(value))
        }
        Value::Array(items) => items.iter().any(chooses),
        _ => false,
    }
}

fn analyzes(explain: &Value) -> bool {
    let options = explain["options"].as_array().into_iter().flatten();
    let mut analyze =
        options.map(|option| &option["DefElem"]).filter(|option| option["defname"] == "analyze");
    let off = |option: &Value| {
        let arg = option["arg"].to_string().to_ascii_lowercase();
        arg.contains("off") || arg.contains("false") || arg == r#"{"integer":{}}"#
    };
    analyze.next_back().is_some_and(|option| !off(option))
}

fn setting(node: &Value) -> Classes {
    let name = node["name"].as_str().unwrap_or_default().to_ascii_lowercase();
    match (name.as_str(), node["kind"].as_str()) {
        ("role" | "session_authorization", _) => &["role"],
        ("transaction" | "session characteristics" | "transaction snapshot", Some("VAR_SET_MULTI")) => {
            &["transaction"]
        }
        (_, Some("VAR_RESET" | "VAR_RESET_ALL")) => &["session.reset"],
        _ => &["session.set"],
    }
}
