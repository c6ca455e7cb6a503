//! What a function is, by its name.
//!
//! The catalog is not known here, so names decide, and they decide conservatively: dangerous names count in every
//! schema, harmless ones only when nothing or `pg_catalog` stands in front, unknown ones starting with `pg_` count
//! as administration, and every other one may do anything that its author could.

use crate::classes::Class;

/// Beginnings of names, with what they mean; the first that fits decides, exact names come before.
const PREFIXES: &[(&str, Class)] = &[
    ("pg_read_", Class::FunctionFile),
    ("pg_ls_", Class::FunctionFile),
    ("pg_file_", Class::FunctionFile),
    ("pg_logdir_", Class::FunctionFile),
    ("dblink", Class::FunctionRemote),
    ("postgres_fdw_", Class::FunctionRemote),
    ("query_to_xml", Class::FunctionDynamic),
    ("table_to_xml", Class::FunctionDynamic),
    ("schema_to_xml", Class::FunctionDynamic),
    ("database_to_xml", Class::FunctionDynamic),
    ("cursor_to_xml", Class::FunctionDynamic),
    ("crosstab", Class::FunctionDynamic),
    ("lo_", Class::FunctionLargeObject),
    ("pg_sleep", Class::FunctionWait),
    ("pg_advisory_", Class::FunctionWait),
    ("pg_try_advisory_", Class::FunctionWait),
    ("binary_upgrade_", Class::FunctionAdmin),
    ("brin_", Class::FunctionAdmin),
    ("gin_clean_", Class::FunctionAdmin),
];

/// Names with a meaning of their own.
const NAMES: &[(&str, Class)] = &[
    ("connectby", Class::FunctionDynamic),
    ("lo_export", Class::FunctionFile),
    ("lo_import", Class::FunctionFile),
    ("loread", Class::FunctionLargeObject),
    ("lowrite", Class::FunctionLargeObject),
    ("nextval", Class::FunctionSequence),
    ("pg_current_logfile", Class::FunctionFile),
    ("pg_hba_file_rules", Class::FunctionFile),
    ("pg_ident_file_mappings", Class::FunctionFile),
    ("pg_notify", Class::FunctionNotify),
    ("pg_show_all_file_settings", Class::FunctionFile),
    ("pg_stat_file", Class::FunctionFile),
    ("set_config", Class::FunctionAdmin),
    ("setval", Class::FunctionSequence),
    ("ts_rewrite", Class::FunctionDynamic),
    ("ts_stat", Class::FunctionDynamic),
    ("xpath_table", Class::FunctionDynamic),
    ("xslt_process", Class::FunctionFile),
];

/// Schemas of extensions whose functions run texts that they are given.
const DYNAMIC_SCHEMAS: &[&str] = &["cron"];

/// What a function is.
pub(crate) fn classify(schema: Option<&str>, name: &str) -> Class {
    if let Some(class) = dangerous(schema, name) {
        return class;
    }
    if !matches!(schema, None | Some("pg_catalog")) {
        return Class::FunctionOther;
    }
    if name.starts_with("pg_stat_get_") || BUILTIN.binary_search(&name).is_ok() {
        return Class::FunctionBuiltin;
    }
    // Fails closed: administration grows with every release of PostgreSQL.
    if name.starts_with("pg_") { Class::FunctionAdmin } else { Class::FunctionOther }
}

/// The class of a function that is dangerous by its name, if it is.
pub(crate) fn dangerous(schema: Option<&str>, name: &str) -> Option<Class> {
    if let Ok(index) = NAMES.binary_search_by(|(known, _)| (*known).cmp(name)) {
        return NAMES.get(index).map(|(_, class)| *class);
    }
    if schema.is_some_and(|schema| DYNAMIC_SCHEMAS.contains(&schema)) {
        return Some(Class::FunctionDynamic);
    }
    PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, class)| *class)
}

