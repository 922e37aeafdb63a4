//! The store, on every engine it speaks to.
//!
//! [`cases`] is the conformance suite: each case runs on SQLite in memory, on SQLite in a file, and
//! on a PostgreSQL server started for it. [`crash`] kills a process that posts; [`model`] compares
//! random histories with plain arithmetic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod artifacts;
mod cases;
mod crash;
mod fixture;
mod model;
mod postgres;

use kinesis_store::Store;

/// A database that is made anew for one case, and can be opened more than once.
struct Database {
    url: String,
    /// The directory of a file, kept for as long as the case runs.
    _directory: Option<tempfile::TempDir>,
}

impl Database {
    fn memory() -> Self {
        Self { url: "sqlite::memory:".to_owned(), _directory: None }
    }

    fn file() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/deep/store.db", directory.path().display());
        Self { url, _directory: Some(directory) }
    }

    fn shared(&self) -> bool {
        self.url != "sqlite::memory:"
    }

    async fn open(&self) -> Store {
        Store::open(&self.url).await.unwrap()
    }
}

macro_rules! conformance {
    ($($case:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $case() {
                crate::cases::$case(crate::Database::memory()).await;
            })+
        }

        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                crate::cases::$case(crate::Database::file()).await;
            })+
        }

        /// One server for all cases, one database for each.
        #[tokio::test]
        async fn postgres_conforms() {
            let server = postgres::Server::start().await;
            $(
                eprintln!("case {}", stringify!($case));
                cases::$case(server.database(stringify!($case)).await).await;
            )+
        }
    };
}

conformance! {
    an_account_is_known_by_its_key_only,
    money_is_deposited_once_for_each_key,
    names_belong_to_the_first_account,
    versions_are_deployed_once_and_rolled_back,
    epochs_and_ticks_are_handed_out_once,
    leases_are_fenced_and_recorded,
    usage_is_posted_exactly_once,
    an_ended_lease_is_posted_to_the_last_millisecond,
    old_counters_and_old_ticks_change_nothing,
    terms_hold_for_the_life_of_a_lease,
    a_part_is_billed_for_the_attempt_that_ended_it,
    a_part_that_failed_for_good_is_billed_once_where_its_guest_failed,
    a_stopped_job_is_billed_for_what_it_used,
    a_superseded_attempt_costs_nothing,
    of_two_attempts_at_a_part_one_is_billed,
    a_bill_is_the_sum_of_all_leases_however_many_are_shown,
    a_deleted_name_is_free_and_its_bill_stays,
    a_host_is_one_apps,
    roots_cannot_equivocate,
    an_intent_has_one_key_and_one_nonce,
    events_are_read_once_and_taken_back_with_their_blocks,
    the_newest_events_are_found_by_whatever_they_are_about,
    withdrawals_are_paid_once,
    a_trade_is_posted_once_and_sums_to_zero,
    trades_stay_within_a_day_s_bound_one_at_a_time,
    what_is_posted_says_at_which_price,
    totals_add_up_to_the_last_unit,
    a_dropped_transaction_leaves_nothing,
    writers_beside_each_other_stay_exact,
    nodes_events_and_grants_are_kept,
    requests_of_all_leases_are_one_sum,
    only_the_newest_is_shown,
    parts_are_shown_with_their_newest_attempt,
    an_older_schema_is_brought_up_to_date,
    a_newer_schema_is_refused,
}