/// Functions that take a whole row and that PostgreSQL therefore also finds behind a dot: `t.to_json` is
/// `to_json(t)` (manual, 8.16.5) unless `t` has such a column.
pub(crate) fn takes_whole_row(name: &str) -> bool {
    WHOLE_ROW.binary_search(&name).is_ok()
}

#[rustfmt::skip]
const WHOLE_ROW: &[&str] = &[
    "any_value", "array_agg", "concat", "count", "hash_record", "hash_record_extended", "hstore", "json_agg",
    "json_agg_strict", "json_build_array", "json_build_object", "jsonb_agg", "jsonb_agg_strict", "jsonb_build_array",
    "jsonb_build_object", "max", "min", "num_nonnulls", "num_nulls", "pg_column_size", "quote_literal",
    "quote_nullable", "record_out", "record_send", "row_to_json", "st_asgeojson", "to_json", "to_jsonb",
];

/// Functions of `pg_catalog` (PostgreSQL 18) that read no table and no file and change nothing, and the constructs
/// that the grammar writes like functions. Those behind operators and types are not called by name and are left out.
#[rustfmt::skip]
const BUILTIN: &[&str] = &[
    "abbrev", "abs", "acldefault", "aclexplode", "acos", "acosd", "acosh", "age", "all", "any", "any_value",
    "area", "array", "array_agg", "array_append", "array_cat", "array_dims", "array_fill", "array_length",
    "array_lower", "array_ndims", "array_position", "array_positions", "array_prepend", "array_remove",
    "array_replace", "array_reverse", "array_sample", "array_shuffle", "array_sort", "array_to_json",
    "array_to_string", "array_to_tsvector", "array_upper", "ascii", "asin", "asind", "asinh", "atan", "atan2",
    "atan2d", "atand", "atanh", "avg", "bernoulli", "bit", "bit_and", "bit_count", "bit_length", "bit_or",
    "bit_xor", "bool", "bool_and", "bool_or", "box", "bpchar", "broadcast", "btrim", "bytea", "cardinality",
    "casefold", "cast", "cbrt", "ceil", "ceiling", "center", "char", "char_length", "character_length", "chr",
    "cidr", "circle", "clock_timestamp", "coalesce", "col_description", "collation", "concat", "concat_ws",
    "convert", "convert_from", "convert_to", "corr", "cos", "cosd", "cosh", "cot", "cotd", "count",
    "covar_pop", "covar_samp", "crc32", "crc32c", "cume_dist", "current_catalog", "current_database",
    "current_date", "current_query", "current_role", "current_schema", "current_schemas", "current_setting",
    "current_time", "current_timestamp", "current_user", "currval", "date", "date_add", "date_bin",
    "date_part", "date_subtract", "date_trunc", "datemultirange", "daterange", "decode", "degrees",
    "dense_rank", "diagonal", "diameter", "div", "encode", "enum_first", "enum_last", "enum_range", "erf",
    "erfc", "every", "exists", "exp", "extract", "factorial", "family", "first_value", "float4", "float8",
    "floor", "format", "format_type", "gamma", "gcd", "gen_random_uuid", "generate_series",
    "generate_subscripts", "get_bit", "get_byte", "get_current_ts_config", "getdatabaseencoding",
    "getpgusername", "greatest", "grouping", "has_any_column_privilege", "has_column_privilege",
    "has_database_privilege", "has_foreign_data_wrapper_privilege", "has_function_privilege",
    "has_language_privilege", "has_largeobject_privilege", "has_parameter_privilege", "has_schema_privilege",
    "has_sequence_privilege", "has_server_privilege", "has_table_privilege", "has_tablespace_privilege",
    "has_type_privilege", "height", "host", "hostmask", "inet", "inet_client_addr", "inet_client_port",
    "inet_server_addr", "inet_server_port", "initcap", "int2", "int4", "int4multirange", "int4range", "int8",
    "int8multirange", "int8range", "interval", "is_normalized", "isclosed", "isempty", "isfinite",
    "ishorizontal", "isopen", "isparallel", "isperp", "isvertical", "json", "json_agg", "json_agg_strict",
    "json_array", "json_array_elements", "json_array_elements_text", "json_array_length", "json_arrayagg",
    "json_build_array", "json_build_object", "json_each", "json_each_text", "json_exists", "json_object",
    "json_object_agg", "json_object_agg_strict", "json_object_agg_unique", "json_object_agg_unique_strict",
    "json_object_keys", "json_objectagg", "json_populate_record", "json_populate_recordset", "json_query",
    "json_scalar", "json_serialize", "json_strip_nulls", "json_table", "json_to_record", "json_to_recordset",
    "json_to_tsvector", "json_typeof", "json_value", "jsonb", "jsonb_agg", "jsonb_agg_strict",
    "jsonb_array_elements", "jsonb_array_elements_text", "jsonb_array_length", "jsonb_build_array",
    "jsonb_build_object", "jsonb_each", "jsonb_each_text", "jsonb_insert", "jsonb_object", "jsonb_object_agg",
    "jsonb_object_agg_strict", "jsonb_object_agg_unique", "jsonb_object_agg_unique_strict",
    "jsonb_object_keys", "jsonb_path_exists", "jsonb_path_exists_tz", "jsonb_path_match",
    "jsonb_path_match_tz", "jsonb_path_query", "jsonb_path_query_array", "jsonb_path_query_array_tz",
    "jsonb_path_query_first", "jsonb_path_query_first_tz", "jsonb_path_query_tz", "jsonb_populate_record",
    "jsonb_populate_record_valid", "jsonb_populate_recordset", "jsonb_pretty", "jsonb_set", "jsonb_set_lax",
    "jsonb_strip_nulls", "jsonb_to_record", "jsonb_to_recordset", "jsonb_to_tsvector", "jsonb_typeof",
    "justify_days", "justify_hours", "justify_interval", "lag", "last_value", "lastval", "lcm", "lead",
    "least", "left", "length", "lgamma", "like", "like_escape", "line", "ln", "localtime", "localtimestamp",
    "log", "log10", "lower", "lower_inc", "lower_inf", "lpad", "lseg", "ltrim", "macaddr", "macaddr8",
    "macaddr8_set7bit", "make_date", "make_interval", "make_time", "make_timestamp", "make_timestamptz",
    "masklen", "max", "md5", "merge_action", "min", "min_scale", "mod", "mode", "money", "multirange",
    "mxid_age", "name", "netmask", "network", "normalize", "notlike", "now", "npoints", "nth_value", "ntile",
    "nullif", "num_nonnulls", "num_nulls", "numeric", "nummultirange", "numnode", "numrange",
    "obj_description", "octet_length", "oid", "oidvectortypes", "overlaps", "overlay", "parse_ident", "path",
    "pclose", "percent_rank", "percentile_cont", "percentile_disc", "pg_available_extension_versions",
    "pg_available_extensions", "pg_available_wal_summaries", "pg_backend_pid", "pg_basetype",
    "pg_blocking_pids", "pg_char_to_encoding", "pg_client_encoding", "pg_collation_actual_version",
    "pg_collation_for", "pg_collation_is_visible", "pg_column_compression", "pg_column_is_updatable",
    "pg_column_size", "pg_column_toast_chunk_id", "pg_control_checkpoint", "pg_control_init",
    "pg_control_recovery", "pg_control_system", "pg_conversion_is_visible", "pg_current_snapshot",
    "pg_current_wal_flush_lsn", "pg_current_wal_insert_lsn", "pg_current_wal_lsn", "pg_current_xact_id",
    "pg_current_xact_id_if_assigned", "pg_database_collation_actual_version", "pg_database_size",
    "pg_describe_object", "pg_encoding_max_length", "pg_encoding_to_char", "pg_extension_update_paths",
    "pg_filenode_relation", "pg_function_is_visible", "pg_get_acl", "pg_get_aios",
    "pg_get_backend_memory_contexts", "pg_get_catalog_foreign_keys", "pg_get_constraintdef", "pg_get_expr",
    "pg_get_function_arg_default", "pg_get_function_arguments", "pg_get_function_identity_arguments",
    "pg_get_function_result", "pg_get_function_sqlbody", "pg_get_functiondef", "pg_get_indexdef",
    "pg_get_keywords", "pg_get_loaded_modules", "pg_get_multixact_members", "pg_get_object_address",
    "pg_get_partition_constraintdef", "pg_get_partkeydef", "pg_get_replica_identity_index", "pg_get_ruledef",
    "pg_get_sequence_data", "pg_get_serial_sequence", "pg_get_shmem_allocations",
    "pg_get_shmem_allocations_numa", "pg_get_statisticsobjdef", "pg_get_statisticsobjdef_columns",
    "pg_get_statisticsobjdef_expressions", "pg_get_triggerdef", "pg_get_userbyid", "pg_get_viewdef",
    "pg_get_wait_events", "pg_get_wal_replay_pause_state", "pg_get_wal_resource_managers", "pg_has_role",
    "pg_identify_object", "pg_identify_object_as_address", "pg_index_column_has_property",
    "pg_index_has_property", "pg_indexam_has_property", "pg_indexes_size", "pg_input_error_info",
    "pg_input_is_valid", "pg_is_in_recovery", "pg_is_other_temp_schema", "pg_is_wal_replay_paused",
    "pg_jit_available", "pg_last_committed_xact", "pg_last_wal_receive_lsn", "pg_last_wal_replay_lsn",
    "pg_last_xact_replay_timestamp", "pg_listening_channels", "pg_lock_status", "pg_lsn", "pg_my_temp_schema",
    "pg_notification_queue_usage", "pg_numa_available", "pg_opclass_is_visible", "pg_operator_is_visible",
    "pg_opfamily_is_visible", "pg_options_to_table", "pg_partition_ancestors", "pg_partition_root",
    "pg_partition_tree", "pg_postmaster_start_time", "pg_prepared_xact", "pg_relation_filenode",
    "pg_relation_filepath", "pg_relation_is_publishable", "pg_relation_is_updatable", "pg_relation_size",
    "pg_replication_origin_oid", "pg_safe_snapshot_blocking_pids", "pg_sequence_last_value",
    "pg_sequence_parameters", "pg_settings_get_flags", "pg_show_all_settings", "pg_size_bytes",
    "pg_size_pretty", "pg_snapshot_xip", "pg_snapshot_xmax", "pg_snapshot_xmin", "pg_split_walfile_name",
    "pg_statistics_obj_is_visible", "pg_table_is_visible", "pg_table_size", "pg_tablespace_databases",
    "pg_tablespace_location", "pg_tablespace_size", "pg_timezone_abbrevs_abbrevs", "pg_timezone_abbrevs_zone",
    "pg_timezone_names", "pg_total_relation_size", "pg_trigger_depth", "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible", "pg_ts_parser_is_visible", "pg_ts_template_is_visible", "pg_type_is_visible",
    "pg_typeof", "pg_visible_in_snapshot", "pg_wal_lsn_diff", "pg_walfile_name", "pg_walfile_name_offset",
    "pg_xact_commit_timestamp", "pg_xact_commit_timestamp_origin", "pg_xact_status", "phraseto_tsquery", "pi",
    "plainto_tsquery", "point", "polygon", "popen", "position", "pow", "power", "querytree", "quote_ident",
    "quote_literal", "quote_nullable", "radians", "radius", "random", "random_normal", "range_agg",
    "range_intersect_agg", "range_merge", "rank", "regclass", "regexp_count", "regexp_instr", "regexp_like",
    "regexp_match", "regexp_matches", "regexp_replace", "regexp_split_to_array", "regexp_split_to_table",
    "regexp_substr", "regr_avgx", "regr_avgy", "regr_count", "regr_intercept", "regr_r2", "regr_slope",
    "regr_sxx", "regr_sxy", "regr_syy", "repeat", "replace", "reverse", "right", "round", "row", "row_number",
    "row_security_active", "row_to_json", "rpad", "rtrim", "scale", "session_user", "set_bit", "set_byte",
    "set_masklen", "setseed", "setweight", "sha224", "sha256", "sha384", "sha512", "shobj_description", "sign",
    "similar_escape", "similar_to_escape", "sin", "sind", "sinh", "slope", "some", "split_part", "sqrt",
    "statement_timestamp", "stddev", "stddev_pop", "stddev_samp", "string_agg", "string_to_array",
    "string_to_table", "strip", "strpos", "substr", "substring", "sum", "system", "system_user", "tan", "tand",
    "tanh", "text", "textlen", "time", "timeofday", "timestamp", "timestamptz", "timetz", "timezone",
    "to_ascii", "to_bin", "to_char", "to_date", "to_hex", "to_json", "to_jsonb", "to_number", "to_oct",
    "to_regclass", "to_regcollation", "to_regnamespace", "to_regoper", "to_regoperator", "to_regproc",
    "to_regprocedure", "to_regrole", "to_regtype", "to_regtypemod", "to_timestamp", "to_tsquery",
    "to_tsvector", "transaction_timestamp", "translate", "treat", "trim", "trim_array", "trim_scale", "trunc",
    "ts_debug", "ts_delete", "ts_filter", "ts_headline", "ts_lexize", "ts_parse", "ts_rank", "ts_rank_cd",
    "ts_token_type", "tsmultirange", "tsquery_phrase", "tsrange", "tstzmultirange", "tstzrange",
    "tsvector_to_array", "txid_current", "txid_current_if_assigned", "txid_current_snapshot",
    "txid_snapshot_xip", "txid_snapshot_xmax", "txid_snapshot_xmin", "txid_status", "txid_visible_in_snapshot",
    "unicode_assigned", "unicode_version", "unistr", "unnest", "upper", "upper_inc", "upper_inf", "user",
    "uuid", "uuid_extract_timestamp", "uuid_extract_version", "uuidv4", "uuidv7", "var_pop", "var_samp",
    "varbit", "varchar", "variance", "version", "websearch_to_tsquery", "width", "width_bucket", "xid", "xml",
    "xml_is_well_formed", "xml_is_well_formed_content", "xml_is_well_formed_document", "xmlagg", "xmlcomment",
    "xmlelement", "xmlexists", "xmlforest", "xmlparse", "xmlpi", "xmlroot", "xmlserialize", "xmltable",
    "xmltext", "xmlvalidate", "xpath", "xpath_exists",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_for_the_binary_search() {
        assert!(BUILTIN.is_sorted() && WHOLE_ROW.is_sorted());
        assert!(NAMES.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn no_harmless_name_is_also_dangerous() {
        for name in BUILTIN {
            assert_eq!(dangerous(None, name), None, "{name}");
        }
    }

    #[test]
    fn functions_are_classified() {
        for (schema, name, class) in [
            (None, "lower", Class::FunctionBuiltin),
            (Some("pg_catalog"), "lower", Class::FunctionBuiltin),
            (Some("evil"), "lower", Class::FunctionOther),
            (None, "my_report", Class::FunctionOther),
            (None, "pg_stat_get_activity", Class::FunctionBuiltin),
            (None, "pg_stat_reset", Class::FunctionAdmin),
            (None, "pg_terminate_backend", Class::FunctionAdmin),
            (None, "pg_some_function_of_postgresql_25", Class::FunctionAdmin),
            (Some("pg_catalog"), "pg_read_binary_file", Class::FunctionFile),
            (None, "lo_import", Class::FunctionFile),
            (None, "lo_get", Class::FunctionLargeObject),
            (Some("ext"), "dblink_exec", Class::FunctionRemote),
            (None, "query_to_xml_and_xmlschema", Class::FunctionDynamic),
            (Some("cron"), "schedule", Class::FunctionDynamic),
            (None, "setval", Class::FunctionSequence),
            (None, "pg_try_advisory_xact_lock", Class::FunctionWait),
            (None, "set_config", Class::FunctionAdmin),
        ] {
            assert_eq!(classify(schema, name), class, "{name}");
        }
    }
}
